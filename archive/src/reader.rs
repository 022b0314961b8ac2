//! Reading a bundle whose signature holds.

use std::io::{self, Read};
use std::sync::Arc;

use airgap_signing::{KeyId, PublicKey, TrustRoot};
use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::{Descriptor, Digest};

use crate::{BundleInfo, Entry, Result, Volumes};

/// How to open a bundle.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Further folders in which volumes may lie.
    pub folders: Vec<Utf8PathBuf>,
}

/// A bundle whose index is signed by keys the site trusts.
///
/// There is no other way to its contents. Cheap to clone, and every method may be called from many threads at once.
#[derive(Debug, Clone)]
pub struct VerifiedArchive {
    _inner: Arc<()>,
}

impl VerifiedArchive {
    /// Checks the signature over `index.json`, then the structure, then reads every manifest.
    pub fn open(path: &Utf8Path, trust: &TrustRoot, options: &OpenOptions) -> Result<Self> {
        let _ = (path, trust, options);
        unimplemented!()
    }

    /// Returns what the index says of the bundle as a whole.
    #[must_use]
    pub fn info(&self) -> &BundleInfo {
        unimplemented!()
    }

    /// Returns the signed bytes of `index.json`.
    #[must_use]
    pub fn index(&self) -> &Bytes {
        unimplemented!()
    }

    /// Returns the sha256 digest of `index.json`, the bundle's identity.
    #[must_use]
    pub fn index_digest(&self) -> &Digest {
        unimplemented!()
    }

    /// Returns the trusted keys that signed, sorted.
    #[must_use]
    pub fn signed_by(&self) -> &[KeyId] {
        unimplemented!()
    }

    /// Returns the key the bundle shows, which proves nothing.
    #[must_use]
    pub fn shown_key(&self) -> Option<&PublicKey> {
        unimplemented!()
    }

    /// Returns the files of the bundle.
    #[must_use]
    pub fn volumes(&self) -> &Volumes {
        unimplemented!()
    }

    /// Returns the top-level descriptors in index order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        unimplemented!()
    }

    /// Returns the entry of that full source name (`quay.io/argoproj/argocd:v3.4.4`).
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        let _ = name;
        unimplemented!()
    }

    /// Returns every blob once, manifests included, in the order they lie in the bundle.
    #[must_use]
    pub fn blobs(&self) -> &[(Digest, u64)] {
        unimplemented!()
    }

    /// Returns a manifest's exact bytes; they were hashed when the bundle was opened.
    pub fn manifest(&self, digest: &Digest) -> Result<Bytes> {
        let _ = digest;
        unimplemented!()
    }

    /// Returns what a manifest refers to: children of an index; config, then layers, of a manifest.
    pub fn references(&self, digest: &Digest) -> Result<&[Descriptor]> {
        let _ = digest;
        unimplemented!()
    }

    /// Returns a whole blob, hashed; refuses one that is larger than `limit` bytes.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let _ = (digest, limit);
        unimplemented!()
    }

    /// Opens a blob for streaming.
    pub fn blob(&self, digest: &Digest) -> Result<BlobReader> {
        let _ = digest;
        unimplemented!()
    }
}

/// Streams one blob, and withholds its last frame until the blob's hash agreed.
///
/// Whoever got the end of the stream got exactly the blob; whoever got an error must discard what came before.
#[derive(Debug)]
pub struct BlobReader {
    _archive: VerifiedArchive,
}

impl BlobReader {
    /// Returns the blob's size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        unimplemented!()
    }

    /// Returns the next bytes (at most 4 MiB), or `None` after the last.
    ///
    /// Blocks for a buffer of the process-wide pool: release each chunk before long, and never collect them.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        unimplemented!()
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = buffer;
        unimplemented!()
    }
}

/// Bytes of a blob in a pooled buffer, which returns to the pool when dropped.
///
/// `Bytes::from_owner(chunk)` shares it without a copy.
#[derive(Debug)]
pub struct Chunk {
    buffer: Vec<u8>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}
