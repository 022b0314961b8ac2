//! `airgap cache`: what `bundle` keeps between runs.

use std::time::Duration;

use airgap_bundler::{Cache, PruneOptions};
use camino::Utf8PathBuf;
use clap::Subcommand;

use crate::error::CommandError;
use crate::render;
use crate::sources::cache_dir;
use crate::ui::Ui;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// Look after what `bundle` keeps between runs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Remove what was not used lately
    Prune {
        /// Keep what was used within this many days
        #[arg(long, value_name = "DAYS", default_value_t = 30)]
        older_than: u32,
        /// Remove nothing, only tell
        #[arg(long)]
        dry_run: bool,
        /// The cache's folder [default: ~/.cache/airgap]
        #[arg(long, value_name = "DIR")]
        cache: Option<Utf8PathBuf>,
    },
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self, ui: &Ui) -> Result<(), CommandError> {
        let CacheCommand::Prune {
            older_than,
            dry_run,
            cache,
        } = self.command;
        let root = cache_dir(cache.as_deref())?;
        let options = PruneOptions {
            older_than: Some(Duration::from_secs(u64::from(older_than) * SECONDS_PER_DAY)),
            dry_run,
            ..PruneOptions::default()
        };
        let pruned = Cache::prune(&root, &options)?;
        ui.document(&serde_json::json!({"cache": root, "dryRun": dry_run, "pruned": pruned}))?;
        ui.line(format!(
            "{} {} blobs ({}) from {root}; {} ({}) stay",
            if dry_run { "would remove" } else { "removed" },
            pruned.removed,
            render::bytes(pruned.removed_bytes),
            pruned.kept,
            render::bytes(pruned.kept_bytes)
        ))
    }
}
