//! `airgap preflight`: would an install succeed?

use airgap_archive::{OpenOptions, VerifiedArchive};
use airgap_installer::preflight::grouped;
use airgap_installer::{Error, Finding, InstallOptions, Installer, Preflight, Severity};
use camino::Utf8PathBuf;

use crate::cli::{BundleOption, TrustArgs};
use crate::error::CommandError;
use crate::progress::{InstallerEvents, Progress};
use crate::render;
use crate::site::Site;
use crate::ui::{Style, Ui};

/// Find every reason why an install would fail, before anything changes
///
/// Looks at every host, at the registry and at the cluster that runs, changes nothing, and shows
/// for each finding what was seen, why it matters and the command that mends it. Exit code 4 when
/// an install would fail, 3 when it would refuse the bundle: an older release, or an expired one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The site's inventory; see `airgap inventory example`
    #[arg(short, long, value_name = "FILE", default_value = "hosts.yaml")]
    inventory: Utf8PathBuf,
    #[command(flatten)]
    bundle: BundleOption,
    /// Accept fewer nodes than the edition asks for
    #[arg(long)]
    allow_small: bool,
    /// Accept a release older than the one installed
    #[arg(long)]
    allow_downgrade: bool,
    #[command(flatten)]
    trust: TrustArgs,
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
            allow_small: self.allow_small,
            allow_downgrade: self.allow_downgrade,
            ..site.install_options()
        };
        let installer = Installer::new(&site.inventory, &secrets, &archive, &connect, options)?;
        let progress = Progress::new(ui);
        let events = InstallerEvents::new(&progress);
        let Preflight { findings, refused } = installer.preflight(&|event| events.show(&event))?;
        progress.clear();
        let errors = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .count();
        ui.document(&serde_json::json!({
            "cluster": site.inventory.name,
            "bundle": path,
            "errors": errors,
            "findings": findings,
            "refused": refused.as_ref().map(ToString::to_string),
        }))?;
        show(ui, &findings)?;
        if let Some(refusal) = refused {
            return Err(Error::from(refusal).into());
        }
        if errors > 0 {
            return Err(failed(errors));
        }
        ui.line(ui.paint(Style::Good, "nothing stands in the way of an install"))
    }
}

/// Shows what was found, worst first.
pub(crate) fn show(ui: &Ui, findings: &[Finding]) -> Result<(), CommandError> {
    let mut groups = grouped(findings);
    groups.sort_by_key(|(finding, _)| std::cmp::Reverse(finding.severity));
    for (finding, hosts) in groups {
        let (style, word) = match finding.severity {
            Severity::Error => (Style::Bad, "error"),
            Severity::Warning => (Style::Warn, "warning"),
            Severity::Notice => (Style::Hint, "notice"),
        };
        let place = if hosts.is_empty() {
            "site".to_owned()
        } else {
            hosts.join(", ")
        };
        ui.line(format!(
            "{} {place}: {}  [{}]",
            ui.paint(style, word),
            finding.seen,
            finding.id
        ))?;
        ui.line(format!("  why:  {}", finding.why))?;
        ui.line(format!("  mend: {}", finding.remedy))?;
    }
    Ok(())
}

/// The error of an install that would fail.
pub(crate) fn failed(errors: usize) -> CommandError {
    let count = render::count(errors, "error");
    CommandError::findings(format!("preflight found {count}: an install would fail"))
        .hint("mend them and run the same command again; nothing was changed")
}
