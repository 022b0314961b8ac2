//! One module per command: its options, its help and its code.
//!
//! Invariant: a command parses its inputs, calls one library and renders the answer; it decides
//! nothing that a library could decide.

pub(crate) mod bundle;
pub(crate) mod cache;
pub(crate) mod catalog;
pub(crate) mod diff;
pub(crate) mod extract;
pub(crate) mod inspect;
pub(crate) mod install;
pub(crate) mod inventory;
pub(crate) mod keygen;
pub(crate) mod lock;
pub(crate) mod preflight;
pub(crate) mod sign;
pub(crate) mod status;
pub(crate) mod util;
pub(crate) mod verify;

use std::sync::Arc;

use crate::cli::Command;
use crate::error::CommandError;
use crate::ui::Ui;

/// Runs a command.
pub(crate) async fn run(command: Command, ui: Arc<Ui>) -> Result<(), CommandError> {
    match command {
        Command::Keygen(args) => blocking(move || args.run(&ui)).await,
        Command::Catalog(args) => blocking(move || args.run(&ui)).await,
        Command::Lock(args) => args.run(ui).await,
        Command::Bundle(args) => args.run(ui).await,
        Command::Sign(args) => blocking(move || args.run(&ui)).await,
        Command::Verify(args) => blocking(move || args.run(&ui)).await,
        Command::Inspect(args) => blocking(move || args.run(&ui)).await,
        Command::Extract(args) => blocking(move || args.run(&ui)).await,
        Command::Diff(args) => blocking(move || args.run(&ui)).await,
        Command::Inventory(args) => blocking(move || args.run(&ui)).await,
        Command::Preflight(args) => blocking(move || args.run(&ui)).await,
        Command::Install(args) => blocking(move || args.run(&ui)).await,
        Command::Status(args) => blocking(move || args.run(&ui)).await,
        Command::Cache(args) => blocking(move || args.run(&ui)).await,
        Command::Util(args) => args.run(&ui),
    }
}

/// Runs blocking work beside the one task that listens for Ctrl-C.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CommandError> + Send + 'static,
) -> Result<T, CommandError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(CommandError::interrupted()),
        },
    }
}
