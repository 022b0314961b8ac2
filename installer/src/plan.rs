//! What an installation would do, before it does any of it.
//!
//! A plan is inert and holds no secret: `--dry-run` prints it, `install` carries it out, and an empty one is the proof that a second run
//! writes nothing. It is computed from what hosts, registry and cluster said, never from memory of an earlier run.

use std::fmt;

use serde::Serialize;

use crate::{Finding, Role, push::PushSummary, record::Release};

/// Everything one run would change.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstallPlan {
    /// The cluster's name.
    pub cluster: String,
    /// The release to install.
    pub release: Release,
    /// What the site's record says is installed.
    pub installed: Option<Release>,
    /// Which server the others join, and whether the cluster exists.
    pub seed: Seed,
    /// What the registry lacks.
    pub registry: PushSummary,
    /// What each host needs, in the order it will be done.
    pub hosts: Vec<HostPlan>,
    /// Objects that are missing or differ, by name, in the order they will be applied; Argo CD's HelmChart also while helm has not installed
    /// it. Components of a later wave follow their gate.
    pub objects: Vec<String>,
    /// Components by wave.
    pub waves: Vec<WavePlan>,
    /// Whether the record of releases changes.
    pub record: bool,
    /// What was found on the way, worst first.
    pub findings: Vec<Finding>,
    /// What the operator should know.
    pub notices: Vec<String>,
}

impl InstallPlan {
    /// Tells whether a run would write nothing to the registry, the nodes or the cluster.
    pub fn is_empty(&self) -> bool {
        self.registry.missing == 0
            && self.hosts.iter().all(HostPlan::is_empty)
            && self.objects.is_empty()
            && self.waves.iter().all(|wave| wave.pending.is_empty())
            && !self.record
    }
}

/// The server that the others join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Seed {
    /// No server runs this cluster: this one founds it.
    Founds {
        /// The host.
        host: String,
    },
    /// The cluster exists, but none of its servers runs: these hold its data and are started.
    Restarts {
        /// The first of them, which is the seed.
        host: String,
        /// All of them.
        members: Vec<String>,
    },
    /// The cluster runs on this server, among others.
    Runs {
        /// The host.
        host: String,
    },
}

impl Seed {
    /// Returns the seed's name.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::Founds { host } | Self::Restarts { host, .. } | Self::Runs { host } => host,
        }
    }
}

/// What one host needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPlan {
    /// The host.
    pub host: String,
    /// Its role.
    pub role: Role,
    /// RKE2's release is copied and installed.
    pub install: bool,
    /// Files that are missing or differ, by path.
    pub files: Vec<String>,
    /// What happens to RKE2's service.
    pub service: Service,
    /// What the cluster still remembers of the host's former self, and must forget first.
    pub stale: Option<String>,
}

impl HostPlan {
    /// Tells whether the host is as it should be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.install
            && self.files.is_empty()
            && self.service == Service::Leave
            && self.stale.is_none()
    }
}

/// What happens to RKE2's service on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Service {
    /// It runs with the configuration it should have, and its node is in the cluster for good.
    Leave,
    /// It runs with the configuration it should have, but its node is not in the cluster for good: an earlier run was interrupted before that,
    /// or the node is ill. It is waited for.
    Wait,
    /// It is started for the first time, and founds the cluster.
    Found,
    /// It is started for the first time, and joins.
    Join,
    /// It has been in the cluster and is started again.
    Start,
    /// It runs with older files and is restarted, one host after the other.
    Restart,
}

/// One wave of components.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WavePlan {
    /// Its components.
    pub components: Vec<String>,
    /// Those that are missing, differ, or are not healthy as they should be now.
    pub pending: Vec<String>,
}

impl fmt::Display for InstallPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = &self.release;
        writeln!(
            f,
            "cluster {}: {} {} (release {})",
            self.cluster, release.edition, release.version, release.release
        )?;
        if let Some(installed) = &self.installed {
            writeln!(
                f,
                "  installed: {} {} (release {})",
                installed.edition, installed.version, installed.release
            )?;
        }
        if self.is_empty() {
            return writeln!(
                f,
                "  nothing to change: registry, nodes and platform are as this bundle wants them"
            );
        }
        let registry = &self.registry;
        writeln!(
            f,
            "registry: {} of {} tags missing, at most {} bytes in {} blobs to send",
            registry.missing,
            registry.missing + registry.present,
            registry.bytes,
            registry.blobs
        )?;
        for moved in &registry.moved {
            writeln!(f, "  moves {moved}")?;
        }
        match &self.seed {
            Seed::Founds { host } => {
                writeln!(f, "seed: {host} founds the cluster; no server runs it yet")?;
            }
            Seed::Restarts { host, members } => writeln!(
                f,
                "seed: {host}; the cluster is stopped, {} hold its data and are started",
                members.join(", ")
            )?,
            Seed::Runs { host } => writeln!(f, "seed: {host} runs this cluster")?,
        }
        for host in self.hosts.iter().filter(|host| !host.is_empty()) {
            write!(f, "{} ({}):", host.host, host.role)?;
            if let Some(stale) = &host.stale {
                write!(f, " {stale};")?;
            }
            if host.install {
                write!(f, " install RKE2;")?;
            }
            if !host.files.is_empty() {
                write!(f, " write {};", host.files.join(", "))?;
            }
            writeln!(
                f,
                "{}",
                match host.service {
                    Service::Leave => "",
                    Service::Wait => " wait until its node is in the cluster",
                    Service::Found => " start, found the cluster",
                    Service::Join => " start, join",
                    Service::Start => " start",
                    Service::Restart => " rolling restart, because its configuration changed",
                }
            )?;
        }
        for object in &self.objects {
            writeln!(f, "apply {object}")?;
        }
        for (number, wave) in self
            .waves
            .iter()
            .enumerate()
            .filter(|(_, wave)| !wave.pending.is_empty())
        {
            writeln!(f, "wave {}: {}", number + 1, wave.pending.join(", "))?;
        }
        self.notices
            .iter()
            .try_for_each(|notice| writeln!(f, "note: {notice}"))
    }
}
