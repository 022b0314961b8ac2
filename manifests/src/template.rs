//! References to facts inside values: `${site.domain}`.
//!
//! A text that is nothing but one reference becomes the fact itself, of whatever type; within a longer text, and in a
//! mapping's key, the fact must be a text or a number. `${site.NAME?}` is a fact that may be absent: the entry that it
//! stands for is then left out. Any other `${…}` is not ours and stays as it is. Invariant: no reference survives
//! rendering, and none is replaced by nothing without being asked to.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{Fact, SiteFacts};

const START: &str = "${site.";

/// Why values cannot be written for a site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A fact is absent.
    #[error("{place} needs the site's {fact}, which the inventory does not give: set `{}`", fact.origin())]
    Missing {
        /// Where the reference stands.
        place: String,
        /// The fact.
        fact: Fact,
    },
    /// A reference names nothing that is known.
    #[error("{place} refers to `{text}`, which is not a fact of a site; {remedy}")]
    Unknown {
        /// Where the reference stands.
        place: String,
        /// The reference.
        text: String,
        /// What was probably meant.
        remedy: String,
    },
    /// A list or mapping stands within a text.
    #[error("{place} puts the site's {fact} into a text, but it is not a text or a number")]
    NotText {
        /// Where the reference stands.
        place: String,
        /// The fact.
        fact: Fact,
    },
}

/// One reference within a text.
struct Reference<'a> {
    before: &'a str,
    name: &'a str,
    optional: bool,
    after: &'a str,
}

fn next_reference(text: &str) -> Option<Reference<'_>> {
    let start = text.find(START)?;
    let (before, rest) = text.split_at(start);
    let rest = &rest[START.len()..];
    let end = rest.find('}')?;
    let name = &rest[..end];
    Some(Reference {
        before,
        name: name.strip_suffix('?').unwrap_or(name),
        optional: name.ends_with('?'),
        after: &rest[end + 1..],
    })
}

fn fact(name: &str, place: &str) -> Result<Fact, TemplateError> {
    name.parse().map_err(|remedy| TemplateError::Unknown {
        place: place.to_owned(),
        text: format!("site.{name}"),
        remedy,
    })
}

/// Lists the facts that a value cannot do without, and every reference that names none.
pub(crate) fn required_facts(value: &Value, place: &str) -> (BTreeSet<Fact>, Vec<TemplateError>) {
    let mut facts = BTreeSet::new();
    let mut errors = Vec::new();
    walk(value, place, &mut |text, place| {
        let mut rest = text;
        while let Some(reference) = next_reference(rest) {
            match fact(reference.name, place) {
                Ok(fact) if !reference.optional => {
                    facts.insert(fact);
                }
                Ok(_) => {}
                Err(error) => errors.push(error),
            }
            rest = reference.after;
        }
    });
    (facts, errors)
}

fn walk(value: &Value, place: &str, see: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => see(text, place),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &format!("{place}.{index}"), see);
            }
        }
        Value::Object(entries) => {
            for (key, item) in entries {
                let place = format!("{place}.{key}");
                see(key, &place);
                walk(item, &place, see);
            }
        }
        _ => {}
    }
}

/// Replaces every reference in a value; `None` means that the value stood for an absent optional fact.
pub(crate) fn fill(
    value: &Value,
    facts: &SiteFacts,
    place: &str,
) -> Result<Option<Value>, TemplateError> {
    Ok(Some(match value {
        Value::String(text) => return fill_text(text, facts, place),
        Value::Array(items) => {
            let mut filled = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                filled.extend(fill(item, facts, &format!("{place}.{index}"))?);
            }
            Value::Array(filled)
        }
        Value::Object(entries) => Value::Object(fill_map(entries, facts, place)?),
        other => other.clone(),
    }))
}

/// Replaces every reference in a mapping.
pub(crate) fn fill_map(
    entries: &Map<String, Value>,
    facts: &SiteFacts,
    place: &str,
) -> Result<Map<String, Value>, TemplateError> {
    let mut filled = Map::new();
    for (key, item) in entries {
        let place = format!("{place}.{key}");
        let key = match fill_text(key, facts, &place)? {
            Some(Value::String(key)) => key,
            Some(Value::Number(number)) => number.to_string(),
            Some(_) | None => continue,
        };
        if let Some(item) = fill(item, facts, &place)? {
            filled.insert(key, item);
        }
    }
    Ok(filled)
}

