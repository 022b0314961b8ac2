//! The templates of an ApplicationSet: Go templates as far as a field with pipes, and the older `{{name}}` form.
//!
//! Control structures (`if`, `range`, …) are not known here and are an error, never passed through.

use serde_json::Value;

use crate::rke2::fail::{Fail, Result};

/// How an ApplicationSet wants its texts filled in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) go: bool,
    pub(super) missing_is_error: bool,
}

/// Fills in every text of a value.
pub(super) fn fill(value: &Value, parameters: &Value, style: Style) -> Result<Value> {
    Ok(match value {
        Value::String(text) => Value::String(fill_text(text, parameters, style)?),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| fill(item, parameters, style))
                .collect::<Result<_>>()?,
        ),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| Ok((key.clone(), fill(value, parameters, style)?)))
                .collect::<Result<_>>()?,
        ),
        other => other.clone(),
    })
}

pub(super) fn fill_text(text: &str, parameters: &Value, style: Style) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((action, after)) = after.split_once("}}") else {
            return Err(Fail::new(format!("template: unclosed action in {text:?}")));
        };
        rest = after;
        if style.go {
            let trim_left = action.starts_with('-');
            let trim_right = action.ends_with('-');
            out.push_str(if trim_left { before.trim_end() } else { before });
            if trim_right {
                rest = rest.trim_start();
            }
            out.push_str(&pipeline(
                action.trim_matches('-').trim(),
                parameters,
                style,
            )?);
        } else {
            out.push_str(before);
            match lookup(parameters, action.trim()) {
                Some(value) => out.push_str(&plain(value)),
                // the older form leaves what it does not know as it was
                None => out.extend(["{{", action, "}}"]),
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn lookup<'a>(parameters: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .filter(|part| !part.is_empty())
        .try_fold(parameters, |value, part| value.get(part))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn pipeline(action: &str, parameters: &Value, style: Style) -> Result<String> {
    let mut stages = action.split('|').map(str::trim);
    let first = stages.next().unwrap_or_default();
    let mut value = operand(first, parameters, style)?;
    for stage in stages {
        value = function(stage, &value)?;
    }
    Ok(plain(&value))
}

fn operand(text: &str, parameters: &Value, style: Style) -> Result<Value> {
    if let Some((name, argument)) = text.split_once(' ')
        && !text.starts_with('"')
    {
        return function(name, &operand(argument.trim(), parameters, style)?);
    }
    if text.starts_with('"') {
        return Ok(serde_json::from_str(text)?);
    }
    let Some(path) = text.strip_prefix('.') else {
        return Err(Fail::new(format!(
            "template: function {text:?} not defined (or not known to the stand-in)"
        )));
    };
    match lookup(parameters, path) {
        Some(value) => Ok(value.clone()),
        None if style.missing_is_error => Err(Fail::new(format!(
            "template: map has no entry for key {path:?}"
        ))),
        None => Ok(Value::String("<no value>".into())),
    }
}

fn function(call: &str, value: &Value) -> Result<Value> {
    let mut words = call.split_whitespace();
    let name = words.next().unwrap_or_default();
    let count = || {
        words
            .clone()
            .next()
            .and_then(|word| word.parse::<usize>().ok())
            .unwrap_or(0)
    };
    let indented = |spaces: usize| {
        let pad = " ".repeat(spaces);
        plain(value)
            .lines()
            .map(|line| format!("{pad}{line}"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    Ok(Value::String(match name {
        "toJson" => value.to_string(),
        "toYaml" => serde_saphyr::to_string(value).map_err(|error| Fail::new(error.to_string()))?,
        "quote" => Value::String(plain(value)).to_string(),
        "lower" => plain(value).to_lowercase(),
        "trim" => plain(value).trim().to_owned(),
        "indent" => indented(count()),
        "nindent" => format!("\n{}", indented(count())),
        other => {
            return Err(Fail::new(format!(
                "template: function {other:?} not defined (or not known to the stand-in)"
            )));
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const GO: Style = Style {
        go: true,
        missing_is_error: true,
    };

    #[test]
    fn go_templates_fill_fields_and_refuse_what_is_missing() {
        let parameters = json!({"name": "a", "values": {"x": 1}});
        assert_eq!(
            fill_text("{{ .name }}-{{ .values | toJson }}", &parameters, GO).unwrap(),
            "a-{\"x\":1}"
        );
        assert!(
            fill_text("{{ .nothing }}", &parameters, GO)
                .unwrap_err()
                .0
                .contains("no entry")
        );
        assert!(fill_text("{{ range .values }}", &parameters, GO).is_err());
    }

    #[test]
    fn the_older_form_leaves_the_unknown_alone() {
        let style = Style {
            go: false,
            missing_is_error: false,
        };
        assert_eq!(
            fill_text("{{name}} {{other}}", &json!({"name": "a"}), style).unwrap(),
            "a {{other}}"
        );
    }
}
