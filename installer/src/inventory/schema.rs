//! The JSON schema of hosts.yaml, from the same table as the check.

use serde_json::{Map, Value, json};

use super::{owned, shape::Shape};

impl Shape {
    /// Returns the JSON schema of this place.
    pub(super) fn schema(&self) -> Value {
        match self {
            Self::Text(rule) => {
                json!({"type": "string", "minLength": 1, "description": rule.about()})
            }
            Self::Word(words) => json!({"enum": words}),
            Self::Whole(least, most) => {
                json!({"type": "integer", "minimum": least, "maximum": most})
            }
            Self::True => json!({"const": true}),
            Self::List(inner) => json!({"type": "array", "items": inner.schema()}),
            Self::Free(inner) => json!({"type": "object", "additionalProperties": inner.schema()}),
            Self::Any => json!({}),
            Self::Rke2 => {
                let refused: Vec<&str> = owned::KEYS
                    .iter()
                    .chain(owned::SECRETS)
                    .map(|(key, _)| *key)
                    .collect();
                json!({"type": "object", "propertyNames": {"not": {"enum": refused}}})
            }
            Self::Secret => secret_schema(),
            Self::TextOrSecret => {
                json!({"anyOf": [{"type": "string", "minLength": 1}, secret_schema()]})
            }
            Self::Map(fields) => {
                let mut properties = Map::new();
                for field in *fields {
                    let mut schema = field.shape.schema();
                    if !field.required {
                        schema = json!({"anyOf": [schema, {"type": "null"}]});
                    }
                    schema["description"] = field.about.into();
                    properties.insert(field.key.to_owned(), schema);
                }
                let required: Vec<&str> = fields
                    .iter()
                    .filter(|field| field.required)
                    .map(|field| field.key)
                    .collect();
                json!({"type": "object", "additionalProperties": false, "properties": properties, "required": required})
            }
        }
    }
}

fn secret_schema() -> Value {
    let one = |key: &str, value: Value| json!({"type": "object", "additionalProperties": false, "required": [key], "properties": {key: value}});
    json!({"oneOf": [one("env", json!({"type": "string"})), one("file", json!({"type": "string"})), one("prompt", json!({"const": true}))]})
}
