//! `airgap lock`: every tag, chart and file of the catalog, resolved to digests.
//!
//! Invariant: a digest is written only when its bytes, or the manifest that names them, arrived here and hashed right. Who
//! signed an image upstream is recorded by digest and never verified. All problems are collected: one run names them all, and
//! a run with problems changes nothing.

mod attached;
pub(crate) mod charts;
pub(crate) mod images;
pub(crate) mod release;

use std::io::Write as _;

use airgap_manifests::{Catalog, ImageLock, LockChange};
use airgap_registry::Puller;
use camino::Utf8Path;
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use jiff::Timestamp;

use crate::{
    cache::Cache,
    error::{Error, Result},
    event::{Event, Report, Stage},
    fetch::Fetcher,
};

/// The platforms that are locked, where upstream has them.
pub(crate) const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

/// What to lock, and over what.
#[derive(Debug, Clone, Copy)]
pub struct LockRequest<'a> {
    /// The catalog; every component of it is locked, whatever the edition.
    pub catalog: &'a Catalog,
    /// The lock so far, if there is one.
    pub previous: Option<&'a ImageLock>,
    /// The version of the platform; the previous one's where absent.
    pub version: Option<&'a str>,
    /// The time that a changed lock carries.
    pub now: Timestamp,
    /// How many sources are asked at a time.
    pub jobs: usize,
}

/// A fresh lock and how it differs from the one before.
#[derive(Debug, Clone)]
pub struct Locked {
    /// The lock; equal to the previous one when nothing changed.
    pub lock: ImageLock,
    /// What changed, for people; empty when nothing did.
    pub changes: Vec<LockChange>,
    /// How many signatures, attestations and other referrers of upstream are recorded. Their signers are **not verified**;
    /// whoever shows this number says so.
    pub attached_unverified: usize,
}

/// Resolves everything the catalog names and returns the lock that follows the previous one.
///
/// # Errors
/// [`Error::Several`] with every source that could not be resolved; [`Error::Unusable`] for a first lock without a version.
pub async fn lock(
    request: &LockRequest<'_>,
    cache: &Cache,
    puller: &Puller,
    report: Report<'_>,
) -> Result<Locked> {
    let version = request
        .version
        .or(request.previous.map(|lock| lock.version.as_str()));
    let version = version.ok_or_else(|| Error::Unusable {
        object: "images.lock".into(),
        reason: "a first lock needs the platform's version; pass `--version`".into(),
    })?;
    let mut fresh = ImageLock {
        version: version.to_owned(),
        release: 1,
        locked_at: request.now,
        manifests_digest: request.catalog.manifests_digest().clone(),
        images: Vec::new(),
        charts: Vec::new(),
        files: Vec::new(),
    };
    let resolver = Resolver {
        puller,
        fetcher: Fetcher {
            cache,
            puller: Some(puller),
            report,
        },
    };
    resolver.resolve(request, &mut fresh).await?;
    fresh.sort();
    let lock = match request.previous {
        Some(previous) => previous.followed_by(fresh, request.now),
        None => fresh,
    };
    let changes = request
        .previous
        .map(|previous| ImageLock::diff(previous, &lock))
        .unwrap_or_default();
    let attached = lock.images.iter().map(|image| image.attached.len());
    let attached_unverified = attached.sum();
    Ok(Locked {
        lock,
        changes,
        attached_unverified,
    })
}

/// Compares a lock with the catalog and with what upstream answers now; writes nothing.
///
/// An empty list means that `airgap lock` would change no digest.
pub async fn lock_check(
    request: &LockRequest<'_>,
    cache: &Cache,
    puller: &Puller,
    report: Report<'_>,
) -> Result<Vec<LockChange>> {
    lock(request, cache, puller, report)
        .await
        .map(|locked| locked.changes)
}

impl Locked {
    /// Writes the lock to `path`, whole or not at all; returns false when the file already says the same.
    pub fn write(&self, path: &Utf8Path) -> Result<bool> {
        let text = self.lock.to_yaml();
        if fs_err::read_to_string(path).is_ok_and(|old| old == text) {
            return Ok(false);
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_str().is_empty() => folder,
            _ => Utf8Path::new("."),
        };
        let write = || {
            use std::os::unix::fs::PermissionsExt as _;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(text.as_bytes())?;
            file.as_file()
                .set_permissions(std::fs::Permissions::from_mode(0o644))?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)
        };
        write().map(|_| true).map_err(Error::io("write", path))
    }
}

/// Asks upstream.
struct Resolver<'a> {
    puller: &'a Puller,
    fetcher: Fetcher<'a>,
}

/// One resolved source.
enum Entry {
    Image(airgap_manifests::LockedImage),
    Chart(airgap_manifests::LockedChart),
    Files(Vec<airgap_manifests::LockedFile>),
}

impl Resolver<'_> {
    async fn resolve(&self, request: &LockRequest<'_>, lock: &mut ImageLock) -> Result<()> {
        let wanted = request.catalog.wanted();
        let releases: Vec<_> = request
            .catalog
            .components()
            .filter_map(|component| component.release.as_ref())
            .collect();
        let items = (wanted.images.len() + wanted.charts.len() + releases.len()) as u64;
        let mut errors = Vec::new();
        (self.fetcher.report)(Event::Stage {
            stage: Stage::Resolve,
            items,
            bytes: 0,
        });

        let mut work: Vec<(String, BoxFuture<'_, Result<Entry>>)> = Vec::new();
        for release in releases {
            work.push((
                format!("RKE2 {}", release.version),
                Box::pin(async {
                    self.release(release, &wanted.images)
                        .await
                        .map(Entry::Files)
                }),
            ));
        }
        for ((name, version), chart) in &wanted.charts {
            let known = request.previous.and_then(|lock| lock.chart(name, version));
            let chart = Box::pin(async move {
                self.chart(name, version, &chart.url, known)
                    .await
                    .map(Entry::Chart)
            });
            work.push((format!("chart {name} {version}"), chart));
        }
        for (name, image) in &wanted.images {
            let image = Box::pin(async {
                self.image(name, image.digest.as_ref())
                    .await
                    .map(Entry::Image)
            });
            work.push((name.to_string(), image));
        }
        let mut results = stream::iter(work)
            .map(|(object, entry)| async move { (object, entry.await) })
            .buffer_unordered(request.jobs.max(1));
        while let Some((object, entry)) = results.next().await {
            match entry {
                Ok(Entry::Image(image)) => lock.images.push(image),
                Ok(Entry::Chart(chart)) => lock.charts.push(chart),
                Ok(Entry::Files(files)) => lock.files.extend(files),
                Err(Error::Several(several)) => {
                    errors.extend(several.into_iter().map(Error::while_locking));
                }
                Err(error) => errors.push(error.while_locking()),
            }
            (self.fetcher.report)(Event::Done { object });
        }
        if errors.is_empty() {
            return Ok(());
        }
        // The order of arrival is chance; the list that people read is not.
        errors.sort_by_cached_key(ToString::to_string);
        Err(Error::all(errors))
    }
}
