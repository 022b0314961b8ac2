//! References to facts inside values: `${site.domain}`.
//!
//! A text that is nothing but one reference becomes the fact itself, of whatever type; within a longer text, and in a
//! mapping's key, the fact must be a text or a number. `${site.NAME?}` is a fact that may be absent: the entry that it
//! stands for is then left out. Any other `${…}` is not ours and stays as it is. Invariant: no reference survives
//! rendering, and none is replaced by nothing without being asked to.
//!
//! Where objects are repeated for a list, `${item.key}` is the item's in the same way. What a fact or an item holds is never
//! interpreted again.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{Fact, SiteFacts};

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
    /// An item of a list lacks a key.
    #[error("{place} needs `{key}`, which this entry of the component's values does not give")]
    NoKey {
        /// Where the reference stands.
        place: String,
        /// The reference: `item.cidr`.
        key: String,
    },
    /// A list or mapping stands within a text.
    #[error("{place} puts `{reference}` into a text, but it is not a text, a number or a boolean")]
    NotText {
        /// Where the reference stands.
        place: String,
        /// The reference: `site.replicas`, `item.name`.
        reference: String,
    },
    /// Objects are to be repeated for what is no list.
    #[error("{place} is repeated for `{key}` of the component's values, which is not a list")]
    NotList {
        /// Where the objects stand.
        place: String,
        /// The key of the values.
        key: String,
    },
}

/// What references are filled from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    facts: &'a SiteFacts,
    item: Option<&'a Value>,
}

impl<'a> From<&'a SiteFacts> for Scope<'a> {
    fn from(facts: &'a SiteFacts) -> Self {
        Self { facts, item: None }
    }
}

impl<'a> Scope<'a> {
    /// Adds the item of a list.
    pub(crate) fn with_item(self, item: &'a Value) -> Self {
        Self {
            item: Some(item),
            ..self
        }
    }

    /// Returns what a reference stands for; nothing where that may be absent.
    fn resolve(
        self,
        reference: &Reference<'_>,
        place: &str,
    ) -> Result<Option<&'a Value>, TemplateError> {
        let place = place.to_owned();
        let (value, missing) = if let (Of::Item, Some(item)) = (reference.of, self.item) {
            let mut steps = reference.name.split('.').skip(1);
            let value = steps.try_fold(item, |value, step| value.get(step));
            let key = reference.name.to_owned();
            let missing = TemplateError::NoKey { place, key };
            (value.filter(|value| crate::site::is_there(value)), missing)
        } else {
            let fact = fact(reference.name, &place)?;
            let missing = TemplateError::Missing { place, fact };
            (self.facts.get(fact), missing)
        };
        match value {
            None if !reference.optional => Err(missing),
            value => Ok(value),
        }
    }
}

/// What a reference refers to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Site,
    Item,
}

/// One reference within a text; `name` is the fact's, or `item` with the path behind it.
struct Reference<'a> {
    before: &'a str,
    of: Of,
    name: &'a str,
    optional: bool,
    after: &'a str,
}

impl Reference<'_> {
    fn shown(&self) -> String {
        match self.of {
            Of::Site => format!("site.{}", self.name),
            Of::Item => self.name.to_owned(),
        }
    }
}

/// Finds the first reference; those to an item only where there is one.
fn next_reference(text: &str, items: bool) -> Option<Reference<'_>> {
    let mut from = 0;
    while let Some(found) = text[from..].find("${") {
        let start = from + found;
        let inner = &text[start + 2..];
        from = start + 2;
        let end = inner.find('}')?;
        let (name, optional) = match inner[..end].strip_suffix('?') {
            Some(name) => (name, true),
            None => (&inner[..end], false),
        };
        let (of, name) = match name.strip_prefix("site.") {
            Some(name) => (Of::Site, name),
            None if items && (name == "item" || name.starts_with("item.")) => (Of::Item, name),
            None => continue,
        };
        return Some(Reference {
            before: &text[..start],
            of,
            name,
            optional,
            after: &inner[end + 1..],
        });
    }
    None
}

fn fact(name: &str, place: &str) -> Result<Fact, TemplateError> {
    name.parse().map_err(|remedy| TemplateError::Unknown {
        place: place.to_owned(),
        text: format!("site.{name}"),
        remedy,
    })
}

/// Lists the references to an item in a value, each with its place.
pub(crate) fn item_references(value: &Value, place: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(value, place, &mut |text, place| {
        let mut rest = text;
        while let Some(reference) = next_reference(rest, true) {
            if reference.of == Of::Item {
                found.push((place.to_owned(), reference.shown()));
            }
            rest = reference.after;
        }
    });
    found
}

