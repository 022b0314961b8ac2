//! What the long operations of this crate report while they run.

use camino::Utf8PathBuf;
use oci_spec::image::Digest;

/// Progress of writing or verifying a bundle, reported from any thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The work begins; `total` bytes of content will be handled.
    Started {
        /// Bytes of tar stream that will be written or verified.
        total: u64,
    },
    /// So much more content is done: written, or hashed and found right or wrong.
    Advanced {
        /// Bytes since the last event.
        bytes: u64,
    },
    /// A blob from the source did not hash right; the archive starts over after its first frame.
    StartedOver {
        /// The blob that the source has evicted.
        digest: Digest,
    },
    /// A further volume was begun.
    Volume {
        /// Its number, from 1.
        number: u32,
        /// Its final path.
        path: Utf8PathBuf,
    },
}
