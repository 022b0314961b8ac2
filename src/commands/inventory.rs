//! `airgap inventory`: help with hosts.yaml.

use airgap_installer::connection::scan_keys;
use airgap_installer::inventory::{EXAMPLE, json_schema};
use camino::Utf8PathBuf;
use clap::Subcommand;

use crate::error::CommandError;
use crate::render;
use crate::site::Site;
use crate::ui::Ui;

/// Write, check and complete the site's inventory
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: InventoryCommand,
}

#[derive(Debug, Subcommand)]
enum InventoryCommand {
    /// Print a commented hosts.yaml to start from
    Example,
    /// Check a hosts.yaml without touching any host, and list everything wrong with it
    Check {
        /// The inventory
        #[arg(value_name = "FILE", default_value = "hosts.yaml")]
        inventory: Utf8PathBuf,
    },
    /// Print the JSON schema of hosts.yaml, for editors
    Schema,
    /// Ask every host for its SSH host key, and print the lines for known_hosts
    ///
    /// What answers is not proven to be the host that was meant: compare the fingerprints with
    /// those on the hosts' consoles before using the lines.
    ScanKeys {
        /// The inventory
        #[arg(value_name = "FILE", default_value = "hosts.yaml")]
        inventory: Utf8PathBuf,
    },
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self, ui: &Ui) -> Result<(), CommandError> {
        match self.command {
            InventoryCommand::Example => {
                ui.document(&serde_json::json!({"example": EXAMPLE}))?;
                ui.line(EXAMPLE.trim_end())
            }
            InventoryCommand::Schema => ui.raw(&format!("{:#}\n", json_schema())),
            InventoryCommand::Check { inventory } => {
                let site = Site::load(&inventory)?;
                let inventory = &site.inventory;
                let servers = inventory.servers().count();
                let agents = inventory.agents().count();
                ui.document(&serde_json::json!({"inventory": inventory}))?;
                ui.line(format!(
                    "{}: cluster {}, {}, {}: nothing wrong",
                    inventory.path,
                    inventory.name,
                    render::count(servers, "server"),
                    render::count(agents, "agent")
                ))
            }
            InventoryCommand::ScanKeys { inventory } => scan(ui, &Site::load(&inventory)?),
        }
    }
}

fn scan(ui: &Ui, site: &Site) -> Result<(), CommandError> {
    let source = site.secret_source();
    let secrets = site.secrets(&source);
    let mut found = Vec::new();
    for host in &site.inventory.hosts {
        found.extend(scan_keys(host, &secrets)?);
    }
    ui.document(&serde_json::json!({"keys": found}))?;
    for key in &found {
        ui.line(&key.line)?;
    }
    ui.status("\nCompare each with what the host's own console shows, before you use the lines:");
    for key in &found {
        let known = if key.trusted { "  (known already)" } else { "" };
        ui.status(format!(
            "  {} {} {}{known}",
            key.host, key.kind, key.fingerprint
        ));
    }
    Ok(())
}