fn fill_text(text: &str, facts: &SiteFacts, place: &str) -> Result<Option<Value>, TemplateError> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(reference) = next_reference(rest) {
        let fact = fact(reference.name, place)?;
        let value = facts.get(fact);
        if value.is_none() && !reference.optional {
            return Err(TemplateError::Missing {
                place: place.to_owned(),
                fact,
            });
        }
        let whole =
            rest.len() == text.len() && reference.before.is_empty() && reference.after.is_empty();
        if whole {
            return Ok(value.cloned());
        }
        filled.push_str(reference.before);
        match value {
            Some(Value::String(text)) => filled.push_str(text),
            Some(Value::Number(number)) => filled.push_str(&number.to_string()),
            None => {}
            Some(_) => {
                return Err(TemplateError::NotText {
                    place: place.to_owned(),
                    fact,
                });
            }
        }
        rest = reference.after;
    }
    filled.push_str(rest);
    Ok(Some(Value::String(filled)))
}

/// Merges `over` into `base`: mappings key by key, anything else replaced; null takes the key away.
pub(crate) fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (_, Value::Null) => {
                base.remove(key);
            }
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn facts() -> SiteFacts {
        SiteFacts::new()
            .with(Fact::Domain, "corp.example")
            .with(Fact::Replicas, 3)
            .with(Fact::LoadBalancerPools, json!(["10.0.0.1-10.0.0.9"]))
    }

    #[test]
    fn a_whole_reference_keeps_the_type_and_a_text_is_filled() {
        let value = json!({"n": "${site.replicas}", "l": "${site.loadBalancerPools}", "u": "https://a.${site.domain}/${site.replicas}", "${site.domain}": 1, "other": "${env:X}"});
        let filled = fill(&value, &facts(), "v").unwrap().unwrap();
        assert_eq!(
            filled,
            json!({"n": 3, "l": ["10.0.0.1-10.0.0.9"], "u": "https://a.corp.example/3", "corp.example": 1, "other": "${env:X}"})
        );
    }

    #[test]
    fn an_absent_fact_is_an_error_unless_it_may_be_absent() {
        let error = fill(&json!({"a": {"b": "x ${site.apiVip}"}}), &facts(), "values").unwrap_err();
        assert_eq!(
            error.to_string(),
            "values.a.b needs the site's apiVip, which the inventory does not give: set `network.apiVip`"
        );
        let filled = fill(
            &json!({"a": "${site.apiVip?}", "b": ["${site.apiVip?}", 1], "c": "x${site.apiVip?}"}),
            &facts(),
            "v",
        );
        assert_eq!(filled.unwrap().unwrap(), json!({"b": [1], "c": "x"}));
    }

    #[test]
    fn a_value_that_templates_to_nothing_is_an_error() {
        let facts = facts().with(Fact::StorageClass, "");
        let error = fill(&json!({"class": "${site.storageClass}"}), &facts, "values").unwrap_err();
        assert!(matches!(
            error,
            TemplateError::Missing {
                fact: Fact::StorageClass,
                ..
            }
        ));
    }

    #[test]
    fn a_misspelt_reference_is_explained() {
        let (_, errors) = required_facts(&json!({"a": "${site.domian}"}), "values");
        assert_eq!(
            errors[0].to_string(),
            "values.a refers to `site.domian`, which is not a fact of a site; did you mean `domain`?"
        );
        let (required, errors) =
            required_facts(&json!(["${site.apiVip?} ${site.domain}"]), "values");
        assert_eq!(
            (required.into_iter().collect::<Vec<_>>(), errors),
            (vec![Fact::Domain], vec![])
        );
    }

    #[test]
    fn a_list_within_a_text_is_an_error() {
        let error = fill(&json!("x ${site.loadBalancerPools}"), &facts(), "v").unwrap_err();
        assert!(matches!(error, TemplateError::NotText { .. }));
    }

    #[test]
    fn merging_goes_key_by_key_and_null_takes_away() {
        let mut base = json!({"a": {"b": 1, "c": [1]}, "d": 1})
            .as_object()
            .unwrap()
            .clone();
        merge(
            &mut base,
            json!({"a": {"c": [2], "e": 3}, "d": null})
                .as_object()
                .unwrap(),
        );
        assert_eq!(
            Value::Object(base),
            json!({"a": {"b": 1, "c": [2], "e": 3}})
        );
    }

    proptest! {
        #[test]
        fn filling_never_panics_and_leaves_no_reference(text in "[a-z$ {}.?]{0,12}(\\$\\{site\\.(domain|replicas|apiVip)\\??\\})?[a-z$ {}.?]{0,12}") {
            if let Ok(Some(Value::String(filled))) = fill(&json!(text), &facts(), "v") {
                prop_assert!(next_reference(&filled).is_none() || next_reference(&text).is_none());
            }
        }
    }
}
