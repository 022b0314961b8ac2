//! What the catalog refers to: images, charts and files, each with the place that names it.
//!
//! `airgap lock` works off the whole catalog's list; a bundle off one edition's. Invariant: whatever an edition can need
//! is in the whole list, so a lock made from it suits every edition.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use oci_spec::image::Digest;

use crate::catalog::{Catalog, Sourced};
use crate::resolve::ALL_PLATFORMS;
use crate::selection::Chosen;
use crate::{
    Component, ImageLock, ImageName, ImageReference, LockedChart, LockedFile, LockedImage, Problem,
};

/// Where something is referred to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, relative to the catalog.
    pub file: Utf8PathBuf,
    /// The line.
    pub line: u64,
}

impl Place {
    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(&self.file, message).at(self.line)
    }
}

/// An image that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedImage {
    /// The first place that names it.
    pub place: Place,
    /// The digest by which a chart names it, if one does.
    pub digest: Option<Digest>,
    /// The components that need it.
    pub components: BTreeSet<String>,
}

/// A chart that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedChart {
    /// The place that names it.
    pub place: Place,
    /// Where it is fetched from.
    pub url: String,
}

/// A file that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedFile {
    /// The place that names it.
    pub place: Place,
    /// Its name on the nodes.
    pub name: String,
    /// The platform it is for; every platform where absent.
    pub platform: Option<String>,
    /// Whether it goes to the nodes.
    pub staged: bool,
}

/// Everything that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Images by name.
    pub images: BTreeMap<ImageName, WantedImage>,
    /// Charts by name and version.
    pub charts: BTreeMap<(String, String), WantedChart>,
    /// Files by URL.
    pub files: BTreeMap<String, WantedFile>,
}

impl Wanted {
    /// Returns what the given components want for a platform.
    pub(crate) fn of(chosen: &Chosen<'_>, platform: &str) -> Self {
        let mut wanted = Self::default();
        for component in chosen.values() {
            wanted.add(component);
        }
        wanted.files.retain(|_, file| {
            platform == ALL_PLATFORMS || file.platform.as_deref().is_none_or(|of| of == platform)
        });
        wanted
    }

    fn add(&mut self, component: &Sourced<Component>) {
        let value = &component.value;
        let place = |path: &[&str]| Place {
            file: component.file.clone(),
            line: component.node.line_of(path.iter().copied()),
        };
        for (site, index, text) in value.image_texts() {
            let index = index.to_string();
            let path = site.map_or_else(
                || vec!["images", &index],
                |site| vec!["siteImages", site.name(), &index],
            );
            // a catalog that exists was checked: every text parses
            let Ok(ImageReference { name, digest }) = text.parse() else {
                continue;
            };
            let want = self.images.entry(name).or_insert_with(|| WantedImage {
                place: place(&path),
                digest: None,
                components: BTreeSet::new(),
            });
            want.components.insert(value.name.clone());
            want.digest = want.digest.take().or(digest);
        }
        if let (Some(chart), true) = (&value.chart, value.carries_chart()) {
            let url = chart.url.clone();
            self.charts
                .entry((chart.name.clone(), chart.version.clone()))
                .or_insert_with(|| WantedChart {
                    place: place(&["chart"]),
                    url,
                });
        }
        for (index, file) in value
            .release
            .iter()
            .flat_map(|release| release.files.iter().enumerate())
        {
            let want = WantedFile {
                place: place(&["release", "files", &index.to_string()]),
                name: file.name.clone(),
                platform: file.platform.clone(),
                staged: file.staged,
            };
            self.files.insert(file.url.clone(), want);
        }
    }
}

