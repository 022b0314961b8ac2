//! images.lock: every image, chart and file of every edition, by digest.
//!
//! Invariant: a digest is there only because a registry answered with it or a public source named in the entry states it;
//! an entry without one is *unlocked*, and no bundle is made from it. The text is a function of the content: entries are
//! sorted, one layout, no comments, so two equal locks are equal bytes. `release` and `lockedAt` change only with content.

mod diff;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use jiff::Timestamp;
use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use crate::strict::{self, Node};
use crate::{ImageName, Problem};

pub use diff::{LockChange, LockedKind};

/// The whole lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageLock {
    /// The version of the platform, as `lock --version` sets it.
    pub version: String,
    /// Counts the locks that differ in content; one sequence for all editions.
    pub release: u64,
    /// When the content last changed.
    pub locked_at: Timestamp,
    /// The digest over the catalog's files that this lock was made from.
    pub manifests_digest: Digest,
    /// Images, sorted by name.
    pub images: Vec<LockedImage>,
    /// Charts, sorted by name and version.
    pub charts: Vec<LockedChart>,
    /// Files, sorted by URL.
    pub files: Vec<LockedFile>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedImage {
    /// The full name with its tag.
    pub name: ImageName,
    /// What the tag points at upstream: an index, or the manifest itself where there is no index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// The manifest of each platform, where known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub platforms: BTreeMap<String, LockedManifest>,
    /// Signatures, attestations and other referrers that upstream keeps beside the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<Attached>,
    /// Where the digests come from; absent while unlocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// One platform's manifest of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedManifest {
    /// The manifest's digest.
    pub digest: Digest,
    /// The bytes of config and layers together; absent where no registry was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// Something that upstream keeps beside an image. Its signer is not verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attached {
    /// The digest of the manifest that it is attached to.
    pub subject: Digest,
    /// Its own digest.
    pub digest: Digest,
    /// Its tag (`sha256-….sig`), unless it was found through the referrers API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Its artifact type, where it states one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

/// One chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedChart {
    /// The chart's name.
    pub name: String,
    /// The chart's version.
    pub version: String,
    /// Where it is fetched from: `https://….tgz` or `oci://host/path/name`.
    pub url: String,
    /// The digest of the tgz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// The tgz's size in bytes, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Where the digest comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedFile {
    /// Where it is fetched from; it is known by this.
    pub url: String,
    /// The digest of its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Its size in bytes, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Where the digest comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl LockedImage {
    /// Returns an entry without digests.
    #[must_use]
    pub fn unlocked(name: ImageName) -> Self {
        Self {
            name,
            index: None,
            platforms: BTreeMap::new(),
            attached: Vec::new(),
            source: None,
        }
    }

    /// Tells whether a bundle for `platform` (`all` for every one) can be made from it.
    #[must_use]
    pub fn is_locked(&self, platform: &str) -> bool {
        self.index.is_some() || self.platforms.contains_key(platform)
    }
}

impl ImageLock {
    /// Reads a lock; every problem carries its line.
    pub fn parse(text: &str, path: &Utf8Path) -> Result<Self, Vec<Problem>> {
        let node = strict::parse_node(text, path)?;
        let lock: Self = strict::from_node(node.clone(), path)?;
        let problems = lock.faults(&node, path);
        if problems.is_empty() {
            Ok(lock)
        } else {
            Err(problems)
        }
    }

    /// Reads a lock file.
    pub fn load(path: &Utf8Path) -> Result<Self, Vec<Problem>> {
        let text = fs_err::read_to_string(path).map_err(|error| {
            vec![
                Problem::new(path, format!("cannot be read: {}", error.kind()))
                    .remedy("name the lock file with `--lock`, or make one with `airgap lock`"),
            ]
        })?;
        Self::parse(&text, path)
    }

