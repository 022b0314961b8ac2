//! How an installation goes about its work, as its caller wants it.

use std::time::Duration;

use camino::Utf8PathBuf;

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
