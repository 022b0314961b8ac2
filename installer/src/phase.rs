//! The phases of an installation, in order: its table of contents.
//!
//! Each phase looks, then acts, then proves. Any may run again; the hosts and the registry are the only state, beside the record of
//! releases. The enum is the list, the titles and the JSON names; the work is in one module per phase.

pub(crate) mod gates;
pub(crate) mod gather;
pub(crate) mod look;
pub(crate) mod nodes;
pub(crate) mod platform;
pub(crate) mod preflight;
pub(crate) mod registry;
pub(crate) mod stage;

use std::fmt;

use serde::Serialize;

/// One step of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Ask every host what it is and what it runs.
    Gather,
    /// Find every reason to fail before anything changes.
    Preflight,
    /// Put every image and chart into the site's registry.
    Registry,
    /// Put RKE2's release and its configuration on every host.
    Stage,
    /// Start the first server, or find the running one.
    Seed,
    /// Join the other servers, one at a time.
    Servers,
    /// Join the agents.
    Agents,
    /// Hand the components to Argo CD, wave by wave.
    Platform,
    /// Write the kubeconfig, the recovery folder and the report.
    Report,
}

impl Phase {
    /// All phases, in the order they run.
    pub const ALL: [Self; 9] = [
        Self::Gather,
        Self::Preflight,
        Self::Registry,
        Self::Stage,
        Self::Seed,
        Self::Servers,
        Self::Agents,
        Self::Platform,
        Self::Report,
    ];

    /// Says what the phase does, for a progress line.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Gather => "asking every host what it is",
            Self::Preflight => "looking for reasons to fail",
            Self::Registry => "filling the registry",
            Self::Stage => "staging RKE2 on the hosts",
            Self::Seed => "starting the first server",
            Self::Servers => "joining the other servers",
            Self::Agents => "joining the agents",
            Self::Platform => "installing the platform",
            Self::Report => "writing the report",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gather => "gather",
            Self::Preflight => "preflight",
            Self::Registry => "registry",
            Self::Stage => "stage",
            Self::Seed => "seed",
            Self::Servers => "servers",
            Self::Agents => "agents",
            Self::Platform => "platform",
            Self::Report => "report",
        })
    }
}
