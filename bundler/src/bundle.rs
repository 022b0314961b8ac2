//! `airgap bundle`: from an edition and its lock to a signed file.
//!
//! The order is: plan; fetch manifests and charts, so that every digest and size is known; build the tree; sign its index; then
//! fetch the remaining blobs and write, at once. Invariant: the same request over the same lock gives the same bytes, whatever
//! the job count and whatever the cache held; an interruption leaves nothing under a final name, and the cache intact.

mod gather;
mod handover;
mod sign;
mod tree;
mod write;

use std::sync::Arc;

use airgap_archive::{Base, DeltaBase, OpenOptions, VerifiedArchive};
use airgap_manifests::{Catalog, ImageLock};
use airgap_registry::Puller;
use airgap_signing::{SigningKey, TrustRoot};
use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};
use oci_spec::image::Digest;
use serde::Serialize;

pub use self::handover::{Handover, InstallerBinary};
use crate::{
    cache::Cache,
    error::{Error, Result},
    event::{Event, Report, Stage},
    fetch::{Fetcher, blocking},
    plan::{BundlePlan, plan, resolved},
    platform::BundlePlatform,
    space::check_free_space,
};

/// What to bundle, and how.
#[derive(Debug, Clone)]
pub struct BundleRequest<'a> {
    /// The catalog that the lock was made from.
    pub catalog: &'a Catalog,
    /// The lock.
    pub lock: &'a ImageLock,
    /// The edition's name.
    pub edition: &'a str,
    /// Add-ons of the edition.
    pub with: &'a [String],
    /// Ids of licences that somebody accepted, for components that demand it.
    pub accepted: &'a [String],
    /// The platform.
    pub platform: BundlePlatform,
    /// The file to write, `….tar.zst`; see [`default_file_name`].
    pub output: &'a Utf8Path,
    /// The source date; the lock's `lockedAt` where absent.
    pub source_date: Option<Timestamp>,
    /// Days from the source date after which the bundle must not be installed.
    pub expires_days: Option<u32>,
    /// The most bytes of a volume; one file where absent.
    pub volume_size: Option<u64>,
    /// Downloads at a time, and threads that compress.
    pub jobs: usize,
    /// The bundle to build on: image layers that it holds are left out.
    pub base: Option<&'a Base>,
    /// Replaces a bundle that is there already.
    pub overwrite: bool,
    /// Reads the bundle back from the disk and checks every byte.
    pub verify_written: bool,
    /// The program that is handed over beside the bundle.
    pub installer: Option<InstallerBinary<'a>>,
}

impl BundleRequest<'_> {
    pub(crate) fn created(&self) -> Timestamp {
        let created = self.source_date.unwrap_or(self.lock.locked_at);
        // Whole seconds: what RFC 3339 without a fraction, and tar, can say.
        Timestamp::from_second(created.as_second()).unwrap_or(created)
    }

    pub(crate) fn expires(&self) -> Result<Option<Timestamp>> {
        let Some(days) = self.expires_days else {
            return Ok(None);
        };
        let expires = self
            .created()
            .checked_add(SignedDuration::from_hours(i64::from(days) * 24));
        expires.map(Some).map_err(|_| Error::Unusable {
            object: format!("an expiry of {days} days"),
            reason: "it lies beyond the calendar".into(),
        })
    }
}

/// Returns the name of a bundle's file: `airgap-standard-1.4.0-amd64.tar.zst`.
#[must_use]
pub fn default_file_name(edition: &str, version: &str, platform: BundlePlatform) -> String {
    format!("airgap-{edition}-{version}-{}.tar.zst", platform.arch())
}

/// Returns the name of a delta's file: `airgap-standard-1.4.0-from-1.3.0-amd64.tar.zst`.
#[must_use]
pub fn delta_file_name(
    edition: &str,
    version: &str,
    base_version: &str,
    platform: BundlePlatform,
) -> String {
    format!(
        "airgap-{edition}-{version}-from-{base_version}-{}.tar.zst",
        platform.arch()
    )
}

/// What a delta leaves out.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// The bundle it builds on.
    pub base: DeltaBase,
    /// How many layers.
    pub layers: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// A bundle that was written, and what goes with it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundled {
    /// What it was made from.
    pub plan: BundlePlan,
    /// The file, or the volumes in order.
    pub paths: Vec<Utf8PathBuf>,
    /// Bytes of all files together.
    pub bytes: u64,
    /// The sha256 digest of `index.json`: the bundle's identity.
    pub index_digest: Digest,
    /// Key ids of those who signed, the first one's signature inside the bundle.
    pub signed_by: Vec<String>,
    /// Countersignatures of the further keys.
    pub sidecars: Vec<Utf8PathBuf>,
    /// Images carried.
    pub images: usize,
    /// Charts carried.
    pub charts: usize,
    /// Bytes fetched for it.
    pub fetched_bytes: u64,
    /// Bytes of blobs that the cache already had.
    pub cached_bytes: u64,
    /// What is left out, where it is a delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
    /// The program handed over beside it, and how the site checks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handover: Option<Handover>,
}

