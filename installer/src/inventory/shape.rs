//! What may stand in one place of hosts.yaml, and the check of a tree against it. Every problem is noted, none ends the check.

use airgap_manifests::{
    Problem,
    strict::{Kind, Node},
    suggest,
};
use camino::Utf8Path;
use serde_json::Value;

use super::{owned, rules::Rule};

/// What may stand in one place of the file.
#[derive(Debug)]
pub(super) enum Shape {
    /// A text that a rule accepts.
    Text(Rule),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number within these bounds.
    Whole(u64, u64),
    /// `true`, and nothing else.
    True,
    /// Any number of these.
    List(&'static Shape),
    /// These keys.
    Map(&'static [Field]),
    /// Keys of the writer's choice, each with such a value.
    Free(&'static Shape),
    /// Anything.
    Any,
    /// RKE2's own keys, but those that are ours.
    Rke2,
    /// A secret, by reference.
    Secret,
    /// A text, or a reference.
    TextOrSecret,
}

/// One key of a mapping.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
    pub(super) about: &'static str,
}

/// Why a secret that is written out is a problem.
pub(super) const INLINE: &str =
    "an inventory is copied, mailed and committed, so a secret may not stand in it";

/// Checks a tree against its shape, and notes every problem.
pub(super) struct Checker<'a> {
    pub(super) path: &'a Utf8Path,
    pub(super) problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Notes a problem.
    pub(super) fn note(
        &mut self,
        line: u64,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (problem, remedy) = (Problem::new(self.path, message).at(line), remedy.into());
        self.problems.push(if remedy.is_empty() {
            problem
        } else {
            problem.remedy(remedy)
        });
    }

    /// Checks one place; `place` is its path in the file's own words. With `drops`, null takes the place of anything.
    pub(super) fn check(&mut self, node: &Node, shape: &Shape, place: &str, drops: bool) {
        if drops && node.kind == Kind::Scalar(Value::Null) {
            return;
        }
        match (shape, &node.kind) {
            (Shape::Any, _) | (Shape::True, Kind::Scalar(Value::Bool(true))) => {}
            (Shape::Text(rule), Kind::Scalar(Value::String(text))) => {
                if let Err(reason) = rule.check(text) {
                    // what somebody wrote before an `@` may be a password
                    let shown = match rule {
                        Rule::Url if text.contains('@') => "a URL with an account in it".to_owned(),
                        _ => format!("`{text}`"),
                    };
                    self.note(node.line, format!("`{place}` is {shown}, {reason}"), "");
                }
            }
            // labels are texts, and yet people write numbers there
            (Shape::Text(Rule::LabelValue), Kind::Scalar(Value::Number(_) | Value::Bool(_))) => {
                self.note(
                    node.line,
                    format!("`{place}` must be a text"),
                    "put it in quotes",
                );
            }
            (Shape::Word(words), Kind::Scalar(Value::String(word)))
                if words.contains(&word.as_str()) => {}
            (Shape::Word(words), Kind::Scalar(Value::String(word))) => {
                self.note(
                    node.line,
                    format!("`{place}` is `{word}`"),
                    suggest(word, words.iter().copied()),
                );
            }
            (Shape::Whole(least, most), Kind::Scalar(Value::Number(number))) => {
                if !number
                    .as_u64()
                    .is_some_and(|number| (*least..=*most).contains(&number))
                {
                    self.note(
                        node.line,
                        format!("`{place}` is {number}, not between {least} and {most}"),
                        "",
                    );
                }
            }
            (Shape::List(inner), Kind::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.check(item, inner, &format!("{place}[{index}]"), drops);
                }
            }
            (Shape::Free(inner), Kind::Map(entries)) => {
                for (key, _, value) in entries {
                    self.check(value, inner, &join(place, key), drops);
                }
            }
            (Shape::Map(fields), Kind::Map(entries)) => {
                self.map(node.line, entries, fields, place, drops);
            }
            (Shape::Rke2, Kind::Map(entries)) => owned::check(self, entries, place, drops),
            (Shape::TextOrSecret, Kind::Scalar(Value::String(text))) if !text.is_empty() => {}
            (Shape::Secret, _) | (Shape::TextOrSecret, Kind::Map(_)) => self.secret(node, place),
            _ => self.note(node.line, format!("`{place}` must be {}", shape.noun()), ""),
        }
    }

    fn map(
        &mut self,
        line: u64,
        entries: &[(String, u64, Node)],
        fields: &'static [Field],
        place: &str,
        drops: bool,
    ) {
        for (key, line, value) in entries {
            if let Some(field) = fields.iter().find(|field| field.key == key) {
                // null stands for absent in a place that need not be filled
                let drops = drops || !field.required;
                self.check(value, &field.shape, &join(place, key), drops);
                continue;
            }
            let within = match place {
                "" => String::new(),
                place => format!(" in `{place}`"),
            };
            self.note(
                *line,
                format!("unknown key `{key}`{within}"),
                suggest(key, fields.iter().map(|field| field.key)),
            );
        }
        for field in fields
            .iter()
            .filter(|field| field.required && !entries.iter().any(|(key, ..)| key == field.key))
        {
            // a misspelt key has been reported as such
            let misspelt = entries.iter().any(|(key, ..)| {
                fields.iter().all(|field| field.key != key)
                    && airgap_manifests::did_you_mean(key, [field.key]).is_some()
            });
            if !misspelt {
                self.note(
                    line,
                    format!("`{}` is missing", join(place, field.key)),
                    field.about.trim_end_matches('.').to_lowercase(),
                );
            }
        }
    }

    fn secret(&mut self, node: &Node, place: &str) {
        const REMEDY: &str = "write `{env: NAME}`, `{file: PATH}` or `{prompt: true}`";
        let Kind::Map(entries) = &node.kind else {
            self.note(
                node.line,
                format!("`{place}` is written out: {INLINE}"),
                REMEDY,
            );
            return;
        };
        match entries.as_slice() {
            [(key, _, value)] => match (key.as_str(), &value.kind) {
                ("prompt", Kind::Scalar(Value::Bool(true))) => {}
                ("env", Kind::Scalar(Value::String(name))) if Rule::EnvName.check(name).is_ok() => {
                }
                ("file", Kind::Scalar(Value::String(path))) if Rule::Path.check(path).is_ok() => {}
                ("prompt" | "env" | "file", _) => self.note(
                    value.line,
                    format!("`{}` does not say where the secret is", join(place, key)),
                    REMEDY,
                ),
                _ => self.note(
                    node.line,
                    format!("unknown key `{key}` in `{place}`"),
                    suggest(key, ["env", "file", "prompt"]),
                ),
            },
            _ => self.note(
                node.line,
                format!("`{place}` must name one place for the secret"),
                REMEDY,
            ),
        }
    }
}

/// Joins a place and a key as the file's reader would.
pub(super) fn join(place: &str, key: &str) -> String {
    if place.is_empty() {
        key.to_owned()
    } else {
        format!("{place}.{key}")
    }
}

impl Shape {
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Word(_) => "a text",
            Self::Whole(..) => "a whole number",
            Self::True => "`true`, or left out",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Free(_) | Self::Rke2 => "a mapping",
            Self::Any => "anything",
            Self::Secret => "a secret by reference",
            Self::TextOrSecret => "a text, or a reference",
        }
    }
}
