//! Strict reading of YAML that people write: every unknown key is reported with its line and the likely meaning.
//!
//! A file is first read into a [`Node`] tree that keeps lines, then into its type. Invariant: a key that the type does
//! not know is an error, never ignored, and one unknown key does not hide the next: it is noted, taken out of the tree,
//! and reading goes on. `yes` and `no` are texts, as YAML 1.2 has it, and a key written twice is an error.

mod node;
mod reader;

pub use node::{Kind, Node};

use camino::Utf8Path;
use serde::de::DeserializeOwned;

use crate::{Problem, suggest};
use reader::{Fault, Reader};

/// How often an unknown key is taken out before reading gives up.
const MAX_UNKNOWN_KEYS: usize = 64;

/// Reads one YAML document into its type.
///
/// `path` is only used to name the file in problems.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Utf8Path) -> Result<T, Vec<Problem>> {
    let node = parse_node(text, path)?;
    from_node(node, path)
}

/// Reads one YAML document into a tree with lines.
pub fn parse_node(text: &str, path: &Utf8Path) -> Result<Node, Vec<Problem>> {
    Node::parse(text).map_err(|(line, message)| vec![Problem::new(path, message).at(line)])
}

/// Reads every document of a YAML text into a tree with lines; empty documents are left out.
pub fn parse_nodes(text: &str, path: &Utf8Path) -> Result<Vec<Node>, Vec<Problem>> {
    Node::parse_all(text).map_err(|(line, message)| vec![Problem::new(path, message).at(line)])
}

/// Reads a tree into its type.
pub fn from_node<T: DeserializeOwned>(mut node: Node, path: &Utf8Path) -> Result<T, Vec<Problem>> {
    let mut problems = Vec::new();
    for _ in 0..MAX_UNKNOWN_KEYS {
        match T::deserialize(Reader::new(&node)) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => return Err(problems),
            Err(error) => match error.fault {
                Fault::UnknownKey { key, expected } => {
                    let place = place(&error.path);
                    let problem = Problem::new(path, format!("unknown key `{key}`{place}"))
                        .at(error.line)
                        .remedy(suggest(&key, expected.iter().copied()));
                    problems.push(problem);
                    if !node.remove(&error.path, &key) {
                        return Err(problems);
                    }
                }
                Fault::Other(message) => {
                    // a misspelt key leaves its field missing; that is not a second problem
                    let field = message
                        .strip_prefix("missing field `")
                        .and_then(|rest| rest.strip_suffix('`'));
                    let meant = field.map(|field| format!("did you mean `{field}`?"));
                    if meant.is_some() && problems.iter().any(|problem| problem.remedy == meant) {
                        return Err(problems);
                    }
                    let place = place(&error.path);
                    problems.push(Problem::new(path, format!("{message}{place}")).at(error.line));
                    return Err(problems);
                }
            },
        }
    }
    Err(problems)
}

fn place(path: &[String]) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!(" in `{}`", path.join("."))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Outer {
        name: String,
        #[serde(default)]
        inner: Vec<Inner>,
        #[serde(default)]
        kind: Kind,
        #[serde(default)]
        values: BTreeMap<String, Value>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        size: u32,
        note: Option<String>,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase")]
    enum Kind {
        #[default]
        One,
        Two {
            count: u8,
        },
    }

    fn problems(text: &str) -> Vec<String> {
        parse::<Outer>(text, "a.yaml".into())
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn every_unknown_key_is_reported_with_its_line_and_meaning() {
        let text = "name: x\niner:\n  - size: 1\ninner:\n  - size: 1\n    nte: a\n  - sise: 2\n    size: 3\n";
        assert_eq!(
            problems(text),
            [
                "a.yaml:2: unknown key `iner`; did you mean `inner`?",
                "a.yaml:6: unknown key `nte` in `inner.0`; did you mean `note`?",
                "a.yaml:7: unknown key `sise` in `inner.1`; did you mean `size`?",
            ]
        );
    }

    #[test]
    fn a_wrong_type_names_line_and_place() {
        assert_eq!(
            problems("name: x\ninner:\n  - size: many\n"),
            ["a.yaml:3: invalid type: string \"many\", expected u32 in `inner.0.size`"]
        );
        assert_eq!(
            problems("name: 1.10\n"),
            [
                "a.yaml:1: invalid type: floating point `1.1`, expected a string; put it in quotes in `name`"
            ]
        );
        assert_eq!(problems("inner: []\n"), ["a.yaml:1: missing field `name`"]);
    }

    #[test]
    fn a_key_written_twice_is_an_error() {
        let found = problems("name: x\nname: y\n");
        assert!(
            found[0].starts_with("a.yaml:2: ") && found[0].contains("duplicate"),
            "{found:?}"
        );
    }

    #[test]
    fn enums_options_and_free_values_are_read() {
        let text = "name: 'yes'\nkind: {two: {count: 3}}\ninner: [{size: 1, note: ~}]\nvalues: {a: [1, true, yes, 1.5, null], b: {c: d}}\n";
        let outer: Outer = parse(text, "a.yaml".into()).unwrap();
        assert_eq!(outer.kind, Kind::Two { count: 3 });
        assert_eq!(outer.inner[0].note, None);
        assert_eq!(outer.values["a"], json!([1, true, "yes", 1.5, null]));
    }

    #[test]
    fn anchors_and_merges_keep_their_meaning() {
        let node = parse_node("a: &x {b: 1}\nc: *x\n", "a.yaml".into()).unwrap();
        assert_eq!(node.to_value(), json!({"a": {"b": 1}, "c": {"b": 1}}));
    }

    #[test]
    fn several_documents_are_read_and_empty_ones_dropped() {
        let nodes = parse_nodes("---\na: 1\n---\n---\nb: 2\n", "a.yaml".into()).unwrap();
        assert_eq!(
            nodes.iter().map(Node::to_value).collect::<Vec<_>>(),
            [json!({"a": 1}), json!({"b": 2})]
        );
        assert_eq!(nodes[1].line, 5);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z:{}\\[\\]&*#|>\"' \n-]{0,80}") {
            let _ = parse::<Outer>(&text, "a.yaml".into());
            let _ = parse_nodes(&text, "a.yaml".into());
        }

        #[test]
        fn json_is_read_as_itself(number in any::<i64>(), text in "\\PC{0,20}", flag in any::<bool>()) {
            let value = json!({"name": text, "n": [number, flag, null], "o": {"k": text}});
            let node = parse_node(&value.to_string(), "a.yaml".into()).unwrap();
            prop_assert_eq!(node.to_value(), value);
        }
    }
}
