//! What the stand-in kubectl prints: json, yaml, name, jsonpath and plain columns.

use serde_json::{Value, json};

use super::args::Args;
use crate::rke2::fail::{Fail, Result};
use crate::rke2::kinds::Kind;

pub(super) fn render(objects: &[(Kind, Value)], single: bool, args: &Args) -> Result<String> {
    let whole = || {
        if single {
            objects[0].1.clone()
        } else {
            let items: Vec<&Value> = objects.iter().map(|(_, object)| object).collect();
            json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
        }
    };
    match args.value("output") {
        Some("json") => Ok(format!("{}\n", serde_json::to_string_pretty(&whole())?)),
        Some("yaml") => {
            serde_saphyr::to_string(&whole()).map_err(|error| Fail::new(error.to_string()))
        }
        Some("name") => Ok(objects
            .iter()
            .map(|(kind, object)| format!("{}/{}\n", super::label(kind), name(object)))
            .collect::<Vec<_>>()
            .concat()),
        Some(format) if format.starts_with("jsonpath=") => {
            jsonpath(&whole(), &format["jsonpath=".len()..])
        }
        None | Some("wide") => Ok(columns(objects, args)),
        Some(other) => Err(Fail::new(format!(
            "error: unable to match a printer suitable for the output format \"{other}\" (airgap stand-in)"
        ))),
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn columns(objects: &[(Kind, Value)], args: &Args) -> String {
    if objects.is_empty() {
        return "No resources found\n".into();
    }
    let mut out = String::new();
    for (kind, object) in objects {
        if args.has("all-namespaces") && kind.namespaced {
            out.push_str(object["metadata"]["namespace"].as_str().unwrap_or_default());
            out.push('\t');
        }
        let status = match kind.kind.as_str() {
            "Node" => condition(object, "Ready").map_or("Unknown".into(), |status| {
                if status == "True" {
                    "Ready".into()
                } else {
                    "NotReady".into()
                }
            }),
            "Application" => format!(
                "{}\t{}",
                object["status"]["sync"]["status"]
                    .as_str()
                    .unwrap_or("Unknown"),
                object["status"]["health"]["status"]
                    .as_str()
                    .unwrap_or("Unknown")
            ),
            _ => object["status"]["phase"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        };
        let version = object["status"]["nodeInfo"]["kubeletVersion"]
            .as_str()
            .unwrap_or_default();
        let line = format!("{}\t{status}\t{version}", name(object));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn condition(object: &Value, kind: &str) -> Option<String> {
    let all = object["status"]["conditions"].as_array()?;
    let found = all.iter().find(|condition| {
        condition["type"]
            .as_str()
            .is_some_and(|name| name.eq_ignore_ascii_case(kind))
    })?;
    found["status"].as_str().map(str::to_owned)
}

/// Whether an object meets a `--for`.
pub(super) fn met(object: &Value, wanted: &str) -> bool {
    if let Some(text) = wanted.strip_prefix("condition=") {
        let (kind, status) = text.split_once('=').unwrap_or((text, "True"));
        return condition(object, kind).is_some_and(|found| found.eq_ignore_ascii_case(status));
    }
    if let Some(text) = wanted.strip_prefix("jsonpath=") {
        let (path, value) = text
            .rsplit_once('=')
            .map_or((text, None), |(path, value)| (path, Some(value)));
        let path = path.trim_matches('\'');
        let path = if path.starts_with('{') {
            path.to_owned()
        } else {
            format!("{{{path}}}")
        };
        let found = jsonpath(object, &path).unwrap_or_default();
        return value.map_or(!found.is_empty(), |value| found == value.trim_matches('\''));
    }
    wanted == "create"
}

/// The part of jsonpath that scripts use: fields, `[0]`, `[*]`, `[?(@.a=="b")]`, `{range}…{end}`, `{"text"}`.
pub(super) fn jsonpath(value: &Value, template: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let close = closing(after).ok_or_else(|| {
            Fail::new(format!(
                "error: error parsing jsonpath {template}: unclosed action"
            ))
        })?;
        let action = after[..close].trim();
        rest = &after[close + 1..];
        if let Some(path) = action.strip_prefix("range ") {
            let end = rest
                .find("{end}")
                .ok_or_else(|| Fail::new("error: unexpected end of range"))?;
            for item in walk(value, path.trim())? {
                out.push_str(&jsonpath(&item, &rest[..end])?);
            }
            rest = &rest[end + "{end}".len()..];
        } else if action.starts_with('"') {
            out.push_str(&serde_json::from_str::<String>(action).unwrap_or_default());
        } else {
            let found = walk(value, action)?;
            let texts: Vec<String> = found
                .iter()
                .map(|item| {
                    item.as_str()
                        .map_or_else(|| item.to_string(), str::to_owned)
                })
                .collect();
            out.push_str(&texts.join(" "));
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn closing(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        if c == '"' {
            quoted = !quoted;
        }
        (c == '}' && !quoted).then_some(at)
    })
}

fn walk(value: &Value, path: &str) -> Result<Vec<Value>> {
    let bad = || {
        Fail::new(format!(
            "error: unrecognized jsonpath {path:?} (airgap stand-in)"
        ))
    };
    let mut found = vec![value.clone()];
    let mut rest = path.trim_start_matches(['$', '@']);
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']').ok_or_else(bad)?;
            let (selector, after) = (&inner[..end], &inner[end + 1..]);
            rest = after;
            let items = found
                .iter()
                .flat_map(|item| item.as_array().cloned().unwrap_or_default());
            found = if selector == "*" {
                found
                    .iter()
                    .flat_map(|item| match item {
                        Value::Array(all) => all.clone(),
                        Value::Object(map) => map.values().cloned().collect(),
                        _ => Vec::new(),
                    })
                    .collect()
            } else if let Some(filter) = selector
                .strip_prefix("?(@.")
                .and_then(|text| text.strip_suffix(')'))
            {
                let (field, wanted) = filter.split_once("==").ok_or_else(bad)?;
                let wanted = wanted.trim().trim_matches(['"', '\'']).to_owned();
                items
                    .filter(|item| {
                        walk(item, &format!(".{}", field.trim()))
                            .is_ok_and(|all| all.iter().any(|one| one.as_str() == Some(&wanted)))
                    })
                    .collect()
            } else if let Some(key) = selector.strip_prefix(['\'', '"']) {
                let key = key.trim_end_matches(['\'', '"']);
                found
                    .iter()
                    .map(|item| item[key].clone())
                    .filter(|item| !item.is_null())
                    .collect()
            } else {
                let index: usize = selector.parse().map_err(|_| bad())?;
                found
                    .iter()
                    .map(|item| item[index].clone())
                    .filter(|item| !item.is_null())
                    .collect()
            };
        } else if let Some(inner) = rest.strip_prefix('.') {
            let mut key = String::new();
            let mut escaped = false;
            let mut end = inner.len();
            for (at, c) in inner.char_indices() {
                match c {
                    '\\' if !escaped => escaped = true,
                    '.' | '[' if !escaped => {
                        end = at;
                        break;
                    }
                    other => {
                        escaped = false;
                        key.push(other);
                    }
                }
            }
            rest = &inner[end..];
            if !key.is_empty() {
                found = found
                    .iter()
                    .map(|item| item[key.as_str()].clone())
                    .filter(|item| !item.is_null())
                    .collect();
            }
        } else {
            return Err(bad());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jsonpath_reads_what_scripts_ask_for() {
        let list = json!({"items": [{"metadata": {"name": "a", "labels": {"x.y/z": "1"}}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            {"metadata": {"name": "b"}, "status": {"conditions": []}}]});
        assert_eq!(jsonpath(&list, "{.items[*].metadata.name}").unwrap(), "a b");
        assert_eq!(
            jsonpath(&list, r"{.items[0].metadata.labels.x\.y/z}").unwrap(),
            "1"
        );
        let range = r#"{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
        assert_eq!(jsonpath(&list, range).unwrap(), "a=True\nb=\n");
    }

    #[test]
    fn conditions_are_waited_for() {
        let node = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Active"}});
        assert!(met(&node, "condition=Ready"));
        assert!(met(&node, "jsonpath={.status.phase}=Active"));
        assert!(!met(&node, "condition=Ready=False"));
    }
}
