//! Reading a bundle whose signature holds.
//!
//! The invariant of this crate: there is no value of [`VerifiedArchive`] whose index was not signed by keys the
//! caller trusts, and no byte of a blob's end is handed out before its hash agreed.

mod blob;
mod frames;
mod open;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use airgap_signing::{KeyId, PublicKey, TrustRoot};
use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::{Descriptor, Digest};

use crate::frame::Decompressor;
use crate::graph::Graph;
use crate::layout::{Layout, Piece};
use crate::{BundleInfo, Entry, Error, Omitted, Result, Volumes, check, pool};

pub use blob::{BlobReader, Chunk};
pub(crate) use frames::{Failure, Frames};
pub(crate) use open::{parse_index, sha256};

/// How to open a bundle.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Further folders in which volumes and countersignatures may lie.
    pub folders: Vec<Utf8PathBuf>,
}

/// A bundle whose index is signed by keys the site trusts.
///
/// There is no other way to its contents. Cheap to clone, and every method may be called from many threads at once.
///
/// ```no_run
/// use airgap_archive::{OpenOptions, VerifiedArchive};
/// use airgap_signing::TrustRoot;
///
/// let trust = TrustRoot::load_dir("/etc/airgap/trusted.d".into())?;
/// let bundle = VerifiedArchive::open("standard.tar.zst".into(), &trust, &OpenOptions::default())?;
/// let image = bundle.entry("quay.io/argoproj/argocd:v3.4.4")?;
/// println!("{} is {}", bundle.info().name, image.descriptor.digest());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct VerifiedArchive {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for VerifiedArchive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedArchive")
            .field("name", &self.inner.info.name)
            .finish_non_exhaustive()
    }
}

/// An opened bundle.
pub(crate) struct Inner {
    pub(crate) info: BundleInfo,
    pub(crate) entries: Vec<Entry>,
    pub(crate) index: Bytes,
    index_digest: Digest,
    whole_digest: Digest,
    signed_by: Vec<KeyId>,
    trusted_keys: Vec<PublicKey>,
    shown_key: PublicKey,
    volumes: Volumes,
    pub(crate) frames: Frames,
    pub(crate) layout: Layout,
    pub(crate) graph: Graph,
    manifests: HashMap<Digest, Bytes>,
    blobs: Vec<(Digest, u64)>,
    by_digest: HashMap<Digest, usize>,
    /// The last shared frame that was decoded, so that reading its entries one by one costs one decoding.
    shared: Mutex<Option<(usize, Vec<u8>)>>,
}

impl Inner {
    /// Reads and checks a small entry.
    pub(crate) fn small(&self, piece: &Piece) -> Result<Bytes> {
        let path = self.frames.path(piece.frame);
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = shared.as_ref().filter(|(number, _)| *number == piece.frame);
        if cached.is_none() {
            let mut content = vec![0; self.layout.frames[piece.frame].length];
            let mut scratch = pool::take_one();
            let read = Decompressor::new()
                .map_err(Failure::Io)
                .and_then(|mut decompressor| {
                    self.frames
                        .read(piece.frame, &mut content, &mut scratch, &mut decompressor)
                });
            read.map_err(|failure| failure.into_error(piece, path))?;
            *shared = Some((piece.frame, content));
        }
        let content = shared.as_ref().map_or(&[][..], |(_, content)| content);
        check::small(piece, content)
            .map(Bytes::copy_from_slice)
            .map_err(|reason| Failure::Damaged(reason).into_error(piece, path))
    }
}

impl VerifiedArchive {
    /// Checks the signature over `index.json`, then the structure, then reads every manifest.
    ///
    /// No decompressor and no JSON parser sees a byte before the signature holds.
    pub fn open(path: &Utf8Path, trust: &TrustRoot, options: &OpenOptions) -> Result<Self> {
        Ok(Self {
            inner: Arc::new(open::open(path, trust, options)?),
        })
    }

    /// Returns what the index says of the bundle as a whole; whether it has expired is the caller's to judge.
    #[must_use]
    pub fn info(&self) -> &BundleInfo {
        &self.inner.info
    }

    /// Returns the signed bytes of `index.json`.
    #[must_use]
    pub fn index(&self) -> &Bytes {
        &self.inner.index
    }

