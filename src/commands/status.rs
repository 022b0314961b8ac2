//! `airgap status`: how the installed platform is.

use airgap_installer::Status;
use camino::Utf8PathBuf;

use crate::error::CommandError;
use crate::render;
use crate::site::Site;
use crate::ui::{Style, Ui};

/// Below this many days a certificate is worth a second look.
const FEW_DAYS: i64 = 30;

/// Show how the installed platform is: nodes, release, applications, certificates
///
/// Only reads. Shows each node's version, role and readiness, the installed release, every
/// application that is not healthy with the reason, and the days left on certificates.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The site's inventory; see `airgap inventory example`
    #[arg(short, long, value_name = "FILE", default_value = "hosts.yaml")]
    inventory: Utf8PathBuf,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self, ui: &Ui) -> Result<(), CommandError> {
        let site = Site::load(&self.inventory)?;
        let source = site.secret_source();
        let secrets = site.secrets(&source);
        let status = airgap_installer::status(&site.inventory, &site.connector(&secrets))?;
        ui.document(&status)?;
        show(ui, &status)?;
        if status.is_well() {
            Ok(())
        } else {
            Err(CommandError::failed(format!(
                "cluster {} is not well",
                status.cluster
            )))
        }
    }
}

fn show(ui: &Ui, status: &Status) -> Result<(), CommandError> {
    let release = |release: &airgap_installer::record::Release| {
        format!(
            "{} {} (release {})",
            release.edition, release.version, release.release
        )
    };
    ui.line(format!(
        "cluster {}",
        ui.paint(Style::Strong, &status.cluster)
    ))?;
    match &status.installed {
        Some(installed) => ui.line(format!("installed: {}", release(installed)))?,
        None => ui.line("installed: nothing yet")?,
    }
    if let Some(begun) = &status.begun {
        let text = format!("begun but not finished: {}", release(begun));
        ui.line(ui.paint(Style::Warn, text))?;
    }
    ui.line("")?;
    let rows: Vec<[String; 5]> = status
        .nodes
        .iter()
        .map(|node| {
            [
                node.name.clone(),
                node.role.clone(),
                node.version.clone().unwrap_or_else(|| "-".to_owned()),
                if node.ready { "Ready" } else { "NotReady" }.to_owned(),
                node.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    ui.line(render::table(&rows).trim_end())?;
    ui.line("")?;
    let healthy = status.applications.saturating_sub(status.unhealthy.len());
    ui.line(format!(
        "{healthy} of {} healthy",
        render::count(status.applications, "application")
    ))?;
    for application in &status.unhealthy {
        ui.line(format!(
            "  {} {}: {}",
            ui.paint(Style::Bad, "ill:"),
            application.name,
            application.reason
        ))?;
    }
    if let Some(next) = status.certificates.first() {
        let text = format!(
            "certificates: {} days left ({} ends first)",
            next.days_left, next.name
        );
        let style = if next.days_left < FEW_DAYS {
            Style::Warn
        } else {
            Style::Good
        };
        ui.line(ui.paint(style, text))?;
    }
    for problem in &status.problems {
        ui.line(format!(
            "{} {problem}",
            ui.paint(Style::Bad, "could not ask:")
        ))?;
    }
    Ok(())
}
