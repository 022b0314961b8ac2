//! Manifests as bytes: never written anew, parsed only to be read.

use bytes::Bytes;
use oci_spec::image::{Digest, MediaType};

/// The largest manifest that is read, in bytes: what registries accept.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// A manifest or index exactly as a registry sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawManifest {
    /// The sha256 digest of `bytes`, computed here.
    pub digest: Digest,
    /// Its type: the field `mediaType`, else what its fields say it is, else what the server said.
    pub media_type: MediaType,
    /// The bytes.
    pub bytes: Bytes,
}
