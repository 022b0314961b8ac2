//! `airgap diff`: what changes from one bundle to another.

use airgap_archive::{Difference, Entry, OpenOptions, VerifiedArchive};
use camino::Utf8PathBuf;

use crate::cli::TrustArgs;
use crate::error::CommandError;
use crate::render;
use crate::ui::{Style, Ui};

/// Show what changes from one bundle to another
///
/// Lists images, charts and releases that were added, removed or changed, and how many bytes of
/// the new bundle the old one did not have.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle to compare with
    #[arg(value_name = "OLD")]
    old: Utf8PathBuf,
    /// The bundle to look at
    #[arg(value_name = "NEW")]
    new: Utf8PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self, ui: &Ui) -> Result<(), CommandError> {
        let trust = self.trust.resolve()?;
        let old = VerifiedArchive::open(&self.old, &trust, &OpenOptions::default())?;
        let new = VerifiedArchive::open(&self.new, &trust, &OpenOptions::default())?;
        let difference = Difference::between(&old, &new);
        ui.document(&serde_json::json!({
            "old": old.info(), "new": new.info(), "difference": difference,
        }))?;

        let (old_info, new_info) = (old.info(), new.info());
        ui.line(format!(
            "{} {} (release {}) -> {} {} (release {})",
            old_info.edition,
            old_info.version,
            old_info.release,
            new_info.edition,
            new_info.version,
            new_info.release
        ))?;
        for (sign, style, entries) in [
            ("+", Style::Good, &difference.added),
            ("-", Style::Bad, &difference.removed),
        ] {
            for entry in entries {
                ui.line(ui.paint(style, format!("{sign} {}", title(entry))))?;
            }
        }
        for (before, after) in &difference.changed {
            let digests = format!(
                "{} -> {}",
                render::short_digest(before.descriptor.digest()),
                render::short_digest(after.descriptor.digest())
            );
            ui.line(ui.paint(Style::Warn, format!("~ {}  {digests}", title(after))))?;
        }
        ui.line(format!(
            "{} added, {} removed, {} changed; {} new, {} the same",
            difference.added.len(),
            difference.removed.len(),
            difference.changed.len(),
            render::bytes(difference.new_bytes),
            render::bytes(difference.shared_bytes)
        ))
    }
}

fn title(entry: &Entry) -> String {
    match (&entry.name, &entry.subject) {
        (Some(name), _) => format!("{:9} {name}", entry.role.as_str()),
        (None, Some(subject)) => {
            format!(
                "{:9} of {}",
                entry.role.as_str(),
                render::short_digest(subject)
            )
        }
        (None, None) => {
            format!(
                "{:9} {}",
                entry.role.as_str(),
                render::short_digest(entry.descriptor.digest())
            )
        }
    }
}
