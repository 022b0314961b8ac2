//! The tree of a bundle that is being made: manifests and their descriptors, before a byte is written.

use bytes::Bytes;
use jiff::Timestamp;
use oci_spec::image::{Descriptor, Digest, MediaType, Platform};

use crate::{Result, Role};

/// What the index says of the bundle as a whole (FORMAT §4).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleInfo {
    /// The bundle's name, the stem of its file name when written.
    pub name: String,
    /// The edition, such as `standard`.
    pub edition: String,
    /// The version people speak of.
    pub version: String,
    /// The release number, which only ever grows.
    pub release: u64,
    /// `linux/amd64`, or `all`.
    pub platform: String,
    /// The source date, in whole seconds.
    pub created: Timestamp,
    /// From when on the bundle must not be installed.
    pub expires: Option<Timestamp>,
    /// Sha256 of the installer binary handed over beside the bundle, as 64 hexadecimal digits.
    pub installer_sha256: Option<String>,
}

/// One top-level manifest to add to a [`BundleTree`].
#[derive(Debug, Clone)]
pub struct Addition {
    /// The manifest, byte for byte.
    pub manifest: Bytes,
    /// Its media type: an OCI or Docker manifest or index.
    pub media_type: MediaType,
    /// What it is.
    pub role: Role,
    /// Its full source name, such as `quay.io/argoproj/argocd:v3.4.4`; absent for signatures and referrers.
    pub name: Option<String>,
    /// For a signature or referrer: the digest of what it belongs to.
    pub subject: Option<Digest>,
    /// The platform of a single-platform image.
    pub platform: Option<Platform>,
}

/// One top-level descriptor of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Digest, size and media type of its manifest, with all annotations.
    pub descriptor: Descriptor,
    /// What it is.
    pub role: Role,
    /// Its full source name; absent for signatures and referrers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For a signature or referrer: the digest of what it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
}

/// Collects manifests, and derives every blob's digest and size from them.
///
/// The same additions in any order give the same index bytes.
#[derive(Debug)]
pub struct BundleTree {
    _info: BundleInfo,
}

impl BundleTree {
    /// Starts an empty tree.
    #[must_use]
    pub fn new(info: BundleInfo) -> Self {
        Self { _info: info }
    }

    /// Adds a top-level manifest and returns its digest; adding the same again changes nothing.
    pub fn add(&mut self, addition: Addition) -> Result<Digest> {
        let _ = addition;
        unimplemented!()
    }

    /// Adds a manifest that an added index names among its children.
    pub fn add_child_manifest(&mut self, manifest: Bytes) -> Digest {
        let _ = manifest;
        unimplemented!()
    }

    /// Supplies a small blob (a config, a payload) as bytes, so that the source is not asked for it.
    pub fn add_blob(&mut self, bytes: Bytes) -> Digest {
        let _ = bytes;
        unimplemented!()
    }

    /// Returns the exact bytes of `index.json`; fails when a child manifest is missing or a limit is exceeded.
    pub fn index_bytes(&self) -> Result<Vec<u8>> {
        unimplemented!()
    }

    /// Returns digest and size of every blob that the [`crate::BlobSource`] will be asked for, largest first.
    pub fn blobs_to_fetch(&self) -> Result<Vec<(Digest, u64)>> {
        unimplemented!()
    }

    /// Returns the exact length of the tar stream, an upper bound but for the frames' overhead of about 0.01 %.
    pub fn content_size(&self) -> Result<u64> {
        unimplemented!()
    }
}
