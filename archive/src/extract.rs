//! Taking things out of a verified bundle, and comparing two bundles.

use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::Digest;

use crate::{Entry, Result, VerifiedArchive};

/// The form in which an image is extracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An OCI image layout folder; a Docker-typed image is converted, which changes its digest.
    Oci,
    /// skopeo's `dir:` form; every digest stays as it is.
    Dir,
    /// A tar file for `docker load`.
    DockerArchive,
}

/// What an extraction wrote.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Extracted {
    /// The folder or file.
    pub path: Utf8PathBuf,
    /// The digest of the manifest as extracted.
    pub digest: Digest,
    /// True when the manifest had to be rewritten, so that its digest is not the one in the bundle.
    pub converted: bool,
}

/// A file that an RKE2, chart or edition artifact carries.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// Its file name, never a path.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Extracts the image named `name` to `target`, which must not exist yet.
///
/// Of an index with several platforms, `platform` (`linux/arm64`) chooses one; [`Format::Oci`] keeps them all without it.
pub fn image(
    archive: &VerifiedArchive,
    name: &str,
    platform: Option<&str>,
    format: Format,
    target: &Utf8Path,
) -> Result<Extracted> {
    let _ = (archive, name, platform, format, target);
    unimplemented!()
}

/// Lists the titled files of an artifact.
pub fn files(archive: &VerifiedArchive, entry: &Entry) -> Result<Vec<File>> {
    let _ = (archive, entry);
    unimplemented!()
}

/// Extracts one blob to a new file: temporary name, hash, rename.
pub fn file(archive: &VerifiedArchive, digest: &Digest, target: &Utf8Path) -> Result<()> {
    let _ = (archive, digest, target);
    unimplemented!()
}

/// How two bundles differ.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Entries only the new bundle holds.
    pub added: Vec<Entry>,
    /// Entries only the old bundle holds.
    pub removed: Vec<Entry>,
    /// Entries of the same name with another digest: old, new.
    pub changed: Vec<(Entry, Entry)>,
    /// Bytes of blobs that the new bundle holds and the old does not.
    pub new_bytes: u64,
    /// Bytes of blobs that both hold.
    pub shared_bytes: u64,
}

/// Compares two bundles by name, digest and blobs.
#[must_use]
pub fn diff(old: &VerifiedArchive, new: &VerifiedArchive) -> Difference {
    let _ = (old, new);
    unimplemented!()
}
