//! Writing a bundle.

use airgap_signing::SigningKey;
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::Digest;

use crate::{BlobSource, BundleTree, Event, Result};

/// How to write a bundle.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Splits the bundle into volumes of at most so many bytes (at least 8 MiB).
    pub volume_size: Option<u64>,
    /// Threads that read, hash and compress; the bytes written do not depend on it.
    pub jobs: usize,
    /// Replaces an existing bundle of that name instead of refusing.
    pub overwrite: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            volume_size: None,
            jobs,
            overwrite: false,
        }
    }
}

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// The file, or the volumes in order.
    pub paths: Vec<Utf8PathBuf>,
    /// Bytes of all files together.
    pub bytes: u64,
    /// The sha256 digest of `index.json`.
    pub index_digest: Digest,
}

/// Writes bundles.
#[derive(Debug)]
pub struct ArchiveWriter;

impl ArchiveWriter {
    /// Signs the tree's index and writes the bundle to `path` (`….tar.zst`), or to `path.001`, … in volumes.
    ///
    /// Written under temporary names in the target folder, synced, and renamed last volume first, so a crash leaves
    /// nothing under the final name or everything.
    pub fn create(
        path: &Utf8Path,
        tree: &BundleTree,
        signer: &SigningKey,
        options: &WriteOptions,
        source: &dyn BlobSource,
        report: &(dyn Fn(Event) + Sync),
    ) -> Result<Written> {
        let _ = (path, tree, signer, options, source, report);
        unimplemented!()
    }

    /// Writes the countersignature `<bundle>.<keyid>.sig` beside a bundle and returns its path.
    ///
    /// The index is read from the bundle at `path` and checked against `trust` before it is signed again.
    pub fn countersign(
        path: &Utf8Path,
        signer: &SigningKey,
        trust: &airgap_signing::TrustRoot,
    ) -> Result<Utf8PathBuf> {
        let _ = (path, signer, trust);
        unimplemented!()
    }

    /// Writes the countersignature of a further key over an index this process has just made and signed.
    pub fn write_sidecar(
        bundle: &Utf8Path,
        index: &[u8],
        signer: &SigningKey,
    ) -> Result<Utf8PathBuf> {
        let _ = (bundle, index, signer);
        unimplemented!()
    }
}
