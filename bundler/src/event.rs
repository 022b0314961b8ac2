//! What the long operations of this crate report while they run.

use oci_spec::image::Digest;

/// A stage of [`crate::lock()`] or [`crate::bundle()`], in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Upstream is asked what tags, charts and files are now.
    Resolve,
    /// Manifests, configs and charts are fetched, so that every digest and size is known.
    Gather,
    /// The index is signed, blobs are fetched and the bundle is written, all at once.
    Write,
    /// The bundle is read back from the disk.
    Verify,
}

/// Progress, reported from any thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A stage begins.
    Stage {
        /// Which.
        stage: Stage,
        /// How many things it will handle: sources, manifests or blobs.
        items: u64,
        /// Bytes to fetch, where they are known.
        bytes: u64,
    },
    /// One thing of the stage is done.
    Done {
        /// The image, chart or file.
        object: String,
    },
    /// A blob begins to arrive.
    Fetching {
        /// What it belongs to.
        object: String,
        /// The blob.
        digest: Digest,
        /// Its size in bytes, where it is known.
        size: Option<u64>,
        /// Bytes that an earlier run left.
        resumed: u64,
    },
    /// So many bytes more have arrived.
    Received {
        /// Bytes since the last event.
        bytes: u64,
    },
    /// A blob of the cache no longer hashed right and was thrown away.
    Evicted {
        /// The blob.
        digest: Digest,
    },
    /// Something worth knowing that stops nothing.
    Warning {
        /// One sentence.
        message: String,
    },
    /// The archive being written or read back.
    Archive(airgap_archive::Event),
}

/// Where progress goes.
pub type Report<'a> = &'a (dyn Fn(Event) + Sync);
