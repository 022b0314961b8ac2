//! What can go wrong with a bundle.
//!
//! The one question every caller asks is whether a failure means "do not trust this bundle":
//! [`Error::is_trust_failure`] answers it for every variant.

use std::io;

use airgap_signing::KeyId;
use camino::Utf8PathBuf;
use oci_spec::image::Digest;

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error while writing or reading a bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written; the source names the path and the operation.
    #[error("failed to {operation} {path}")]
    Io {
        /// `read`, `write`, …
        operation: &'static str,
        /// The file or folder.
        path: Utf8PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file system cannot hold the bundle; nothing was left under the final name.
    #[error("not enough space to write {path}: {needed} bytes needed{}", available_text(*.available))]
    NoSpace {
        /// The bundle that was to be written.
        path: Utf8PathBuf,
        /// Bytes the whole bundle needs at most.
        needed: u64,
        /// Bytes that were free, where the system said so.
        available: Option<u64>,
    },
    /// The file system holds no file as large as the bundle, as FAT32 does not beyond 4 GiB; nothing was left under the final name.
    #[error("{path} grew larger than a file can be on that file system")]
    FileTooLarge {
        /// The bundle that was to be written.
        path: Utf8PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A bundle or another file is there already and is not overwritten.
    #[error("file exists and is not overwritten: {path}")]
    Exists {
        /// The file that is there.
        path: Utf8PathBuf,
    },
    /// The tree that was to be written cannot be a bundle.
    #[error("cannot bundle {what}: {reason}")]
    InvalidTree {
        /// The manifest, blob or annotation.
        what: String,
        /// Why not.
        reason: String,
    },
    /// A blob that was to be written does not have its digest or size.
    #[error("blob {digest} from the cache does not have its digest or size")]
    BlobMismatch {
        /// The blob.
        digest: Digest,
    },
    /// A blob that was to be written could not be had.
    #[error("failed to read blob {digest} while bundling")]
    BlobSource {
        /// The blob.
        digest: Digest,
        /// The source's reason.
        #[source]
        source: io::Error,
    },
    /// The file does not begin as a bundle does, or is no bundle at all.
    #[error("not an airgap bundle: {path}: {reason}")]
    NotABundle {
        /// The file.
        path: Utf8PathBuf,
        /// What was found.
        reason: String,
    },
    /// The bundle is of a format this version cannot read.
    #[error("unsupported bundle {path}: {reason}")]
    Unsupported {
        /// The file.
        path: Utf8PathBuf,
        /// What is not supported.
        reason: String,
    },
    /// The signature does not hold under the site's keys.
    #[error("bundle {path} is not signed by a trusted key{}", shown_text(*.shown))]
    Untrusted {
        /// The file.
        path: Utf8PathBuf,
        /// The key the bundle itself shows, which proves nothing.
        shown: Option<KeyId>,
        /// How many of the keys needed have signed.
        #[source]
        source: airgap_signing::Error,
    },
    /// The bundle's structure is damaged or was tampered with.
    #[error("bundle is damaged: {volume}: {reason}")]
    Damaged {
        /// The file in which it was found.
        volume: Utf8PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A blob's bytes are not what the signed index says.
    #[error("blob {digest} is damaged in {volume}: {reason}")]
    BlobDamaged {
        /// The blob.
        digest: Digest,
        /// The file that holds it.
        volume: Utf8PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The last volume found does not end the set.
    #[error("missing volume .{next:03} of the bundle {name}, unless {last} is cut off")]
    VolumeIncomplete {
        /// The set's base name.
        name: String,
        /// The number after the last volume found.
        next: u32,
        /// The last volume found.
        last: Utf8PathBuf,
    },
    /// Volumes in the middle of the set were not found.
    #[error("missing {} of the bundle {name}", volumes_text(.numbers))]
    VolumeMissing {
        /// The set's base name.
        name: String,
        /// The numbers that are missing; further ones may be missing at the end.
        numbers: Vec<u32>,
    },
    /// A volume belongs to another bundle.
    #[error("volume {path} belongs to another bundle")]
    VolumeForeign {
        /// The file.
        path: Utf8PathBuf,
    },
    /// The bundle holds nothing of that name or digest.
    #[error("the bundle holds no {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The blob is one that this delta leaves out.
    #[error(
        "layer {digest} is not in this delta: it came with version {version} (release {release})"
    )]
    LeftOut {
        /// The layer.
        digest: Digest,
        /// The base's version.
        version: String,
        /// The base's release number.
        release: u64,
    },
    /// What was asked for cannot be done with this entry.
    #[error("cannot extract {what}: {reason}")]
    Extract {
        /// The entry.
        what: String,
        /// Why not.
        reason: String,
    },
    /// Something is larger than the caller allows.
    #[error("{what} is {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// The blob or manifest.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

impl Error {
    /// Says whether this means "do not trust this bundle", rather than "could not look" (exit code 3).
    #[must_use]
    pub fn is_trust_failure(&self) -> bool {
        match self {
            Self::NotABundle { .. }
            | Self::Untrusted { .. }
            | Self::Damaged { .. }
            | Self::BlobDamaged { .. }
            | Self::VolumeMissing { .. }
            | Self::VolumeIncomplete { .. }
            | Self::VolumeForeign { .. } => true,
            Self::Io { .. }
            | Self::NoSpace { .. }
            | Self::FileTooLarge { .. }
            | Self::Exists { .. }
            | Self::InvalidTree { .. }
            | Self::BlobMismatch { .. }
            | Self::BlobSource { .. }
            | Self::Unsupported { .. }
            | Self::NotFound { .. }
            | Self::LeftOut { .. }
            | Self::Extract { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}

fn available_text(available: Option<u64>) -> String {
    available
        .map(|bytes| format!(", {bytes} free"))
        .unwrap_or_default()
}

fn shown_text(shown: Option<KeyId>) -> String {
    shown
        .map(|id| format!("; it shows key {id}"))
        .unwrap_or_default()
}

fn volumes_text(numbers: &[u32]) -> String {
    let names: Vec<String> = numbers
        .iter()
        .map(|number| format!(".{number:03}"))
        .collect();
    let noun = if numbers.len() == 1 {
        "volume"
    } else {
        "volumes"
    };
    format!("{noun} {}", names.join(", "))
}
