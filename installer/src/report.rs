//! What an installation leaves with the operator.
//!
//! A folder `airgap-<cluster>`, 0700: the kubeconfig, the recovery folder (keep it offline), and a report for people. The report names the
//! secret that holds a password and the line that shows it, never the password.

use std::{collections::BTreeMap, fmt::Write as _, os::unix::fs::DirBuilderExt};

use camino::{Utf8Path, Utf8PathBuf};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::{Error, Result, push::PushSummary, record::Release};

/// The outcome of an installation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstallReport {
    /// The cluster's name.
    pub cluster: String,
    /// What is installed now.
    pub release: Release,
    /// Who signed it: key ids.
    pub signed_by: Vec<String>,
    /// Whether anything was written to the registry, a node or the cluster.
    pub changed: bool,
    /// Requests that changed the registry.
    pub registry_writes: u64,
    /// HEAD requests to the registry.
    pub registry_heads: u64,
    /// What was pushed.
    pub pushed: PushSummary,
    /// The nodes.
    pub nodes: Vec<NodeReport>,
    /// The components with their addresses.
    pub components: Vec<ComponentReport>,
    /// Files of the recovery folder beside the cluster's token.
    pub recovery: Vec<String>,
    /// Steps left to a person.
    pub manual_steps: Vec<String>,
    /// What the operator should know.
    pub notices: Vec<String>,
    /// The folder with kubeconfig, recovery and report.
    pub folder: Utf8PathBuf,
    /// Commands run on each host, for the curious and for tests.
    pub commands: std::collections::BTreeMap<String, u64>,
    /// Files written on each host.
    pub files_written: std::collections::BTreeMap<String, u64>,
}

/// A node in the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// `server` or `agent`.
    pub role: String,
    /// RKE2's version.
    pub version: String,
    /// Whether it is Ready.
    pub ready: bool,
}

/// A component in the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentReport {
    /// Its title.
    pub title: String,
    /// The version of the software.
    pub version: String,
    /// Where a person finds it.
    pub url: Option<String>,
    /// The administrator's user name, and the kubectl line that shows the password.
    pub admin: Option<(String, String)>,
}

impl InstallReport {
    /// Renders report.txt.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let release = &self.release;
        // writing to a string cannot fail
        let _ = writeln!(
            text,
            "Cluster {} runs {} {} (release {}, index {})",
            self.cluster, release.edition, release.version, release.release, release.index_digest
        );
        let _ = writeln!(text, "Signed by {}", self.signed_by.join(", "));
        let _ = writeln!(text, "\nNodes");
        for node in &self.nodes {
            let _ = writeln!(
                text,
                "  {:<20} {:<7} {:<18} {}",
                node.name,
                node.role,
                node.version,
                if node.ready { "Ready" } else { "NotReady" }
            );
        }
        let _ = writeln!(text, "\nComponents");
        for component in &self.components {
            let _ = writeln!(
                text,
                "  {} {}{}",
                component.title,
                component.version,
                component
                    .url
                    .as_ref()
                    .map_or_else(String::new, |url| format!("  {url}"))
            );
            if let Some((user, line)) = &component.admin {
                let _ = writeln!(text, "    user {user}, password: {line}");
            }
        }
        if !self.manual_steps.is_empty() {
            let _ = writeln!(text, "\nLeft to do by hand");
            for step in &self.manual_steps {
                let _ = writeln!(text, "  - {step}");
            }
        }
        let _ = writeln!(text, "\nRecovery");
        let _ = writeln!(
            text,
            "  {}/recovery holds the cluster's token. Without it a backup of etcd cannot be restored.",
            self.folder
        );
        for name in &self.recovery {
            let _ = writeln!(
                text,
                "  {}/recovery/{name}: without it, what it unlocks is lost with the cluster.",
                self.folder
            );
        }
        let _ = writeln!(text, "  Store it offline, then delete it here.");
        text
    }
}

/// Writes the folder; files that are right already are left alone. Returns how many were written.
pub(crate) fn write(
    folder: &Utf8Path,
    report: &InstallReport,
    kubeconfig: Option<&SecretString>,
    recovery: &BTreeMap<String, SecretString>,
) -> Result<u64> {
    make_folder(folder)?;
    let mut written = 0;
    if let Some(kubeconfig) = kubeconfig {
        written += u64::from(write_private(
            &folder.join("kubeconfig"),
            kubeconfig.expose_secret(),
        )?);
    }
    for (name, secret) in recovery {
        make_folder(&folder.join("recovery"))?;
        written += u64::from(write_private(
            &folder.join("recovery").join(name),
            &format!("{}\n", secret.expose_secret()),
        )?);
    }
    written += u64::from(write_private(&folder.join("report.txt"), &report.text())?);
    Ok(written)
}

fn make_folder(folder: &Utf8Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |source| Error::ReportFolder {
        path: folder.to_owned(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    fs_err::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(failed)
}

/// Writes a file of the operator's alone, by a temporary name; `false` when it was right already.
fn write_private(path: &Utf8Path, content: &str) -> Result<bool> {
    use std::io::Write as _;

    use fs_err::os::unix::fs::OpenOptionsExt as _;
    if fs_err::read(path).is_ok_and(|present| present == content.as_bytes()) {
        return Ok(false);
    }
    let failed = |source| Error::ReportFolder {
        path: path.to_owned(),
        source,
    };
    let temporary = Utf8PathBuf::from(format!("{path}.new"));
    let mut file = fs_err::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(content.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    fs_err::rename(&temporary, path).map_err(failed)?;
    Ok(true)
}

/// Returns the nodes as the API server sees them.
pub(crate) fn nodes_of(nodes: &[serde_json::Value]) -> Vec<NodeReport> {
    nodes
        .iter()
        .map(|node| {
            let node = crate::kube::NodeView::new(node);
            NodeReport {
                name: node.name().to_owned(),
                role: if node.is_server() { "server" } else { "agent" }.to_owned(),
                version: node.version().to_owned(),
                ready: node.condition("Ready"),
            }
        })
        .collect()
}
