//! The stand-in's error: one line of text, as RKE2's own fatal log lines are.
//!
//! The chain is flattened on purpose: what the stand-in says goes into a journal or a status field, where only the text is left.

use std::fmt::Display;

/// What went wrong, in one line.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fail(pub(crate) String);

/// The stand-in's result.
pub(crate) type Result<T, E = Fail> = std::result::Result<T, E>;

impl Fail {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

macro_rules! from_error {
    ($($kind:ty),+) => { $(impl From<$kind> for Fail {
        fn from(error: $kind) -> Self {
            Self(error.to_string())
        }
    })+ };
}
from_error!(
    std::io::Error,
    serde_json::Error,
    rcgen::Error,
    rustls::Error
);

impl From<reqwest::Error> for Fail {
    fn from(error: reqwest::Error) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        Self(text)
    }
}

/// Puts what was being done before what went wrong.
pub(crate) trait Context<T> {
    fn context(self, doing: impl Display) -> Result<T>;
}

impl<T, E: Into<Fail>> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl Display) -> Result<T> {
        self.map_err(|error| Fail(format!("{doing}: {}", error.into().0)))
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, missing: impl Display) -> Result<T> {
        self.ok_or_else(|| Fail(missing.to_string()))
    }
}
