//! A YAML tree that keeps lines.
//!
//! Invariant: a node's line is that of its first character, and a mapping keeps the order it was written in.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Options, Spanned};

/// One node with the line it begins on.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The line, counted from one; zero where unknown.
    pub line: u64,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Null, a boolean, a number or a text.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order written, each key with its line.
    Map(Vec<(String, u64, Node)>),
}

impl Node {
    pub(super) fn parse(text: &str) -> Result<Self, (u64, String)> {
        let mut nodes = Self::parse_all(text)?;
        match nodes.len() {
            0 => Err((0, "the file is empty".to_owned())),
            1 => Ok(nodes.remove(0)),
            _ => Err((
                nodes[1].line,
                "the file holds more than one document".to_owned(),
            )),
        }
    }

    pub(super) fn parse_all(text: &str) -> Result<Vec<Self>, (u64, String)> {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            with_snippet: false,
            duplicate_keys: DuplicateKeyPolicy::Error,
        };
        let options: Options = options;
        let nodes: Vec<Spanned<Raw>> = serde_saphyr::from_multiple_with_options(text, options)
            .map_err(|error| {
                let line = error.location().map_or(0, |location| location.line());
                (line, plain(&error.to_string()))
            })?;
        Ok(nodes
            .into_iter()
            .map(Raw::into_node)
            .filter(|node| node.kind != Kind::Scalar(Value::Null))
            .collect())
    }

    /// Returns the value of a key, if this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Map(entries) => entries
                .iter()
                .find(|(name, _, _)| name == key)
                .map(|(_, _, node)| node),
            _ => None,
        }
    }

    /// Returns the node under a path of keys and list positions.
    pub fn find<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Self> {
        path.into_iter()
            .try_fold(self, |node, step| match &node.kind {
                Kind::Map(_) => node.get(step),
                Kind::List(items) => step
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index)),
                Kind::Scalar(_) => None,
            })
    }

    /// Returns the line of the node under a path, or of the nearest one above that exists.
    pub fn line_of<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> u64 {
        let mut node = self;
        for step in path {
            match node.find([step]) {
                Some(next) => node = next,
                None => break,
            }
        }
        node.line
    }

    /// Returns the tree without its lines.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Kind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, _, node)| (key.clone(), node.to_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// Takes a key out of the mapping under `path`; returns whether it was there.
    pub(super) fn remove(&mut self, path: &[String], key: &str) -> bool {
        match (path.split_first(), &mut self.kind) {
            (None, Kind::Map(entries)) => {
                let before = entries.len();
                entries.retain(|(name, _, _)| name != key);
                entries.len() < before
            }
            (Some((step, rest)), Kind::Map(entries)) => entries
                .iter_mut()
                .find(|(name, _, _)| name == step)
                .is_some_and(|(_, _, node)| node.remove(rest, key)),
            (Some((step, rest)), Kind::List(items)) => step
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get_mut(index))
                .is_some_and(|node| node.remove(rest, key)),
            _ => false,
        }
    }
}

/// Returns a parser's message without the position that it repeats.
fn plain(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    match first.split_once(" at line ") {
        Some((text, _)) => text.to_owned(),
        None => match first.strip_prefix("error: ") {
            Some(text) => text.to_owned(),
            None => first.to_owned(),
        },
    }
}

/// The tree as the YAML reader yields it.
enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl Raw {
    fn into_node(spanned: Spanned<Self>) -> Node {
        let kind = match spanned.value {
            Self::Scalar(value) => Kind::Scalar(value),
            Self::List(items) => Kind::List(items.into_iter().map(Self::into_node).collect()),
            Self::Map(entries) => Kind::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.value, key.referenced.line(), Self::into_node(value)))
                    .collect(),
            ),
        };
        Node {
            line: spanned.referenced.line(),
            kind,
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML node")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
        Number::from_f64(value)
            .map(|number| Raw::Scalar(Value::Number(number)))
            .ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::String(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}
