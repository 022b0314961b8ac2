//! Reads a [`Node`] tree as any serde type, and says where an error lies.
//!
//! Invariant: a [`ReadError`] carries the line and path of the innermost node at fault.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde_json::Value;

use super::node::{Kind, Node};

/// An error of the reader: where, and what.
#[derive(Debug)]
pub(super) struct ReadError {
    pub(super) line: u64,
    pub(super) path: Vec<String>,
    pub(super) fault: Fault,
    /// The line is that of the innermost node and stays.
    placed: bool,
}

/// What is wrong with a node.
#[derive(Debug)]
pub(super) enum Fault {
    UnknownKey {
        key: String,
        expected: &'static [&'static str],
    },
    Other(String),
}

impl ReadError {
    fn other(message: String) -> Self {
        Self {
            line: 0,
            path: Vec::new(),
            fault: Fault::Other(message),
            placed: false,
        }
    }

    fn within(mut self, step: &str, line: u64) -> Self {
        self.path.insert(0, step.to_owned());
        self.on(line)
    }

    fn on(mut self, line: u64) -> Self {
        if !self.placed {
            self.line = line;
            self.placed = true;
        }
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::UnknownKey { key, .. } => write!(f, "unknown key `{key}`"),
            Fault::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::other(message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self {
            line: 0,
            path: Vec::new(),
            fault: Fault::UnknownKey {
                key: field.to_owned(),
                expected,
            },
            placed: false,
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let meant = crate::suggest(variant, expected.iter().copied());
        Self::other(format!("`{variant}` is not allowed: {meant}"))
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let number = matches!(
            found,
            de::Unexpected::Float(_)
                | de::Unexpected::Unsigned(_)
                | de::Unexpected::Signed(_)
                | de::Unexpected::Bool(_)
        );
        let quote = if number && expected.to_string().contains("string") {
            "; put it in quotes"
        } else {
            ""
        };
        Self::other(format!("invalid type: {found}, expected {expected}{quote}"))
    }
}

/// Reads a node as any serde type.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a Node);

impl<'a> Reader<'a> {
    pub(super) fn new(node: &'a Node) -> Self {
        Self(node)
    }

    fn null(self) -> bool {
        self.0.kind == Kind::Scalar(Value::Null)
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let result = match &self.0.kind {
            Kind::Scalar(Value::Null) => visitor.visit_unit(),
            Kind::Scalar(Value::Bool(value)) => visitor.visit_bool(*value),
            Kind::Scalar(Value::String(value)) => visitor.visit_str(value),
            Kind::Scalar(Value::Number(number)) => {
                if let Some(value) = number.as_u64() {
                    visitor.visit_u64(value)
                } else if let Some(value) = number.as_i64() {
                    visitor.visit_i64(value)
                } else {
                    visitor.visit_f64(number.as_f64().unwrap_or_default())
                }
            }
            Kind::Scalar(_) => Err(ReadError::other("not a scalar".to_owned())),
            Kind::List(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
            }),
            Kind::Map(entries) => visitor.visit_map(Entries {
                entries: entries.iter(),
                value: None,
            }),
        };
        result.map_err(|error| error.on(self.0.line))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let result = match &self.0.kind {
            Kind::Scalar(Value::String(name)) => visitor.visit_enum(Variant { name, node: None }),
            Kind::Map(entries) if entries.len() == 1 => visitor.visit_enum(Variant {
                name: &entries[0].0,
                node: Some(&entries[0].2),
            }),
            _ => Err(ReadError::other(
                "expected one word, or a mapping with one key".to_owned(),
            )),
        };
        result.map_err(|error| error.on(self.0.line))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        self.items
            .next()
            .map(|(index, node)| {
                seed.deserialize(Reader(node))
                    .map_err(|error| error.within(&index.to_string(), node.line))
            })
            .transpose()
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, (String, u64, Node)>,
    value: Option<(&'a str, u64, &'a Node)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let Some((key, line, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some((key, *line, node));
        let deserializer: StrDeserializer<'_, ReadError> = key.as_str().into_deserializer();
        seed.deserialize(deserializer)
            .map(Some)
            .map_err(|error| error.on(*line))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        match self.value.take() {
            Some((key, line, node)) => seed
                .deserialize(Reader(node))
                .map_err(|error| error.within(key, if node.line > 0 { node.line } else { line })),
            None => Err(ReadError::other("a value without its key".to_owned())),
        }
    }
}

struct Variant<'a> {
    name: &'a str,
    node: Option<&'a Node>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = ReadError;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Content<'a>), ReadError> {
        let deserializer: StrDeserializer<'_, ReadError> = self.name.into_deserializer();
        let value = seed.deserialize(deserializer)?;
        Ok((
            value,
            Content {
                name: self.name,
                node: self.node,
            },
        ))
    }
}

struct Content<'a> {
    name: &'a str,
    node: Option<&'a Node>,
}

impl Content<'_> {
    fn reader(&self) -> Result<Reader<'_>, ReadError> {
        self.node
            .map(Reader)
            .ok_or_else(|| ReadError::other(format!("`{}` needs a value", self.name)))
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        match self.node {
            None => Ok(()),
            Some(node) => {
                Err(ReadError::other(format!("`{}` takes no value", self.name)).on(node.line))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        let reader = self.reader()?;
        seed.deserialize(reader)
            .map_err(|error| error.within(self.name, reader.0.line))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let reader = self.reader()?;
        reader
            .deserialize_any(visitor)
            .map_err(|error| error.within(self.name, reader.0.line))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let reader = self.reader()?;
        reader
            .deserialize_any(visitor)
            .map_err(|error| error.within(self.name, reader.0.line))
    }
}
