//! The installer: what it is given, and the phases in order.
//!
//! All methods block: hosts are worked on by threads, and the registry by a runtime of this crate's own, so call them from a thread that
//! is not itself driving asynchronous work (`spawn_blocking`).

use std::time::Duration;

use airgap_archive::VerifiedArchive;
use airgap_manifests::ResolvedEdition;
use camino::Utf8PathBuf;

use crate::{
    Connection, ConnectionError, Finding, Host, InstallPlan, InstallReport, Inventory, Report,
    Result, Secrets, Status,
};

/// Opens a connection to a host of the inventory.
pub type Connector<'a> = dyn Fn(&Host) -> Result<Box<dyn Connection>, ConnectionError> + Sync + 'a;

/// How an installation goes about its work.
#[derive(Clone, Debug)]
pub struct InstallOptions {
    /// Uploads at a time; the inventory's, where absent.
    pub jobs: Option<usize>,
    /// Reads and hashes the whole bundle before anything changes.
    pub verify_first: bool,
    /// Accepts a release that is older than the site's record.
    pub allow_downgrade: bool,
    /// Accepts fewer hosts than the edition is meant for.
    pub allow_small: bool,
    /// How long a node may take to start and become Ready.
    pub node_timeout: Duration,
    /// How long a wave of components may take to become healthy.
    pub wave_timeout: Duration,
    /// How often hosts and cluster are asked while something is waited for.
    pub poll: Duration,
    /// Where the folder `airgap-<cluster>` goes.
    pub report_parent: Utf8PathBuf,
    /// Who installs, for the cluster's lock: `user@machine`.
    pub operator: String,
}

impl Default for InstallOptions {
    fn default() -> Self {
        Self {
            jobs: None,
            verify_first: false,
            allow_downgrade: false,
            allow_small: false,
            node_timeout: Duration::from_mins(20),
            wave_timeout: Duration::from_mins(30),
            poll: Duration::from_secs(2),
            report_parent: Utf8PathBuf::from("."),
            operator: "unknown".to_owned(),
        }
    }
}

/// One bundle, one site.
pub struct Installer<'a> {
    inventory: &'a Inventory,
    secrets: &'a Secrets<'a>,
    archive: &'a VerifiedArchive,
    edition: ResolvedEdition,
    connect: &'a Connector<'a>,
    options: InstallOptions,
}

impl std::fmt::Debug for Installer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installer")
            .field("cluster", &self.inventory.name)
            .field("edition", &self.edition.edition)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<'a> Installer<'a> {
    /// Reads the bundle's edition; touches neither hosts nor registry.
    pub fn new(
        inventory: &'a Inventory,
        secrets: &'a Secrets<'a>,
        archive: &'a VerifiedArchive,
        connect: &'a Connector<'a>,
        options: InstallOptions,
    ) -> Result<Self> {
        let edition = read_edition(archive)?;
        Ok(Self {
            inventory,
            secrets,
            archive,
            edition,
            connect,
            options,
        })
    }

    /// Returns the bundle's edition.
    pub fn edition(&self) -> &ResolvedEdition {
        &self.edition
    }

    /// Finds every reason to fail; changes nothing.
    pub fn preflight(&self, report: Report<'_>) -> Result<Vec<Finding>> {
        let _ = (report, self.secrets, self.connect);
        Ok(Vec::new())
    }

    /// Says what [`Installer::install`] would do; changes nothing.
    pub fn plan(&self, report: Report<'_>) -> Result<InstallPlan> {
        let _ = (report, self.archive);
        Err(crate::Error::Bundle {
            what: "not landed yet".to_owned(),
        })
    }

    /// Installs, or goes on with an installation that was interrupted, or finds that there is nothing to do.
    pub fn install(&self, report: Report<'_>) -> Result<InstallReport> {
        let _ = report;
        Err(crate::Error::Bundle {
            what: "not landed yet".to_owned(),
        })
    }
}

/// Asks a site how it is; changes nothing.
pub fn status(inventory: &Inventory, connect: &Connector<'_>) -> Result<Status> {
    let _ = (inventory, connect);
    Err(crate::Error::Bundle {
        what: "not landed yet".to_owned(),
    })
}

fn read_edition(archive: &VerifiedArchive) -> Result<ResolvedEdition> {
    let _ = archive;
    Err(crate::Error::Bundle {
        what: "not landed yet".to_owned(),
    })
}
