//! As much of Kyverno as mutates pods: conditions, `foreach`, and texts with expressions in the language that it speaks.
//!
//! The expressions are evaluated as they stand in the policy, by another implementation of JMESPath with Kyverno's function
//! added; the rest (which elements, which field) is Kyverno's documented behaviour.

use jmespath::functions::{ArgumentType, CustomFunction, Signature};
use jmespath::{Context, Rcvar, Runtime, Variable};
use regex::{Captures, Regex};
use serde_json::{Value, json};

/// A policy's rules, and what evaluates them.
pub(super) struct Policies {
    rules: Vec<Value>,
    runtime: Runtime,
    /// What Kyverno takes for an expression within a text.
    expression: Regex,
}

impl Policies {
    pub(super) fn new(policy: &Value) -> Self {
        let mut runtime = Runtime::new();
        runtime.register_builtin_functions();
        let replace = |arguments: &[Rcvar], _: &mut Context<'_>| {
            let text = |index: usize| arguments[index].as_string().unwrap();
            // Go and Rust spell these expressions and `${1}` alike
            let pattern = Regex::new(text(0)).unwrap();
            let replaced = pattern.replace_all(text(1), text(2).as_str()).into_owned();
            Ok(Rcvar::new(Variable::String(replaced)))
        };
        let texts = Signature::new(vec![ArgumentType::String; 3], None);
        runtime.register_function(
            "regex_replace_all",
            Box::new(CustomFunction::new(texts, Box::new(replace))),
        );
        Self {
            rules: policy["spec"]["rules"].as_array().unwrap().clone(),
            runtime,
            expression: Regex::new(r"\{\{((?:\{[^{}]*\}|[^{}])*)\}\}").unwrap(),
        }
    }

    /// Returns a new pod as the rules leave it, one after the other.
    pub(super) fn mutate(&self, pod: &Value) -> Value {
        self.update(&Value::Null, pod)
    }

    /// Returns a pod that takes the place of another, as the rules leave it.
    pub(super) fn update(&self, old: &Value, pod: &Value) -> Value {
        let mut pod = pod.clone();
        for rule in &self.rules {
            let context = json!({"request": {"object": pod, "oldObject": old}});
            if !self.holds(&rule["preconditions"], &context) {
                continue;
            }
            for each in rule["mutate"]["foreach"].as_array().unwrap() {
                let list = self.search(each["list"].as_str().unwrap(), &context);
                for element in list.as_array().unwrap() {
                    let request = json!({"object": pod, "oldObject": old});
                    let context = json!({"request": request, "element": element});
                    if self.holds(&each["preconditions"], &context) {
                        self.merge(&mut pod, &each["patchStrategicMerge"], &context);
                    }
                }
            }
        }
        pod
    }

    fn search(&self, expression: &str, context: &Value) -> Value {
        let found = self
            .runtime
            .compile(expression)
            .unwrap()
            .search(context)
            .unwrap();
        serde_json::to_value(&*found).unwrap()
    }

    /// A text that is nothing but an expression becomes its result.
    fn fill(&self, text: &str, context: &Value) -> Value {
        if let Some(found) = self.expression.captures(text)
            && found[0].len() == text.trim().len()
        {
            return self.search(found[1].trim(), context);
        }
        let filled = self.expression.replace_all(text, |found: &Captures<'_>| {
            let value = self.search(found[1].trim(), context);
            value.as_str().unwrap().to_owned()
        });
        Value::String(filled.into_owned())
    }

    fn holds(&self, conditions: &Value, context: &Value) -> bool {
        conditions["all"]
            .as_array()
            .into_iter()
            .flatten()
            .all(|condition| {
                let key = self.fill(condition["key"].as_str().unwrap(), context);
                let value = &condition["value"];
                match condition["operator"].as_str().unwrap() {
                    "Equals" => key == *value,
                    "AnyNotIn" => {
                        let list = self.fill(value.as_str().unwrap(), context);
                        !list.as_array().unwrap().contains(&key)
                    }
                    "GreaterThanOrEquals" => key.as_f64().unwrap() >= value.as_f64().unwrap(),
                    other => panic!("operator {other}"),
                }
            })
    }

    /// Merges lists of containers by name.
    fn merge(&self, pod: &mut Value, patch: &Value, context: &Value) {
        for (field, patched) in patch["spec"].as_object().unwrap() {
            let name = self.fill(patched[0]["name"].as_str().unwrap(), context);
            let image = self.fill(patched[0]["image"].as_str().unwrap(), context);
            let containers = pod["spec"][field].as_array_mut().unwrap();
            let container = containers
                .iter_mut()
                .find(|container| container["name"] == name)
                .unwrap();
            container["image"] = image;
        }
    }
}
