//! `airgap lock`: resolves every tag, chart and file to a digest.

use std::sync::Arc;

use airgap_bundler::{LockRequest, lock, lock_check};
use airgap_manifests::LockChange;

use crate::cli::SourceArgs;
use crate::error::CommandError;
use crate::progress::{BundlerEvents, Progress};
use crate::render;
use crate::ui::{Style, Ui};

/// Resolve every tag, chart and file to a digest, and rewrite images.lock
///
/// This is the only command that ever decides what a release consists of, and it never runs by
/// itself. It shows what changed; review that like any other change. `bundle` then uses exactly
/// these digests, and refuses what the lock does not name.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing: tell whether upstream or the manifests moved on since the lock was made
    #[arg(long)]
    check: bool,
    /// The version of the platform that this lock describes [default: the one in the lock]
    #[arg(long, value_name = "VERSION", conflicts_with = "check")]
    version: Option<String>,
    /// Registry requests at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    jobs: usize,
    #[command(flatten)]
    source: SourceArgs,
}

impl Args {
    /// Runs the command.
    pub(crate) async fn run(self, ui: Arc<Ui>) -> Result<(), CommandError> {
        let sources = self.source.load(&ui)?;
        let cache = self.source.open_cache()?;
        let puller = self.source.puller()?;
        let request = LockRequest {
            catalog: &sources.catalog,
            previous: sources.lock.as_ref(),
            version: self.version.as_deref(),
            now: jiff::Timestamp::now(),
            jobs: self.jobs,
        };
        let progress = Progress::new(&ui);
        let events = BundlerEvents::new(&progress);
        if self.check {
            if sources.lock.is_none() {
                return Err(
                    CommandError::failed(format!("there is no {}", sources.lock_path))
                        .hint("make one with `airgap lock --version VERSION`"),
                );
            }
            let changes =
                lock_check(&request, &cache, &puller, &|event| events.show(event)).await?;
            progress.clear();
            ui.document(&serde_json::json!({"lock": sources.lock_path, "changes": changes}))?;
            show(&ui, &changes)?;
            if changes.is_empty() {
                return ui.line(format!("{} is up to date", sources.lock_path));
            }
            let count = render::count(changes.len(), "change");
            return Err(CommandError::failed(format!(
                "{} is not up to date: {count}",
                sources.lock_path
            ))
            .hint("run `airgap lock`, and review what changed"));
        }
        let locked = lock(&request, &cache, &puller, &|event| events.show(event)).await?;
        progress.clear();
        let written = locked.write(&sources.lock_path)?;
        ui.document(&serde_json::json!({
            "lock": sources.lock_path,
            "written": written,
            "version": locked.lock.version,
            "release": locked.lock.release,
            "changes": locked.changes,
            "attachedUnverified": locked.attached_unverified,
        }))?;
        show(&ui, &locked.changes)?;
        let contents = format!(
            "{}, {}, {}",
            render::count(locked.lock.images.len(), "image"),
            render::count(locked.lock.charts.len(), "chart"),
            render::count(locked.lock.files.len(), "file")
        );
        ui.line(format!(
            "{} {}: version {}, release {}, {contents}",
            if written { "wrote" } else { "left unchanged" },
            sources.lock_path,
            locked.lock.version,
            locked.lock.release
        ))?;
        match locked.attached_unverified {
            0 => Ok(()),
            count => ui.line(format!(
                "recorded {} of upstream (signatures, attestations, SBOMs); their signers were not verified",
                render::count(count, "attachment")
            )),
        }
    }
}

fn show(ui: &Ui, changes: &[LockChange]) -> Result<(), CommandError> {
    for change in changes {
        let style = match (&change.old, &change.new) {
            (None, _) => Style::Good,
            (Some(_), None) => Style::Bad,
            (Some(_), Some(_)) => Style::Warn,
        };
        ui.line(ui.paint(style, render::short_digests(&change.to_string())))?;
    }
    Ok(())
}