    /// Returns the sha256 digest of `index.json`, the bundle's identity.
    #[must_use]
    pub fn index_digest(&self) -> &Digest {
        &self.inner.index_digest
    }

    /// Returns the digest that the index would have if nothing was left out: the same for a bundle and for every delta that stands for it.
    #[must_use]
    pub fn whole_digest(&self) -> &Digest {
        &self.inner.whole_digest
    }

    /// Returns the layers that a delta leaves out, sorted by digest; none of a bundle that is whole.
    #[must_use]
    pub fn omitted(&self) -> &[Omitted] {
        self.inner.graph.omitted()
    }

    /// Returns the trusted keys that signed, sorted.
    #[must_use]
    pub fn signed_by(&self) -> &[KeyId] {
        &self.inner.signed_by
    }

    /// Returns every key that it was opened with trust in, revoked ones left out, whether it signed this bundle or not.
    #[must_use]
    pub fn trusted_keys(&self) -> &[PublicKey] {
        &self.inner.trusted_keys
    }

    /// Returns the key the bundle shows, which proves nothing.
    #[must_use]
    pub fn shown_key(&self) -> &PublicKey {
        &self.inner.shown_key
    }

    /// Returns the files of the bundle.
    #[must_use]
    pub fn volumes(&self) -> &Volumes {
        &self.inner.volumes
    }

    /// Returns the paths of the files that are read, in order of volume number.
    #[must_use]
    pub fn paths(&self) -> Vec<&Utf8Path> {
        self.inner
            .frames
            .volume_paths()
            .map(Utf8PathBuf::as_path)
            .collect()
    }

    /// Returns the bytes of all files together.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.inner.frames.file_bytes()
    }

    /// Returns the bytes of the tar stream inside.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.inner.layout.content()
    }

    /// Returns the top-level descriptors in index order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.inner.entries
    }

    /// Returns the entry of that full source name (`quay.io/argoproj/argocd:v3.4.4`).
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        self.entries()
            .iter()
            .find(|entry| entry.name.as_deref() == Some(name))
            .ok_or_else(|| Error::NotFound {
                what: format!("entry named {name}"),
            })
    }

    /// Returns every blob once, manifests included, in the order they lie in the bundle.
    #[must_use]
    pub fn blobs(&self) -> &[(Digest, u64)] {
        &self.inner.blobs
    }

    /// Returns a manifest's exact bytes; they were hashed when the bundle was opened.
    pub fn manifest(&self, digest: &Digest) -> Result<Bytes> {
        let found = self.inner.manifests.get(digest).cloned();
        found.ok_or_else(|| Error::NotFound {
            what: format!("manifest {digest}"),
        })
    }

    /// Returns what a manifest refers to: children of an index; config, then layers, of a manifest.
    pub fn references(&self, digest: &Digest) -> Result<&[Descriptor]> {
        let found = self.inner.graph.references(digest);
        found.ok_or_else(|| Error::NotFound {
            what: format!("manifest {digest}"),
        })
    }

    pub(crate) fn piece(&self, digest: &Digest) -> Result<usize> {
        let found = self.inner.by_digest.get(digest).copied();
        found.ok_or_else(|| match &self.info().delta {
            Some(base) if self.omitted().iter().any(|layer| layer.digest == *digest) => {
                Error::LeftOut {
                    digest: digest.clone(),
                    version: base.version.clone(),
                    release: base.release,
                }
            }
            _ => Error::NotFound {
                what: format!("blob {digest}"),
            },
        })
    }

    /// Returns a whole blob, hashed; refuses one that is larger than `limit` bytes.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut blob = self.blob(digest)?;
        if blob.size() > limit {
            return Err(Error::TooLarge {
                what: format!("blob {digest}"),
                size: blob.size(),
                limit,
            });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = blob.next_chunk()? {
            bytes.extend_from_slice(chunk.as_ref());
        }
        Ok(bytes)
    }

    /// Opens a blob for streaming.
    pub fn blob(&self, digest: &Digest) -> Result<BlobReader> {
        BlobReader::new(self.clone(), self.piece(digest)?)
    }

    /// Asks the system to forget what it cached of the files, so that the next reading is from the medium.
    pub fn drop_page_cache(&self) -> Result<()> {
        self.inner.frames.drop_page_cache()
    }
}
