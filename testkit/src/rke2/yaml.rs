//! YAML into JSON values, one document or many, as Kubernetes' own parsers take it.

use serde_json::Value;

use super::fail::{Fail, Result};

/// Parses one document; an empty one is null.
pub(crate) fn one(text: &str) -> Result<Value> {
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(text).map_err(|error| Fail::new(error.to_string()))
}

/// Parses a stream of documents, empty ones left out; `List` objects are opened.
pub(crate) fn many(text: &str) -> Result<Vec<Value>> {
    let mut out = Vec::new();
    for document in split(text) {
        match one(&document)? {
            Value::Null => {}
            Value::Object(map) if map.get("kind").is_some_and(|kind| kind == "List") => {
                if let Some(Value::Array(items)) = map.get("items") {
                    out.extend(items.iter().cloned());
                }
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

fn split(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line == "---" || line.starts_with("--- ") {
            documents.push(String::new());
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_split_and_lists_opened() {
        let all = many("# c\n---\na: 1\n---\nkind: List\nitems: [{b: 2}, {c: 3}]\n").unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[2]["c"], 3);
    }

    #[test]
    fn a_repeated_key_is_refused() {
        assert!(one("a: 1\na: 2\n").is_err());
    }
}
