//! What an error means for the user: the exit code, and what to do about it.

use std::error::Error;

use crate::error::{CommandError, Kind};

/// The meaning of one error.
#[derive(Debug, Default)]
pub(crate) struct Advice {
    /// Decides the exit code; `None` is an ordinary failure.
    pub(crate) kind: Option<Kind>,
    /// What to do, most helpful first.
    pub(crate) hints: Vec<String>,
}

impl Advice {
    /// An ordinary failure about which there is nothing more to say.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// An ordinary failure with a way out.
    pub(crate) fn hint(hint: impl Into<String>) -> Self {
        Self::none().and(hint)
    }

    /// What was asked for makes no sense.
    pub(crate) fn usage() -> Self {
        Self {
            kind: Some(Kind::Usage),
            hints: Vec::new(),
        }
    }

    /// What was looked at must not be trusted.
    pub(crate) fn untrusted() -> Self {
        Self {
            kind: Some(Kind::Untrusted),
            hints: Vec::new(),
        }
    }

    /// Adds a hint.
    #[must_use]
    pub(crate) fn and(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// An error of a library, which the command line can explain.
pub(crate) trait Advise: Error + Send + Sync + Sized + 'static {
    /// Returns what the error means; an exhaustive match over its variants.
    fn advise(&self) -> Advice;
}

impl<E: Advise> From<E> for CommandError {
    fn from(error: E) -> Self {
        let advice = error.advise();
        let mut result = Self::of(advice.kind.unwrap_or(Kind::Failed), error);
        for hint in advice.hints {
            result = result.hint(hint);
        }
        result
    }
}
