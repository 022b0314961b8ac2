//! `airgap util`: what packagers need, generated from the code.

use camino::Utf8PathBuf;
use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::CommandError;
use crate::reference;
use crate::ui::Ui;

/// Generate completions, man pages and the reference
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: UtilCommand,
}

#[derive(Debug, Subcommand)]
enum UtilCommand {
    /// Print a shell's completions
    Completion {
        /// The shell
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
    /// Write a man page for every command
    Man {
        /// Folder to write them to
        #[arg(value_name = "DIR")]
        output: Utf8PathBuf,
    },
    /// Print the reference of all commands as Markdown
    MarkdownHelp,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self, ui: &Ui) -> Result<(), CommandError> {
        match self.command {
            UtilCommand::Completion { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "airgap", &mut script);
                ui.raw(&String::from_utf8_lossy(&script))
            }
            UtilCommand::Man { output } => {
                let failed =
                    |source| CommandError::failed_with("failed to write man pages", source);
                fs_err::create_dir_all(&output).map_err(failed)?;
                clap_mangen::generate_to(Cli::command(), &output).map_err(failed)
            }
            UtilCommand::MarkdownHelp => ui.raw(&reference::markdown(Cli::command())),
        }
    }
}
