//! What a bundle says of itself, unverified.
//!
//! Reads the first frame and nothing else. There is no way from here to contents: whoever shows this must say
//! UNVERIFIED on every line.

use airgap_signing::PublicKey;
use camino::{Utf8Path, Utf8PathBuf};

use crate::reader::parse_index;
use crate::{BundleInfo, Entry, Result, Volumes, digest_of, first};

/// The listing of a bundle whose signature was **not** checked; contents cannot be reached through it.
#[derive(Debug)]
pub struct UntrustedListing {
    /// What the index claims about the bundle.
    pub info: BundleInfo,
    /// The descriptors the index claims.
    pub entries: Vec<Entry>,
    /// The digest of the index bytes.
    pub index_digest: oci_spec::image::Digest,
    /// The key the bundle shows; it proves nothing.
    pub shown_key: PublicKey,
}

impl UntrustedListing {
    /// Reads the first frame and nothing else; opens no blob and checks no signature.
    pub fn open(path: &Utf8Path, folders: &[Utf8PathBuf]) -> Result<Self> {
        let volume = Volumes::locate(path, folders)?.open_first()?;
        let first = first::read(&volume.file, &volume.path)?;
        let (info, entries) = parse_index(&first.index, &volume.path)?;
        Ok(Self {
            info,
            entries,
            index_digest: digest_of(&first.index),
            shown_key: first.key,
        })
    }
}