    /// Returns the lock as text.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        text::write(self)
    }

    /// Returns the entry of an image.
    #[must_use]
    pub fn image(&self, name: &ImageName) -> Option<&LockedImage> {
        self.images.iter().find(|entry| entry.name == *name)
    }

    /// Returns the entry of a chart.
    #[must_use]
    pub fn chart(&self, name: &str, version: &str) -> Option<&LockedChart> {
        self.charts
            .iter()
            .find(|entry| entry.name == name && entry.version == version)
    }

    /// Returns the entry of a file.
    #[must_use]
    pub fn file(&self, url: &str) -> Option<&LockedFile> {
        self.files.iter().find(|entry| entry.url == url)
    }

    /// Sorts every list as the text has it.
    pub fn sort(&mut self) {
        self.images.sort_by(|a, b| a.name.cmp(&b.name));
        for image in &mut self.images {
            image.attached.sort_by(|a, b| {
                (a.subject.as_ref(), a.digest.as_ref(), &a.tag).cmp(&(
                    b.subject.as_ref(),
                    b.digest.as_ref(),
                    &b.tag,
                ))
            });
        }
        self.charts
            .sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        self.files.sort_by(|a, b| a.url.cmp(&b.url));
    }

    /// Returns `new` as the lock that follows this one: equal content keeps `release` and `lockedAt`, other content
    /// gets the next release and the time `now`, in whole seconds.
    #[must_use]
    pub fn followed_by(&self, mut new: Self, now: Timestamp) -> Self {
        let mut old = self.clone();
        old.sort();
        new.sort();
        new.release = self.release;
        new.locked_at = self.locked_at;
        if new != old {
            new.release = self.release + 1;
            new.locked_at = Timestamp::from_second(now.as_second()).unwrap_or(now);
        }
        new
    }

    /// Lists what differs between two locks, for people.
    #[must_use]
    pub fn diff(old: &Self, new: &Self) -> Vec<LockChange> {
        diff::diff(old, new)
    }

    /// Finds entries that are written twice, and a header that cannot be.
    fn faults(&self, node: &Node, path: &Utf8Path) -> Vec<Problem> {
        let images = self
            .images
            .iter()
            .map(|entry| entry.name.to_string())
            .collect();
        let charts = self
            .charts
            .iter()
            .map(|entry| format!("{} {}", entry.name, entry.version))
            .collect();
        let files = self.files.iter().map(|entry| entry.url.clone()).collect();
        let mut problems = Vec::new();
        for (list, keys) in
            [("images", images), ("charts", charts), ("files", files)] as [(&str, Vec<String>); 3]
        {
            let mut seen = BTreeSet::new();
            for (index, key) in keys.iter().enumerate() {
                if !seen.insert(key) {
                    let line = node.line_of([list, &index.to_string()]);
                    let message = format!("`{key}` is listed twice in `{list}`");
                    problems.push(
                        Problem::new(path, message)
                            .at(line)
                            .remedy("run `airgap lock`"),
                    );
                }
            }
        }
        if self.release == 0 {
            problems
                .push(Problem::new(path, "`release` counts from 1").at(node.line_of(["release"])));
        }
        if self.version.is_empty() {
            problems.push(Problem::new(path, "`version` is empty").at(node.line_of(["version"])));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn digest(letter: char) -> Digest {
        format!("sha256:{}", letter.to_string().repeat(64))
            .parse()
            .unwrap()
    }

    fn lock() -> ImageLock {
        let mut image = LockedImage::unlocked("quay.io/argoproj/argocd:v3".parse().unwrap());
        image.index = Some(digest('a'));
        image.source = Some("a \"public\" file: no. 1 # two\nlines".to_owned());
        image.platforms.insert(
            "linux/amd64".to_owned(),
            LockedManifest {
                digest: digest('b'),
                size: Some(12),
            },
        );
        image.attached.push(Attached {
            subject: digest('a'),
            digest: digest('c'),
            tag: Some("sha256-a.sig".to_owned()),
            artifact_type: None,
        });
        ImageLock {
            version: "1.10".to_owned(),
            release: 3,
            locked_at: "2026-11-21T08:00:00Z".parse().unwrap(),
            manifests_digest: digest('d'),
            images: vec![
                LockedImage::unlocked("docker.io/library/a:1".parse().unwrap()),
                image,
            ],
            charts: vec![LockedChart {
                name: "x".to_owned(),
                version: "1.0".to_owned(),
                url: "oci://h/x".to_owned(),
                sha256: Some(digest('e')),
                size: None,
                source: None,
            }],
            files: vec![LockedFile {
                url: "https://h/v1%2B2/f".to_owned(),
                sha256: None,
                size: None,
                source: None,
            }],
        }
    }

    #[test]
    fn the_text_reads_back_and_is_stable() {
        let lock = lock();
        let text = lock.to_yaml();
        let back = ImageLock::parse(&text, "images.lock".into()).unwrap();
        assert_eq!(back, lock);
        assert_eq!(back.to_yaml(), text);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn release_and_time_change_only_with_content() {
        let old = lock();
        let now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let mut same = old.clone();
        same.release = 99;
        same.images.reverse();
        let mut unsorted = old.clone();
        unsorted.images.reverse();
        assert_eq!(unsorted.followed_by(old.clone(), now), old);
        assert_eq!(old.followed_by(same, now), old);
        let mut other = old.clone();
        other.version = "1.11".to_owned();
        let other = old.followed_by(other, now);
        assert_eq!((other.release, other.locked_at), (4, now));
    }

    #[test]
    fn a_damaged_lock_names_every_line() {
        let text = lock()
            .to_yaml()
            .replace("sha256: sha256:eeee", "sha265: sha256:eeee");
        let problems = ImageLock::parse(&text, "images.lock".into()).unwrap_err();
        assert!(
            problems[0]
                .to_string()
                .contains("unknown key `sha265` in `charts.0`; did you mean `sha256`?"),
            "{problems:?}"
        );
        let text = lock().to_yaml().replace(&"a".repeat(64), "abc");
        assert!(
            ImageLock::parse(&text, "images.lock".into()).unwrap_err()[0]
                .line
                .is_some()
        );
        let mut twice = lock();
        twice.images.insert(0, twice.images[1].clone());
        let problems = ImageLock::parse(&twice.to_yaml(), "images.lock".into()).unwrap_err();
        assert!(problems[0].message.contains("listed twice"), "{problems:?}");
    }

    #[test]
    fn the_difference_names_what_changed() {
        let old = lock();
        let mut new = old.clone();
        new.images[0].index = Some(digest('f'));
        new.images.remove(1);
        new.charts[0].sha256 = Some(digest('0'));
        new.files.push(LockedFile {
            url: "https://h/new".to_owned(),
            sha256: Some(digest('1')),
            size: None,
            source: None,
        });
        let text: Vec<String> = ImageLock::diff(&old, &new)
            .iter()
            .map(ToString::to_string)
            .collect();
        insta::assert_snapshot!(text.join("\n"));
        assert!(ImageLock::diff(&old, &old).is_empty());
    }

    proptest! {
        #[test]
        fn any_source_text_round_trips(source in "\\PC{0,40}", version in "[a-z0-9.+-]{1,12}") {
            let mut lock = lock();
            lock.version = version;
            lock.images[0].source = Some(source);
            prop_assert_eq!(ImageLock::parse(&lock.to_yaml(), "images.lock".into()).unwrap(), lock);
        }

        #[test]
        fn no_text_makes_parsing_panic(text in "[a-z:\\-\\n \\[\\]{}0-9\"]{0,120}") {
            let _ = ImageLock::parse(&text, "images.lock".into());
        }
    }
}
