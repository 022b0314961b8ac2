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
    /// What the errors inside one error have as causes; a chain holds only one.
    pub(crate) causes: Vec<String>,
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
            ..Self::default()
        }
    }

    /// What was looked at must not be trusted.
    pub(crate) fn untrusted() -> Self {
        Self {
            kind: Some(Kind::Untrusted),
            ..Self::default()
        }
    }

    /// Adds a hint.
    #[must_use]
    pub(crate) fn and(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// More than this many causes or hints help nobody.
const MANY: usize = 5;

impl Advice {
    /// The advice of several errors together: the gravest kind, and each cause and hint once.
    pub(crate) fn of_several<'a, E: Advise>(errors: impl IntoIterator<Item = &'a E>) -> Self {
        let mut result = Self::none();
        for error in errors {
            let advice = error.advise();
            if advice.kind == Some(Kind::Untrusted) || result.kind.is_none() {
                result.kind = advice.kind;
            }
            add_new(&mut result.hints, advice.hints);
            let cause = error.source().map(ToString::to_string);
            add_new(&mut result.causes, advice.causes.into_iter().chain(cause));
        }
        result
    }
}

fn add_new(list: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for text in more {
        if list.len() < MANY && !list.contains(&text) {
            list.push(text);
        }
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
        result.further_causes = advice.causes;
        for hint in advice.hints {
            result = result.hint(hint);
        }
        result
    }
}
