//! What can go wrong on site, in one type for the whole crate.
//!
//! [`Error::class`] says what a failure means to whoever automates an installation; it is exhaustive, so a new variant must decide.

use std::{io, time::Duration};

use camino::Utf8PathBuf;
use jiff::Timestamp;

use crate::{Finding, Severity, record::Refusal};

/// The error of this crate's operations.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A host could not be reached, refused us, or failed a command.
    #[error(transparent)]
    Connection(#[from] crate::ConnectionError),
    /// A secret that the inventory refers to could not be had.
    #[error(transparent)]
    Secret(#[from] crate::secret::SecretError),
    /// A host's answer to the facts script could not be read.
    #[error(transparent)]
    Facts(#[from] crate::facts::FactsError),
    /// The bundle could not be read, or is not to be trusted.
    #[error(transparent)]
    Archive(#[from] airgap_archive::Error),
    /// The full pass over the bundle found damage.
    #[error("the bundle is damaged in {} places, the first: {first}", .count)]
    Damaged {
        /// How many findings.
        count: usize,
        /// The first.
        first: String,
    },
    /// The site's registry could not be read or written.
    #[error(transparent)]
    Registry(#[from] airgap_registry::Error),
    /// The bundle's edition cannot be read.
    #[error("failed to read the edition of the bundle")]
    Edition(#[source] airgap_manifests::EditionError),
    /// The bundle lacks what its edition names, or names it wrongly.
    #[error("the bundle does not agree with itself: {what}")]
    Bundle {
        /// What is missing or malformed.
        what: String,
    },
    /// The registry lacks layers that the bundle, a delta, leaves out.
    #[error(
        "{layers} of the layers that this delta leaves out cannot be had from the registry: they came with version {version} (release {release})"
    )]
    Unproven {
        /// How many.
        layers: usize,
        /// The version of the bundle that brought them.
        version: String,
        /// Its release number.
        release: u64,
    },
    /// A file or object cannot be written for this site: the inventory lacks something the edition needs.
    #[error("failed to render what the site needs")]
    Render {
        /// What is lacking, and where the inventory gives it.
        #[source]
        source: Box<airgap_manifests::RenderError>,
    },
    /// The site's record of releases forbids this bundle.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A file that the inventory names could not be read.
    #[error("failed to read {what}")]
    SiteFile {
        /// What it is, in the inventory's words.
        what: &'static str,
        /// The cause; names the path.
        #[source]
        source: io::Error,
    },
    /// A component needs a secret of the site's own that hosts.yaml does not name.
    #[error(
        "secret {secret} of the platform needs what only the site has: set `{entry}` in hosts.yaml"
    )]
    SiteSecret {
        /// The Secret's name.
        secret: String,
        /// The entry of hosts.yaml.
        entry: &'static str,
    },
    /// The CA that hosts.yaml names cannot issue the platform's certificates.
    #[error("`tls.issuer.ca` of hosts.yaml cannot issue certificates: {reason}")]
    SiteCa {
        /// Why.
        reason: String,
    },
    /// Preflight found errors, and nothing was changed.
    #[error("preflight found {} errors", .findings.iter().filter(|finding| finding.severity == Severity::Error).count())]
    Preflight {
        /// Everything it found.
        findings: Vec<Finding>,
    },
    /// Several hosts failed at the same step.
    #[error("failed on {} hosts: {}", .failures.len(), .failures.iter().map(|(host, _)| host.as_str()).collect::<Vec<_>>().join(", "))]
    Hosts {
        /// Each host with its own error.
        failures: Vec<(String, Error)>,
    },
    /// The hosts contradict each other, or the inventory, about the cluster.
    #[error("{what}")]
    Cluster {
        /// What was seen, and what it means.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// Another installation holds the cluster's lock.
    #[error("the cluster is being installed by {holder} since {since}, last heard of {} s ago (lock on {host})", .idle.as_secs())]
    Locked {
        /// The seed, which keeps the lock.
        host: String,
        /// The holder.
        holder: String,
        /// Since when.
        since: Timestamp,
        /// How long ago it was renewed.
        idle: Duration,
    },
    /// Our own lock was taken over, or could not be renewed.
    #[error(
        "lost the cluster's lock on {host}: another installation has taken it over, or the host was out of reach"
    )]
    LockLost {
        /// The seed.
        host: String,
    },
    /// A host did not become what it should in the time allowed.
    #[error("{what} on {host} did not happen within {} s: {reason}", .waited.as_secs())]
    Gate {
        /// The host.
        host: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
        /// What the host or the cluster says of it.
        reason: String,
        /// The limit that ran out; `None` where waiting longer makes no sense.
        limit: Option<Limit>,
    },
    /// Components did not become healthy in the time allowed.
    #[error("wave {wave} did not become healthy within {} s: {}", .waited.as_secs(), .components.iter().map(|(name, reason)| format!("{name} ({reason})")).collect::<Vec<_>>().join("; "))]
    Unhealthy {
        /// The wave, from 1.
        wave: u64,
        /// How long was waited.
        waited: Duration,
        /// The components, each with the reason.
        components: Vec<(String, String)>,
    },
    /// kubectl refused objects.
    #[error("failed to {operation} {objects} through {host}: {message}")]
    Kubernetes {
        /// The server whose kubectl it was.
        host: String,
        /// `apply`, `create`.
        operation: &'static str,
        /// The objects.
        objects: String,
        /// What kubectl said.
        message: String,
    },
    /// A host's answer has another form than expected.
    #[error("failed to read {what} from host {host}: the answer has an unexpected form")]
    Answer {
        /// The host.
        host: String,
        /// What was asked.
        what: &'static str,
    },
    /// The report's folder could not be written. The cluster is installed nevertheless.
    #[error("failed to write {path}")]
    ReportFolder {
        /// The folder or file.
        path: Utf8PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The system has no random numbers, or no threads.
    #[error("failed to {what}")]
    System {
        /// What was wanted of it.
        what: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// How long an installation waits, as its caller sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`InstallOptions::node_timeout`](crate::InstallOptions::node_timeout).
    Node,
    /// [`InstallOptions::wave_timeout`](crate::InstallOptions::wave_timeout).
    Wave,
}

/// What a failure means, as exit codes tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitClass {
    /// Something failed; running again may help.
    Failed,
    /// The command or the inventory asks for what cannot be.
    Usage,
    /// The bundle must not be trusted here.
    DoNotTrust,
    /// Preflight found errors; nothing was changed.
    Preflight,
}

impl Error {
    /// Says what the failure means.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::Archive(error) if error.is_trust_failure() => ExitClass::DoNotTrust,
            Self::Damaged { .. } | Self::Refused(_) => ExitClass::DoNotTrust,
            Self::Preflight { .. } => ExitClass::Preflight,
            Self::Secret(_)
            | Self::SiteFile { .. }
            | Self::SiteSecret { .. }
            | Self::SiteCa { .. }
            | Self::Render { .. } => ExitClass::Usage,
            Self::Hosts { failures } => failures
                .iter()
                .map(|(_, error)| error.class())
                .find(|class| *class == ExitClass::DoNotTrust)
                .unwrap_or(ExitClass::Failed),
            Self::Archive(_)
            | Self::Connection(_)
            | Self::Facts(_)
            | Self::Registry(_)
            | Self::Edition(_)
            | Self::Bundle { .. }
            | Self::Unproven { .. }
            | Self::Cluster { .. }
            | Self::Locked { .. }
            | Self::LockLost { .. }
            | Self::Gate { .. }
            | Self::Unhealthy { .. }
            | Self::Kubernetes { .. }
            | Self::Answer { .. }
            | Self::ReportFolder { .. }
            | Self::System { .. } => ExitClass::Failed,
        }
    }

    /// Returns what to do about it, where the error itself knows.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Cluster { remedy, .. } => Some(remedy),
            _ => None,
        }
    }
}

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
