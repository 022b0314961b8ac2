//! Taking things out of a verified bundle.
//!
//! Every blob is hashed on its way out, written under a temporary name and renamed; a folder appears under its final
//! name only when it is complete. File names come from titles in signed manifests, and even so only plain names are
//! accepted.

mod image;

use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::{Descriptor, Digest};

use crate::{Entry, Error, Result, VerifiedArchive, annotations};

pub use image::{Extracted, Format, image};

/// A file that an RKE2, chart or edition artifact carries.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// Its file name, never a path.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Lists the titled files of an artifact; blobs without a title are named by their digest.
pub fn files(archive: &VerifiedArchive, entry: &Entry) -> Result<Vec<File>> {
    let references = archive.references(entry.descriptor.digest())?;
    // the first reference is the config, which is no file
    references
        .iter()
        .skip(1)
        .map(|layer| to_file(entry, layer))
        .collect()
}

fn to_file(entry: &Entry, layer: &Descriptor) -> Result<File> {
    let digest = layer.digest().clone();
    let title = layer
        .annotations()
        .as_ref()
        .and_then(|all| all.get(annotations::TITLE));
    let name = title
        .cloned()
        .or_else(|| chart_file(entry, layer))
        .unwrap_or_else(|| digest.digest().to_owned());
    if !is_plain(&name) {
        let what = format!("{digest} of {}", entry.name.as_deref().unwrap_or_default());
        return Err(Error::Extract {
            what,
            reason: "its title is not a plain file name".to_owned(),
        });
    }
    Ok(File {
        name,
        media_type: layer.media_type().to_string(),
        digest,
        size: layer.size(),
    })
}

/// Helm gives a chart's archive no title; its file is named as Helm names it, `<name>-<version>.tgz`.
fn chart_file(entry: &Entry, layer: &Descriptor) -> Option<String> {
    const ARCHIVE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
    let name = entry.name.as_deref()?.strip_prefix("charts/")?;
    (layer.media_type().to_string() == ARCHIVE).then(|| format!("{}.tgz", name.replace(':', "-")))
}

/// A plain file name: printable ASCII, no separator, and not one that means a folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|b| (b.is_ascii_graphic() || b == b' ') && b != b'/' && b != b'\\')
}

/// Extracts one blob to a new file: temporary name, hash, rename. An existing file is left as it is.
pub fn file(archive: &VerifiedArchive, digest: &Digest, target: &Utf8Path) -> Result<()> {
    write_blob(archive, digest, target)
}

fn write_failed(path: &Utf8Path) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Io {
        operation: "write",
        path: path.to_owned(),
        source,
    }
}

fn folder_of(path: &Utf8Path) -> &Utf8Path {
    path.parent()
        .filter(|folder| !folder.as_str().is_empty())
        .unwrap_or(Utf8Path::new("."))
}

/// Writes a blob to a new file; nothing is left when its hash does not agree.
fn write_blob(archive: &VerifiedArchive, digest: &Digest, target: &Utf8Path) -> Result<()> {
    let failed = write_failed(target);
    let mut file = temporary(target)?;
    let mut blob = archive.blob(digest)?;
    while let Some(chunk) = blob.next_chunk()? {
        file.write_all(chunk.as_ref()).map_err(&failed)?;
    }
    persist(file, target)
}

/// Writes bytes to a new file.
fn write_bytes(bytes: &[u8], target: &Utf8Path) -> Result<()> {
    let mut file = temporary(target)?;
    file.write_all(bytes).map_err(write_failed(target))?;
    persist(file, target)
}

fn temporary(target: &Utf8Path) -> Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".airgap-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder_of(target))
        .map_err(write_failed(target))
}

fn persist(file: tempfile::NamedTempFile, target: &Utf8Path) -> Result<()> {
    file.as_file().sync_all().map_err(write_failed(target))?;
    match file.persist_noclobber(target) {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::Exists {
            path: Utf8PathBuf::from(target),
        }),
        Err(e) => Err(write_failed(target)(e.error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_that_could_leave_their_folder_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a\\b",
            "a\nb",
            "é",
            "\u{202e}x",
        ] {
            assert!(!is_plain(bad), "{bad:?}");
        }
        for good in ["install.sh", "rke2.linux-amd64.tar.gz", ".hidden", "a b"] {
            assert!(is_plain(good), "{good:?}");
        }
    }
}
