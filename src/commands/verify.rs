//! `airgap verify`: is it whole, and is it ours?

use airgap_archive::{Event, Finding, OpenOptions, VerifiedArchive};

use crate::cli::{BundleArgs, TrustArgs};
use crate::error::CommandError;
use crate::handover::{self, Installer};
use crate::progress::{Progress, Unit};
use crate::render;
use crate::ui::{Style, Ui};

/// Check a bundle: signature, every byte, and the installer beside it
///
/// Reads the whole bundle and lists everything that is wrong with it, not just the first thing.
/// Exit code 3 means: do not trust this bundle. An installer binary that lies beside the bundle is
/// checked as well, and the line that installs it is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// Threads that hash at a time [default: all cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self, ui: &Ui) -> Result<(), CommandError> {
        let path = self.bundle.find()?;
        let trust = self.trust.resolve()?;
        let archive = VerifiedArchive::open(&path, &trust, &OpenOptions::default())?;
        let jobs = self.jobs.unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        });
        let progress = Progress::new(ui);
        let counter = progress.counter("verify", Unit::Bytes);
        let findings = archive.verify_all(jobs.max(1), &|event| match event {
            Event::Started { total } => counter.set_total(total),
            Event::Advanced { bytes } => counter.add(bytes),
            Event::StartedOver { .. } | Event::Volume { .. } => {}
        })?;
        counter.finish();
        progress.clear();
        let installers = handover::check(&path, archive.info(), &trust)?;
        let bad_installers = installers
            .iter()
            .filter(|installer| installer.problem.is_some())
            .count();

        let bytes: u64 = archive.blobs().iter().map(|(_, size)| size).sum();
        ui.document(&serde_json::json!({
            "bundle": path,
            "info": archive.info(),
            "indexDigest": archive.index_digest(),
            "signedBy": archive.signed_by(),
            "blobs": archive.blobs().len(),
            "bytes": bytes,
            "leftOut": archive.omitted().len(),
            "findings": findings,
            "installers": installers,
        }))?;
        report(ui, &archive, &findings, &installers)?;
        let wrong = findings.len() + bad_installers;
        if wrong > 0 {
            let error =
                CommandError::untrusted(format!("{path}: {} wrong", render::count(wrong, "thing")));
            return Err(
                error.hint("do not use this; get a new copy, and ask the publisher if it repeats")
            );
        }
        if ui.is_json() {
            return Ok(());
        }
        if let Some(base) = &archive.info().delta {
            let left_out: u64 = archive.omitted().iter().map(|layer| layer.size).sum();
            ui.line(format!(
                "a delta: {}, {}, came with version {} (release {}); `install` proves them in the registry",
                render::count(archive.omitted().len(), "layer"),
                render::bytes(left_out),
                base.version,
                base.release
            ))?;
        }
        let summary = format!(
            "{} blobs, {}: all as signed",
            archive.blobs().len(),
            render::bytes(bytes)
        );
        ui.line(ui.paint(Style::Good, summary))
    }
}

fn report(
    ui: &Ui,
    archive: &VerifiedArchive,
    findings: &[Finding],
    installers: &[Installer],
) -> Result<(), CommandError> {
    let signers: Vec<String> = archive
        .signed_by()
        .iter()
        .map(ToString::to_string)
        .collect();
    ui.line(format!(
        "signed by {}, which you trust",
        signers.join(" and ")
    ))?;
    for finding in findings {
        ui.line(format!(
            "{} {}: {}",
            ui.paint(Style::Bad, "wrong:"),
            finding.volume,
            finding.problem
        ))?;
        if let Some(digest) = &finding.digest {
            ui.line(format!("  blob {digest}"))?;
        }
        for entry in &finding.entries {
            ui.line(format!("  needed by {entry}"))?;
        }
    }
    if installers.is_empty() {
        ui.status("no installer binary lies beside the bundle");
    }
    for installer in installers {
        if let Some(problem) = &installer.problem {
            ui.line(format!(
                "{} {}: {problem}",
                ui.paint(Style::Bad, "wrong:"),
                installer.path
            ))?;
        } else {
            ui.line(format!("installer {}: as signed", installer.path))?;
            ui.status(format!("  to install it: {}", installer.install_line()));
        }
    }
    Ok(())
}
