//! What is wrong with a file a person wrote: where, what, and what to do about it.
//!
//! Invariant: a problem never stands alone; whoever checks a file collects all of them before giving up.
//! The inventory of the installer uses the same type, so every checked file reads alike.

use std::fmt;

use camino::Utf8PathBuf;
use serde::Serialize;

/// One problem of one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The file, as it was named to the program; relative to the catalog for the catalog's own files.
    pub file: Utf8PathBuf,
    /// The line, counted from one; absent where the whole file is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong, in one lower-case phrase.
    pub message: String,
    /// What mends it; absent where the message already says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Problem {
    /// Returns a problem of a whole file.
    pub fn new(file: impl Into<Utf8PathBuf>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: None,
            message: message.into(),
            remedy: None,
        }
    }

    /// Adds the line; line zero means unknown.
    #[must_use]
    pub fn at(mut self, line: u64) -> Self {
        self.line = (line > 0).then_some(line);
        self
    }

    /// Adds what mends it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

/// Returns the candidate that a misspelt word most likely meant, if one is near enough.
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let folded = word.to_lowercase().replace(['-', '_'], "");
    candidates
        .into_iter()
        .map(|candidate| {
            let plain = candidate.to_lowercase().replace(['-', '_'], "");
            (strsim::jaro_winkler(&folded, &plain), candidate)
        })
        .filter(|(score, _)| *score >= 0.82)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Returns the remedy line for an unknown word: the likely meaning, else everything that is known.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(candidate) = did_you_mean(word, candidates.clone()) {
        format!("did you mean `{candidate}`?")
    } else {
        let known: Vec<&str> = candidates.into_iter().collect();
        if known.is_empty() {
            "nothing is allowed here".to_owned()
        } else {
            format!("known here: {}", known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_named_and_a_far_one_lists_what_is_known() {
        assert_eq!(
            suggest("name_space", ["namespace", "needs"]),
            "did you mean `namespace`?"
        );
        assert_eq!(
            suggest("zzz", ["namespace", "needs"]),
            "known here: namespace, needs"
        );
        assert_eq!(suggest("zzz", []), "nothing is allowed here");
    }

    #[test]
    fn a_problem_reads_as_file_line_message_remedy() {
        let problem = Problem::new("components/x.yaml", "unknown key `nam`")
            .at(3)
            .remedy("did you mean `name`?");
        assert_eq!(
            problem.to_string(),
            "components/x.yaml:3: unknown key `nam`; did you mean `name`?"
        );
        assert_eq!(Problem::new("a", "b").at(0).to_string(), "a: b");
    }
}
