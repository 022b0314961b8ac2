//! `airgap install`: from bundle to healthy platform.

use std::time::Duration;

use airgap_archive::{OpenOptions, VerifiedArchive};
use airgap_installer::{Error, Finding, InstallOptions, InstallReport, Installer, Severity};
use camino::Utf8PathBuf;
use clap::builder::RangedU64ValueParser;

use crate::cli::{BundleOption, TrustArgs};
use crate::commands::preflight;
use crate::error::CommandError;
use crate::progress::{InstallerEvents, Progress};
use crate::render;
use crate::site::Site;
use crate::ui::{Style, Ui};

/// Install the bundle on the site's hosts, or carry on where an install stopped
///
/// In this order: look at every host, check that nothing is in the way, push to the site's
/// registry straight from the bundle, stage RKE2 on the nodes, start the first server, then the
/// others, then the agents, then the platform wave by wave.
///
/// Each step looks before it acts, so after any failure, Ctrl-C or power cut the answer is the same
/// command again. A second run on a healthy site writes nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The site's inventory; see `airgap inventory example`
    #[arg(short, long, value_name = "FILE", default_value = "hosts.yaml")]
    inventory: Utf8PathBuf,
    #[command(flatten)]
    bundle: BundleOption,
    /// Show the plan and preflight's findings, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Read and check the whole bundle before the first change
    #[arg(long)]
    verify_first: bool,
    /// Accept fewer nodes than the edition asks for
    #[arg(long)]
    allow_small: bool,
    /// Accept a release older than the one installed
    #[arg(long)]
    allow_downgrade: bool,
    /// Uploads to the registry at a time [default: the inventory's options.parallelUploads]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// How long a node may take to start and become Ready
    ///
    /// Each node has this long by itself. Slow disks, or a slow way to the registry, need more than
    /// the default; a run that gives up loses nothing.
    #[arg(long, value_name = "MINUTES", default_value_t = 20, value_parser = minutes())]
    node_timeout: u64,
    /// How long a wave of the platform may take to become healthy
    ///
    /// The components of an edition come in waves, each after the one before is healthy; Argo CD
    /// itself has this long too.
    #[arg(long, value_name = "MINUTES", default_value_t = 30, value_parser = minutes())]
    wave_timeout: u64,
    /// Folder in which `airgap-<cluster>` is made, for kubeconfig, report and recovery keys
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: Utf8PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
}

/// A time to wait: a minute at least, a day at most.
fn minutes() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=1440)
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self, ui: &Ui) -> Result<(), CommandError> {
        let site = Site::load(&self.inventory)?;
        let path = self.bundle.find()?;
        let archive =
            VerifiedArchive::open(&path, &self.trust.resolve()?, &OpenOptions::default())?;
        let source = site.secret_source();
        let secrets = site.secrets(&source);
        let connect = site.connector(&secrets);
        let options = InstallOptions {
            jobs: self.jobs,
            verify_first: self.verify_first,
            allow_downgrade: self.allow_downgrade,
            allow_small: self.allow_small,
            node_timeout: Duration::from_mins(self.node_timeout),
            wave_timeout: Duration::from_mins(self.wave_timeout),
            report_parent: self.output.clone(),
            ..site.install_options()
        };
        let installer = Installer::new(&site.inventory, &secrets, &archive, &connect, options)?;
        let progress = Progress::new(ui);
        let events = InstallerEvents::new(&progress);
        if self.dry_run {
            let plan = installer
                .plan(&|event| events.show(&event))
                .map_err(|error| stopped(ui, &progress, &site, error))?;
            progress.clear();
            ui.document(&plan)?;
            ui.line(plan.to_string().trim_end())?;
            preflight::show(ui, &plan.findings)?;
            let errors = errors_among(&plan.findings);
            return if errors > 0 {
                Err(preflight::failed(errors))
            } else {
                Ok(())
            };
        }
        let report = installer
            .install(&|event| events.show(&event))
            .map_err(|error| stopped(ui, &progress, &site, error))?;
        progress.clear();
        show(ui, &report)
    }
}

/// Shows what preflight found, where that is why nothing was done.
fn stopped(ui: &Ui, progress: &Progress, site: &Site, error: Error) -> CommandError {
    progress.clear();
    let Error::Preflight { findings } = error else {
        return CommandError::from(error);
    };
    let document = serde_json::json!({"cluster": site.inventory.name, "findings": findings});
    if let Err(error) = ui
        .document(&document)
        .and_then(|()| preflight::show(ui, &findings))
    {
        return error;
    }
    preflight::failed(errors_among(&findings))
}

fn errors_among(findings: &[Finding]) -> usize {
    findings
        .iter()
        .filter(|found| found.severity == Severity::Error)
        .count()
}

fn show(ui: &Ui, report: &InstallReport) -> Result<(), CommandError> {
    ui.document(report)?;
    ui.line(report.text().trim_end())?;
    for notice in &report.notices {
        ui.status(format!("notice: {notice}"));
    }
    ui.line("")?;
    if report.changed {
        ui.line(format!(
            "pushed {} in {} blobs ({} tags were right already), {} requests that write",
            render::bytes(report.pushed.bytes),
            report.pushed.blobs,
            report.pushed.present,
            report.registry_writes
        ))?;
    } else {
        ui.line("nothing to change: nothing was written to registry, nodes or cluster")?;
    }
    let ready = report.nodes.iter().filter(|node| node.ready).count();
    let summary = format!(
        "{ready} of {} are Ready",
        render::count(report.nodes.len(), "node")
    );
    ui.line(ui.paint(Style::Good, summary))?;
    ui.status(format!("everything else is in {}: try", report.folder));
    ui.status(format!(
        "  export KUBECONFIG={}/kubeconfig && kubectl get nodes",
        report.folder
    ));
    ui.status("  airgap status");
    Ok(())
}
