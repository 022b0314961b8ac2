//! What Kyverno's CRDs say of an object: unknown keys, wrong types, missing keys, words that are none of a list.
//!
//! The API server would drop an unknown key without a word, so the check is stricter than admission is.

use airgap_manifests::strict;
use serde_json::Value;

use crate::publishers::Chart;

/// The schemas of a chart's CRDs.
pub(super) struct Schemas(Vec<Value>);

impl Schemas {
    /// Reads the CRDs among a chart's templates; lines of the template language hold nothing of a schema.
    pub(super) fn of(chart: &Chart) -> Self {
        let crds = chart
            .files()
            .filter(|(_, text)| text.contains("\nkind: CustomResourceDefinition\n"))
            .map(|(path, text)| {
                let plain: Vec<&str> = text.lines().filter(|line| !line.contains("{{")).collect();
                strict::parse(&plain.join("\n"), path.into()).unwrap()
            })
            .collect();
        Self(crds)
    }

    /// Lists what does not fit the schema of the object's kind, sorted.
    pub(super) fn problems(&self, object: &Value) -> Vec<String> {
        let (group, version) = object["apiVersion"]
            .as_str()
            .unwrap()
            .split_once('/')
            .unwrap();
        let crd = self
            .0
            .iter()
            .find(|crd| {
                crd["spec"]["group"] == group && crd["spec"]["names"]["kind"] == object["kind"]
            })
            .unwrap();
        let scoped = crd["spec"]["scope"] == "Namespaced";
        assert_eq!(object["metadata"]["namespace"].is_string(), scoped);
        let version = crd["spec"]["versions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|known| known["name"] == version && known["served"] == true)
            .unwrap();
        let schema = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut problems = Vec::new();
        check(schema, &object["spec"], "spec", &mut problems);
        problems.sort();
        problems
    }
}

fn check(schema: &Value, value: &Value, place: &str, problems: &mut Vec<String>) {
    let free = schema["x-kubernetes-preserve-unknown-fields"] == true;
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        problems.push(format!("{place}: {value} is none of {}", schema["enum"]));
    }
    let kind = schema["type"].as_str().unwrap_or_default();
    let fits = match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        _ => true,
    };
    if !fits {
        problems.push(format!("{place}: {value} is no {kind}"));
    }
    for key in schema["required"].as_array().into_iter().flatten() {
        if value.get(key.as_str().unwrap()).is_none() {
            problems.push(format!("{place}: has no {key}"));
        }
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        let place = format!("{place}.{key}");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (known @ Value::Object(_), _) | (_, known @ Value::Object(_)) => {
                check(known, item, &place, problems);
            }
            _ if free => {}
            _ => problems.push(format!("{place}: is not known")),
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(
            &schema["items"],
            item,
            &format!("{place}.{index}"),
            problems,
        );
    }
}
