//! What the installer tells its caller while it works.
//!
//! Events are for people to watch and for `--json` to record; nothing depends on them. No event ever carries a secret.

use serde::Serialize;

use crate::phase::Phase;

/// One thing worth showing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(
    tag = "event",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Event {
    /// A phase begins.
    PhaseStarted {
        /// The phase.
        phase: Phase,
    },
    /// A phase is done and proven.
    PhaseDone {
        /// The phase.
        phase: Phase,
        /// How many things it changed; 0 when all was as it should be.
        changes: u64,
    },
    /// A host is being worked on.
    Host {
        /// The host's name in the inventory.
        host: String,
        /// What is being done, or was found.
        message: String,
    },
    /// Something the operator should know, but need not mend.
    Notice {
        /// One sentence.
        message: String,
    },
    /// Something the operator should look at.
    Warning {
        /// One sentence.
        message: String,
    },
    /// The registry has been asked; these bytes are about to be sent.
    PushPlanned {
        /// Tags that are missing or differ.
        tags: u64,
        /// Tags that are right already.
        present: u64,
        /// Blobs to send, mount or prove present.
        blobs: u64,
        /// Bytes of those blobs.
        bytes: u64,
    },
    /// Bytes of a blob have left for the registry; the sum of all of them never exceeds the planned bytes unless a blob is sent again.
    PushProgress {
        /// Bytes since the last event.
        bytes: u64,
    },
    /// A blob is in the registry: sent, mounted, or found there.
    PushedBlob {
        /// The blob.
        digest: String,
        /// Its size in bytes.
        size: u64,
        /// Whether its bytes were sent now.
        sent: bool,
    },
    /// A blob is sent again from its first byte.
    PushRetry {
        /// The blob.
        digest: String,
        /// What went wrong.
        reason: String,
    },
    /// A tag is in place and re-read.
    PushedTag {
        /// The full name in the site's registry.
        name: String,
    },
    /// Bytes of the bundle were read and hashed by the full pass before anything else.
    Verified {
        /// Bytes since the last event.
        bytes: u64,
        /// Bytes of the whole pass.
        total: u64,
    },
    /// A wave of components is being waited for.
    Wave {
        /// Which one, from 1.
        wave: u64,
        /// Of how many.
        of: u64,
        /// Its components that are synced and healthy.
        healthy: u64,
        /// All its components.
        total: u64,
        /// The others, each with the reason.
        waiting: Vec<String>,
    },
}

/// Where events go. It is called from several threads at once and must return quickly.
pub type Report<'a> = &'a (dyn Fn(Event) + Sync);