impl Catalog {
    /// Returns everything that any edition can want, on any kind of site and platform.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let chosen = self
            .components
            .iter()
            .map(|(name, component)| (name.as_str(), component))
            .collect();
        Wanted::of(&chosen, ALL_PLATFORMS)
    }

    /// Returns the lock that this catalog asks for, with what `known` already says and everything else unlocked.
    ///
    /// `version`, `release` and `lockedAt` are those of `known`; entries that nothing refers to are left out. A chart's
    /// digest is kept only while its address is the same.
    #[must_use]
    pub fn lock_skeleton(&self, known: &ImageLock) -> ImageLock {
        let wanted = self.wanted();
        let mut lock = ImageLock {
            version: known.version.clone(),
            release: known.release,
            locked_at: known.locked_at,
            manifests_digest: self.manifests_digest().clone(),
            images: wanted
                .images
                .into_keys()
                .map(|name| {
                    known
                        .image(&name)
                        .cloned()
                        .unwrap_or_else(|| LockedImage::unlocked(name))
                })
                .collect(),
            charts: wanted
                .charts
                .into_iter()
                .map(
                    |((name, version), want)| match known.chart(&name, &version) {
                        Some(entry) if entry.url == want.url => entry.clone(),
                        _ => LockedChart {
                            name,
                            version,
                            url: want.url,
                            sha256: None,
                            size: None,
                            source: None,
                        },
                    },
                )
                .collect(),
            files: wanted
                .files
                .into_keys()
                .map(|url| {
                    known.file(&url).cloned().unwrap_or(LockedFile {
                        url,
                        sha256: None,
                        size: None,
                        source: None,
                    })
                })
                .collect(),
        };
        lock.sort();
        lock
    }

    /// Finds every disagreement between this catalog and a lock, whatever the edition: another digest of the manifests,
    /// references that the lock does not have, entries that nothing refers to. Unlocked entries are not among them;
    /// [`unlocked`] lists those.
    #[must_use]
    pub fn check_lock(&self, lock: &ImageLock) -> Vec<Problem> {
        let wanted = self.wanted();
        let mut problems = disagreement(self, lock);
        let missing = |place: &Place, what: String| {
            place
                .problem(format!("{what} is not in images.lock"))
                .remedy("run `airgap lock`")
        };
        let stale = |what: String| {
            Problem::new(
                "images.lock",
                format!("{what} is locked, but nothing refers to it"),
            )
            .remedy("run `airgap lock`")
        };
        for (name, want) in &wanted.images {
            if lock.image(name).is_none() {
                problems.push(missing(&want.place, format!("image {name}")));
            }
        }
        for ((name, version), want) in &wanted.charts {
            match lock.chart(name, version) {
                None => problems.push(missing(&want.place, format!("chart {name} {version}"))),
                Some(entry) if entry.url != want.url => {
                    let message = format!(
                        "chart {name} {version} comes from {}, in images.lock from {}",
                        want.url, entry.url
                    );
                    problems.push(want.place.problem(message).remedy("run `airgap lock`"));
                }
                Some(_) => {}
            }
        }
        for (url, want) in &wanted.files {
            if lock.file(url).is_none() {
                problems.push(missing(&want.place, format!("file {url}")));
            }
        }
        problems.extend(
            lock.images
                .iter()
                .filter(|entry| !wanted.images.contains_key(&entry.name))
                .map(|entry| stale(format!("image {}", entry.name))),
        );
        problems.extend(
            lock.charts
                .iter()
                .filter(|entry| {
                    !wanted
                        .charts
                        .contains_key(&(entry.name.clone(), entry.version.clone()))
                })
                .map(|entry| stale(format!("chart {} {}", entry.name, entry.version))),
        );
        problems.extend(
            lock.files
                .iter()
                .filter(|entry| !wanted.files.contains_key(&entry.url))
                .map(|entry| stale(format!("file {}", entry.url))),
        );
        problems
    }
}

/// Lists the entries of a lock that have no digest for a platform.
#[must_use]
pub fn unlocked(lock: &ImageLock, platform: &str) -> Vec<Problem> {
    let problem = |what: String| {
        Problem::new("images.lock", format!("{what} is not locked")).remedy("run `airgap lock`")
    };
    let images = lock
        .images
        .iter()
        .filter(|entry| !entry.is_locked(platform))
        .map(|entry| problem(format!("image {}", entry.name)));
    let charts = lock
        .charts
        .iter()
        .filter(|entry| entry.sha256.is_none())
        .map(|entry| problem(format!("chart {} {}", entry.name, entry.version)));
    let files = lock
        .files
        .iter()
        .filter(|entry| entry.sha256.is_none())
        .map(|entry| problem(format!("file {}", entry.url)));
    images.chain(charts).chain(files).collect()
}

/// Compares the digest of the manifests.
pub(crate) fn disagreement(catalog: &Catalog, lock: &ImageLock) -> Vec<Problem> {
    if lock.manifests_digest == *catalog.manifests_digest() {
        return Vec::new();
    }
    let message = format!(
        "was made from other manifests: it says {}, they are {}",
        lock.manifests_digest,
        catalog.manifests_digest()
    );
    vec![Problem::new("images.lock", message).remedy("run `airgap lock`")]
}
