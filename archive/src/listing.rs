//! What a bundle says of itself, unverified.

use airgap_signing::PublicKey;
use camino::{Utf8Path, Utf8PathBuf};

use crate::{BundleInfo, Entry, Result};

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
    pub shown_key: Option<PublicKey>,
}

impl UntrustedListing {
    /// Reads the first frame and nothing else; opens no blob and checks no signature.
    pub fn open(path: &Utf8Path, folders: &[Utf8PathBuf]) -> Result<Self> {
        let _ = (path, folders);
        unimplemented!()
    }
}
