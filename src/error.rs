//! Turns every error into what the user sees: a message, its causes, hints and an exit code.
//!
//! Invariant: this is the only place that knows both errors and flags. Each library's errors are
//! mapped by an exhaustive match, so a new variant does not compile until somebody decides what
//! it means for the exit code and what the user should do about it.

mod advice;
mod archive;
mod bundler;
mod installer;
mod registry;
mod signing;

use std::error::Error;

/// Why a command did not succeed, as its exit code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something failed: 1.
    Failed,
    /// The command line or an input file asks for something that makes no sense: 2.
    Usage,
    /// The bundle, a signature or the installer must not be trusted: 3.
    Untrusted,
    /// Preflight found reasons why an install would fail: 4.
    Findings,
    /// The user or the system ended the command: 130.
    Interrupted,
}

/// An error as the command line shows it.
#[derive(Debug)]
pub(crate) struct CommandError {
    kind: Kind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    further_causes: Vec<String>,
    hints: Vec<String>,
}

impl CommandError {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
            further_causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// A library's error, which speaks for itself.
    fn of(kind: Kind, error: impl Error + Send + Sync + 'static) -> Self {
        let message = error.to_string();
        Self {
            source: Some(Box::new(error)),
            ..Self::new(kind, message)
        }
    }

    /// Something failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Something failed because of something else.
    pub(crate) fn failed_with(
        message: impl Into<String>,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            source: Some(Box::new(source)),
            ..Self::new(Kind::Failed, message)
        }
    }

    /// What was asked for makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// What was looked at must not be trusted.
    pub(crate) fn untrusted(message: impl Into<String>) -> Self {
        Self::new(Kind::Untrusted, message)
    }

    /// Preflight found reasons not to install.
    pub(crate) fn findings(message: impl Into<String>) -> Self {
        Self::new(Kind::Findings, message)
    }

    /// The command was ended from outside.
    pub(crate) fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// Adds advice; the same advice is given once.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
        self
    }

    /// Returns why the command did not succeed.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Untrusted => 3,
            Kind::Findings => 4,
            Kind::Interrupted => 130,
        }
    }

    /// Returns what went wrong.
    pub(crate) fn message(&self) -> String {
        self.message.clone()
    }

    /// Returns the chain of causes, nearest first; a cause that only repeats what stands above
    /// it is left out.
    pub(crate) fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next: Option<&(dyn Error + 'static)> = match &self.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        };
        while let Some(error) = next {
            let text = error.to_string();
            let above = causes.last().unwrap_or(&self.message);
            if !above.contains(&text) {
                causes.push(text);
            }
            next = error.source();
        }
        causes.extend(self.further_causes.iter().cloned());
        causes
    }

    /// Returns the advice.
    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_repeats_its_effect_is_left_out() {
        let io = std::io::Error::other("disk full");
        let error = CommandError::failed_with("failed to write: disk full", io);
        assert!(error.causes().is_empty());
    }

    #[test]
    fn the_same_hint_is_given_once() {
        let error = CommandError::usage("no")
            .hint("try again")
            .hint("try again");
        assert_eq!(error.hints(), ["try again"]);
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let codes = [
            CommandError::failed("x").exit_code(),
            CommandError::usage("x").exit_code(),
            CommandError::untrusted("x").exit_code(),
            CommandError::findings("x").exit_code(),
            CommandError::interrupted().exit_code(),
        ];
        assert_eq!(codes, [1, 2, 3, 4, 130]);
    }
}
