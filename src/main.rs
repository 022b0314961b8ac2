//! The `airgap` command: parse, call one library, render.
//!
//! Invariant: the process ends here and nowhere else, with the exit code [`error`] decided. Ctrl-C
//! is one `select!`: the command's future is dropped, whose guards remove temporary files and
//! release remote locks, and the user is told what to type to carry on.

mod cli;
mod commands;
mod discover;
mod error;
mod handover;
mod keys;
mod log;
mod progress;
mod prompt;
mod redact;
mod reference;
mod render;
mod site;
mod sources;
mod trust;
mod ui;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Cli, Command};
use crate::error::{CommandError, Kind};
use crate::ui::Ui;

/// How long blocking work may take to notice that it was cancelled and tidy up.
const TIDY_UP: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = Arc::new(Ui::new(&cli.global));
    let log = match &cli.command {
        Command::Util(_) => None,
        command => log::start(command.name(), ui.verbosity()),
    };
    tracing::debug!(
        version = env!("CARGO_PKG_VERSION"),
        command = cli.command.name(),
        "started"
    );
    let result = run(cli.command, &ui);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(causes = ?error.causes(), "{}", error.message());
            let log = log.filter(|_| error.kind() == Kind::Failed);
            ui.failure(&error, log.as_deref());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command, ui: &Arc<Ui>) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CommandError::failed_with("failed to start", source))?;
    let result = runtime.block_on(async {
        tokio::select! {
            biased;
            interrupted = interrupted() => {
                progress::stop(ui);
                ui.status("interrupted: tidying up …");
                Err(interrupted)
            }
            result = commands::run(command, Arc::clone(ui)) => result,
        }
    });
    prompt::restore_terminal();
    runtime.shutdown_timeout(TIDY_UP);
    result
}

/// Waits for Ctrl-C or a polite request to end, and says how to carry on.
async fn interrupted() -> CommandError {
    let listen = |kind| signal(kind);
    let signals = (|| {
        Ok::<_, std::io::Error>((
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ))
    })();
    let (mut interrupt, mut terminate, mut hangup) = match signals {
        Ok(signals) => signals,
        Err(source) => {
            return CommandError::failed_with("failed to listen for Ctrl-C", source);
        }
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    let again: Vec<String> = std::env::args()
        .map(|argument| render::shell_quote(&argument))
        .collect();
    CommandError::interrupted().hint(format!(
        "nothing that was finished is lost; to carry on, type: {}",
        again.join(" ")
    ))
}