/// Makes a bundle. The first of `keys` signs the index; each further one writes a sidecar and a further cosign signature.
///
/// Without a `puller` nothing is fetched: everything must be in the cache. Dropping the future leaves nothing but temporary
/// files and a cache from which the next run goes on.
///
/// # Errors
/// [`Error::Several`] collects what could not be gathered; see [`Error`].
///
/// # Panics
/// When called without keys.
pub async fn bundle(
    request: &BundleRequest<'_>,
    keys: Arc<[SigningKey]>,
    cache: Arc<Cache>,
    puller: Option<&Puller>,
    report: Report<'_>,
) -> Result<Bundled> {
    assert!(!keys.is_empty(), "a bundle is signed by at least one key");
    let plan = plan(request, &cache)?;
    check_base(request)?;
    let fetcher = Fetcher {
        cache: &cache,
        puller,
        report,
    };
    let contents = gather::gather(request, resolved(request)?, fetcher).await?;
    let (images, charts) = (contents.images.len(), contents.charts.len());
    let installer = match &request.installer {
        Some(installer) => Some(handover::Prepared::read(installer)?),
        None => None,
    };
    let installer_sha256 = installer.as_ref().map(|installer| installer.sha256.clone());
    let tree::Built {
        tree,
        wanted,
        left_out,
    } = tree::build(request, contents, &keys, installer_sha256)?;

    let blobs = write::Blobs::sort(&cache, &tree, wanted)?;
    let folder = request.output.parent().unwrap_or(Utf8Path::new("."));
    let content = tree.content_size()? + installer.as_ref().map_or(0, |installer| installer.bytes);
    check_free_space(&[(cache.root(), blobs.missing_bytes()), (folder, content)])?;
    report(Event::Stage {
        stage: Stage::Write,
        items: blobs.missing.len() as u64,
        bytes: blobs.missing_bytes(),
    });
    let (fetched_bytes, cached_bytes) = (blobs.missing_bytes(), blobs.cached_bytes);

    let index = tree.index_bytes()?;
    let written = write::write(request, tree, keys.clone(), blobs, cache.clone(), fetcher).await?;
    let mut sidecars = Vec::new();
    for key in &keys[1..] {
        sidecars.push(airgap_archive::ArchiveWriter::write_sidecar(
            request.output,
            &index,
            key,
        )?);
    }
    let handover = match installer {
        Some(installer) => Some(installer.hand_over(folder, &keys[0], request.output)?),
        None => None,
    };
    if request.verify_written {
        verify(request, &keys, &written.paths, report).await?;
    }
    Ok(Bundled {
        plan,
        paths: written.paths,
        bytes: written.bytes,
        index_digest: written.index_digest,
        signed_by: keys
            .iter()
            .map(|key| key.public_key().key_id().to_string())
            .collect(),
        sidecars,
        images,
        charts,
        fetched_bytes,
        cached_bytes,
        left_out,
        handover,
    })
}

/// Refuses a base that has nothing to lend, or that is the later one.
fn check_base(request: &BundleRequest<'_>) -> Result<()> {
    let Some(base) = request.base else {
        return Ok(());
    };
    let DeltaBase {
        version, release, ..
    } = &base.id;
    let unusable = |reason| Error::Unusable {
        object: format!("a delta on version {version} (release {release})"),
        reason,
    };
    if base.platform != request.platform.to_string() {
        return Err(unusable(format!(
            "that bundle is for {}, this one for {}",
            base.platform, request.platform
        )));
    }
    if *release > request.lock.release {
        return Err(unusable(format!(
            "it is later than release {}, which is to be bundled",
            request.lock.release
        )));
    }
    Ok(())
}

/// Reads a bundle back from the disk, past the page cache.
async fn verify(
    request: &BundleRequest<'_>,
    keys: &[SigningKey],
    paths: &[Utf8PathBuf],
    report: Report<'_>,
) -> Result<()> {
    report(Event::Stage {
        stage: Stage::Verify,
        items: paths.len() as u64,
        bytes: 0,
    });
    for path in paths {
        let file = fs_err::File::open(path).map_err(Error::io("open", path))?;
        // Advice only: where the system ignores it, the bytes are checked all the same.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
    let trust = TrustRoot::new(vec![keys[0].public_key()]);
    let (path, jobs) = (request.output.to_owned(), request.jobs);
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let check = blocking(move || {
        let archive = VerifiedArchive::open(&path, &trust, &OpenOptions::default())?;
        let forward = |event| drop(sender.send(event));
        let findings = archive.verify_all(jobs, &forward)?;
        let findings: Vec<String> = findings
            .into_iter()
            .map(|finding| format!("{}: {}", finding.volume, finding.problem))
            .collect();
        if findings.is_empty() {
            Ok(())
        } else {
            Err(Error::WrittenDamaged { path, findings })
        }
    });
    tokio::pin!(check);
    loop {
        tokio::select! {
            result = &mut check => return result,
            Some(event) = events.recv() => report(Event::Archive(event)),
        }
    }
}