/// Lists the facts that a value cannot do without, and every reference that names none.
pub(crate) fn required_facts(value: &Value, place: &str) -> (BTreeSet<Fact>, Vec<TemplateError>) {
    let mut facts = BTreeSet::new();
    let mut errors = Vec::new();
    walk(value, place, &mut |text, place| {
        let mut rest = text;
        while let Some(reference) = next_reference(rest, false) {
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

/// Replaces every reference in a value; `None` means that the value stood for something optional that is absent.
pub(crate) fn fill(
    value: &Value,
    scope: Scope<'_>,
    place: &str,
) -> Result<Option<Value>, TemplateError> {
    Ok(Some(match value {
        Value::String(text) => return fill_text(text, scope, place),
        Value::Array(items) => {
            let mut filled = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                filled.extend(fill(item, scope, &format!("{place}.{index}"))?);
            }
            Value::Array(filled)
        }
        Value::Object(entries) => Value::Object(fill_map(entries, scope, place)?),
        other => other.clone(),
    }))
}

/// Replaces every reference in a mapping.
pub(crate) fn fill_map(
    entries: &Map<String, Value>,
    scope: Scope<'_>,
    place: &str,
) -> Result<Map<String, Value>, TemplateError> {
    let mut filled = Map::new();
    for (key, item) in entries {
        let place = format!("{place}.{key}");
        let key = match fill_text(key, scope, &place)? {
            Some(Value::String(key)) => key,
            Some(Value::Number(number)) => number.to_string(),
            Some(_) | None => continue,
        };
        if let Some(item) = fill(item, scope, &place)? {
            filled.insert(key, item);
        }
    }
    Ok(filled)
}

fn fill_text(text: &str, scope: Scope<'_>, place: &str) -> Result<Option<Value>, TemplateError> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(reference) = next_reference(rest, scope.item.is_some()) {
        let value = scope.resolve(&reference, place)?;
        let whole =
            rest.len() == text.len() && reference.before.is_empty() && reference.after.is_empty();
        if whole {
            return Ok(value.cloned());
        }
        filled.push_str(reference.before);
        match value {
            Some(Value::String(text)) => filled.push_str(text),
            Some(Value::Number(number)) => filled.push_str(&number.to_string()),
            Some(Value::Bool(value)) => filled.push_str(&value.to_string()),
            None => {}
            Some(_) => {
                return Err(TemplateError::NotText {
                    place: place.to_owned(),
                    reference: reference.shown(),
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
        let filled = fill(&value, (&facts()).into(), "v").unwrap().unwrap();
        assert_eq!(
            filled,
            json!({"n": 3, "l": ["10.0.0.1-10.0.0.9"], "u": "https://a.corp.example/3", "corp.example": 1, "other": "${env:X}"})
        );
    }

    #[test]
    fn an_absent_fact_is_an_error_unless_it_may_be_absent() {
        let error = fill(
            &json!({"a": {"b": "x ${site.apiVip}"}}),
            (&facts()).into(),
            "values",
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "values.a.b needs the site's apiVip, which the inventory does not give: set `network.apiVip`"
        );
        let filled = fill(
            &json!({"a": "${site.apiVip?}", "b": ["${site.apiVip?}", 1], "c": "x${site.apiVip?}"}),
            (&facts()).into(),
            "v",
        );
        assert_eq!(filled.unwrap().unwrap(), json!({"b": [1], "c": "x"}));
    }

    #[test]
    fn a_value_that_templates_to_nothing_is_an_error() {
        let facts = facts().with(Fact::StorageClass, "");
        let error = fill(
            &json!({"class": "${site.storageClass}"}),
            (&facts).into(),
            "values",
        )
        .unwrap_err();
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
        let error = fill(
            &json!("x ${site.loadBalancerPools}"),
            (&facts()).into(),
            "v",
        )
        .unwrap_err();
        assert!(matches!(error, TemplateError::NotText { .. }));
    }

    #[test]
    fn an_item_is_filled_in_like_a_fact_and_never_interpreted_again() {
        let item =
            json!({"name": "a${site.domain}", "quota": {"pods": 5}, "open": true, "none": ""});
        let facts = facts();
        let scope = Scope::from(&facts).with_item(&item);
        let value = json!({"name": "t-${item.name}", "pods": "${item.quota.pods}", "quota": "${item.quota}", "open": "o=${item.open}", "none": "${item.none?}", "d": "${site.domain}", "other": "${items.x}"});
        assert_eq!(
            fill(&value, scope, "v").unwrap().unwrap(),
            json!({"name": "t-a${site.domain}", "pods": 5, "quota": {"pods": 5}, "open": "o=true", "d": "corp.example", "other": "${items.x}"})
        );
        let error = fill(&json!({"a": "${item.none}"}), scope, "v").unwrap_err();
        assert_eq!(
            error.to_string(),
            "v.a needs `item.none`, which this entry of the component's values does not give"
        );
        let error = fill(&json!("x${item.quota}"), scope, "v").unwrap_err();
        assert!(
            error.to_string().contains("puts `item.quota` into a text"),
            "{error}"
        );
        // without a list there is no item, and the text is somebody else's
        assert_eq!(
            fill(&json!("${item.name}"), (&facts).into(), "v")
                .unwrap()
                .unwrap(),
            "${item.name}"
        );
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
            if let Ok(Some(Value::String(filled))) = fill(&json!(text), (&facts()).into(), "v") {
                prop_assert!(next_reference(&filled, false).is_none() || next_reference(&text, false).is_none());
            }
        }
    }
}
