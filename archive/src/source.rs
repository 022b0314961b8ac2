//! Where the writer gets blobs from.

use std::io::{self, Read};

use oci_spec::image::Digest;

/// A store of blobs that the writer reads from several threads at once.
pub trait BlobSource: Sync {
    /// Opens a blob from its first byte. May block until the blob has been fetched.
    ///
    /// The writer hashes what it reads and never trusts the source's word for it.
    fn open(&self, digest: &Digest, size: u64) -> io::Result<Box<dyn Read + Send>>;

    /// Drops a blob whose bytes did not hash right, so that the next [`BlobSource::open`] brings it anew.
    ///
    /// Returns false when the source cannot bring it again; the writer then fails instead of starting over.
    fn evict(&self, digest: &Digest) -> io::Result<bool> {
        let _ = digest;
        Ok(false)
    }

    /// Says that the writer has failed and takes nothing more: whoever waits in [`BlobSource::open`] is to return an error.
    ///
    /// Called from the writing thread while others may still be in `open`; they are waited for afterwards. Not called when the
    /// writer may start over.
    fn give_up(&self) {}
}
