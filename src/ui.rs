//! The one place that writes to the terminal.
//!
//! Invariant: standard output carries only what a command was asked for (one JSON document with
//! `--json`), everything else goes to standard error, and meaning never depends on colour.
//! Leaves out: drawing transfers, which is [`crate::progress`]'s, and what the words are.

use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::cli::{ColorChoice, GlobalArgs};
use crate::error::CommandError;
use crate::redact;

/// How transfers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgressStyle {
    /// Bars, on a terminal.
    Bars,
    /// Plain lines, at most one every few seconds.
    Lines,
    /// One JSON object a line.
    Json {
        /// Whether a transfer is told of as it goes, and not only at its end.
        transfers: bool,
    },
    /// Nothing.
    Silent,
}

/// What a stretch of text means; colour follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A failure, or something that must not be trusted.
    Bad,
    /// A success.
    Good,
    /// A warning.
    Warn,
    /// A hint, or a path to look at.
    Hint,
    /// A heading.
    Strong,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Bad => "\x1b[1;31m",
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[1;33m",
            Self::Hint => "\x1b[36m",
            Self::Strong => "\x1b[1m",
        }
    }
}

/// Standard output and standard error, with the user's wishes about them.
#[derive(Debug)]
pub(crate) struct Ui {
    json: bool,
    quiet: bool,
    verbosity: u8,
    color_out: bool,
    color_err: bool,
    progress: ProgressStyle,
    printed: AtomicBool,
    reader_gone: AtomicBool,
}

impl Ui {
    /// Decides once, from flags, environment and terminals, how everything is shown.
    pub(crate) fn new(args: &GlobalArgs) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let color = |terminal: bool| match args.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color && !dumb,
        };
        let error_terminal = io::stderr().is_terminal();
        let progress = if args.quiet {
            ProgressStyle::Silent
        } else if args.json {
            // what reads the events relies on them, whatever is wished for the eye
            ProgressStyle::Json {
                transfers: !args.no_progress,
            }
        } else if args.no_progress {
            ProgressStyle::Silent
        } else if error_terminal && !dumb {
            ProgressStyle::Bars
        } else {
            ProgressStyle::Lines
        };
        Self {
            json: args.json,
            quiet: args.quiet,
            verbosity: args.verbose,
            color_out: color(io::stdout().is_terminal()) && !args.json,
            color_err: color(error_terminal) && !args.json,
            progress,
            printed: AtomicBool::new(false),
            reader_gone: AtomicBool::new(false),
        }
    }

    /// Says whether standard output carries JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Says whether only results and errors are wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Returns how transfers are shown.
    pub(crate) fn progress_style(&self) -> ProgressStyle {
        self.progress
    }

    /// Returns how many `-v` were given.
    pub(crate) fn verbosity(&self) -> u8 {
        self.verbosity
    }

    /// Paints text for standard output.
    pub(crate) fn paint(&self, style: Style, text: impl Display) -> String {
        paint(self.color_out, style, text)
    }

    /// Paints text for standard error.
    pub(crate) fn paint_err(&self, style: Style, text: impl Display) -> String {
        paint(self.color_err, style, text)
    }

    /// Prints one line of what the command was asked for; silent with `--json`.
    pub(crate) fn line(&self, text: impl Display) -> Result<(), CommandError> {
        if self.json {
            return Ok(());
        }
        self.write_out(&format!("{text}\n"))
    }

    /// Prints text exactly as it is, whatever the flags: for output that is itself a document.
    pub(crate) fn raw(&self, text: &str) -> Result<(), CommandError> {
        self.write_out(text)
    }

    /// Prints the command's one JSON document; silent without `--json`.
    pub(crate) fn document(&self, value: &impl Serialize) -> Result<(), CommandError> {
        if !self.json {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(value)
            .map_err(|source| CommandError::failed_with("failed to render JSON", source))?;
        self.write_out(&format!("{text}\n"))
    }

    /// Tells what is going on, on standard error; silent with `--quiet` and `--json`.
    pub(crate) fn status(&self, text: impl Display) {
        if !self.quiet && !self.json {
            write_err(&format!("{text}\n"));
        }
    }

    /// Warns; silent with `--quiet` only.
    pub(crate) fn warn(&self, text: impl Display) {
        if self.quiet {
            return;
        }
        let text = redact::text(&text.to_string());
        if self.json {
            self.event(&serde_json::json!({"event": "warning", "message": text}));
        } else {
            write_err(&format!(
                "{}: {text}\n",
                self.paint_err(Style::Warn, "warning")
            ));
        }
    }

    /// Writes one event as a JSON line on standard error.
    pub(crate) fn event(&self, value: &serde_json::Value) {
        if !self.quiet {
            write_err(&format!("{value}\n"));
        }
    }

    /// Shows how the command failed: the error, its causes, then what to do about it.
    pub(crate) fn failure(&self, error: &CommandError, log: Option<&camino::Utf8Path>) {
        let causes: Vec<String> = error
            .causes()
            .iter()
            .map(|cause| redact::text(cause))
            .collect();
        let message = redact::text(&error.message());
        if self.json {
            let document = serde_json::json!({"error": {
                "message": message,
                "causes": causes,
                "hints": error.hints(),
                "exitCode": error.exit_code(),
                "log": log,
            }});
            if !self.printed.load(Ordering::Relaxed) {
                // nobody is left to hear of a failure to write the failure
                let _ = self.write_out(&format!("{document:#}\n"));
            }
            write_err(&format!("{document}\n"));
            return;
        }
        let mut text = format!("{}: {message}\n", self.paint_err(Style::Bad, "error"));
        // writing to a string cannot fail
        for cause in causes {
            let _ = writeln!(text, "  caused by: {}", indent_rest(&cause));
        }
        for hint in error.hints() {
            let label = self.paint_err(Style::Hint, "hint");
            let _ = writeln!(text, "{label}: {}", indent_rest(hint));
        }
        if let Some(log) = log {
            let _ = writeln!(text, "log: {log}");
        }
        write_err(&text);
    }

    fn write_out(&self, text: &str) -> Result<(), CommandError> {
        self.printed.store(true, Ordering::Relaxed);
        if self.reader_gone.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            // `airgap inspect | head` has what it wanted
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reader_gone.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(CommandError::failed_with(
                "failed to write to standard output",
                error,
            )),
        }
    }
}

fn paint(enabled: bool, style: Style, text: impl Display) -> String {
    if enabled {
        format!("{}{text}\x1b[0m", style.code())
    } else {
        text.to_string()
    }
}

/// Writes to standard error; a closed one is no reason to stop working.
pub(crate) fn write_err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Indents every line but the first, so that a long message keeps its shape under its label.
fn indent_rest(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_wraps_and_can_be_left_out() {
        assert_eq!(paint(false, Style::Bad, "no"), "no");
        assert_eq!(paint(true, Style::Good, "yes"), "\x1b[32myes\x1b[0m");
    }

    #[test]
    fn long_messages_keep_their_shape() {
        assert_eq!(indent_rest("a\nb\n"), "a\n    b");
    }
}
