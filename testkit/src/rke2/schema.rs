//! Which fields the kinds that matter here have: what strict decoding would refuse is refused.
//!
//! A schema is JSON: `"s"` text, `"b"` boolean, `"i"` whole number, `"any"`, `"m"` map of text, a list of one, or an object.

use serde_json::{Map, Value};

const HELM_CHART: &str = r#"{"chart":"s","version":"s","repo":"s","repoCA":"s","repoCAConfigMap":{"name":"s"},"chartContent":"s",
"targetNamespace":"s","createNamespace":"b","set":"any","values":"any","valuesContent":"s",
"valuesSecrets":[{"name":"s","keys":["s"],"ignoreUpdates":"b"}],"bootstrap":"b","takeOwnership":"b","serverSide":"s",
"forceConflicts":"b","jobImage":"s","backOffLimit":"i","timeout":"s","failurePolicy":"s","authSecret":{"name":"s"},
"authPassCredentials":"b","insecureSkipTLSVerify":"b","plainHTTP":"b","dockerRegistrySecret":{"name":"s"},
"podSecurityContext":"any","securityContext":"any","driver":"s","helmVersion":"s"}"#;

const HELM_CHART_CONFIG: &str = r#"{"values":"any","valuesContent":"s","valuesSecrets":[{"name":"s","keys":["s"],"ignoreUpdates":"b"}],
"failurePolicy":"s","serverSide":"s","forceConflicts":"b"}"#;

const SOURCE: &str = r#"{"repoURL":"s","path":"s","targetRevision":"s","chart":"s","ref":"s","name":"s","kustomize":"any",
"directory":"any","plugin":"any","helm":{"valueFiles":["s"],"parameters":[{"name":"s","value":"s","forceString":"b"}],
"releaseName":"s","values":"s","fileParameters":[{"name":"s","path":"s"}],"version":"s","passCredentials":"b",
"ignoreMissingValueFiles":"b","skipCrds":"b","skipTests":"b","skipSchemaValidation":"b","valuesObject":"any","namespace":"s",
"kubeVersion":"s","apiVersions":["s"]}}"#;

const APPLICATION: &str = r#"{"destination":{"server":"s","namespace":"s","name":"s"},"source":SOURCE,"sources":[SOURCE],
"sourceHydrator":"any","project":"s","syncPolicy":{"automated":{"prune":"b","selfHeal":"b","allowEmpty":"b","enabled":"b"},
"syncOptions":["s"],"retry":{"limit":"i","refresh":"b","backoff":{"duration":"s","factor":"i","maxDuration":"s"}},
"managedNamespaceMetadata":{"labels":"m","annotations":"m"}},"ignoreDifferences":[{"group":"s","kind":"s","name":"s",
"namespace":"s","jsonPointers":["s"],"jqPathExpressions":["s"],"managedFieldsManagers":["s"]}],
"info":[{"name":"s","value":"s"}],"revisionHistoryLimit":"i"}"#;

const APPLICATION_SET: &str = r#"{"goTemplate":"b","goTemplateOptions":["s"],"generators":[{"list":{"elements":"any",
"elementsYaml":"s","template":"any"},"selector":"any"}],"template":{"metadata":{"name":"s","namespace":"s","labels":"m",
"annotations":"m","finalizers":["s"]},"spec":APPLICATION},"templatePatch":"s","syncPolicy":{"preserveResourcesOnDeletion":"b",
"applicationsSync":"s"},"strategy":"any","preservedFields":{"annotations":["s"],"labels":["s"]},
"ignoreApplicationDifferences":[{"name":"s","jsonPointers":["s"],"jqPathExpressions":["s"]}],"applyNestedSelectors":"b"}"#;

const METADATA: &str = r#"{"name":"s","namespace":"s","generateName":"s","labels":"m","annotations":"m","finalizers":["s"],
"ownerReferences":"any","managedFields":"any","uid":"s","resourceVersion":"s","generation":"i","creationTimestamp":"any",
"deletionTimestamp":"any","selfLink":"s"}"#;

fn fields(kind: &str) -> Option<Vec<(&'static str, String)>> {
    let application = || APPLICATION.replace("SOURCE", SOURCE);
    Some(match kind {
        "HelmChart" => vec![("spec", HELM_CHART.to_owned())],
        "HelmChartConfig" => vec![("spec", HELM_CHART_CONFIG.to_owned())],
        "Application" => vec![("spec", application()), ("operation", "\"any\"".to_owned())],
        "ApplicationSet" => vec![(
            "spec",
            APPLICATION_SET.replace("APPLICATION", &application()),
        )],
        "Secret" => {
            let text = |schema: &str| format!("\"{schema}\"");
            vec![
                ("data", text("m")),
                ("stringData", text("m")),
                ("type", text("s")),
                ("immutable", text("b")),
            ]
        }
        "ConfigMap" => vec![
            ("data", "\"m\"".into()),
            ("binaryData", "\"m\"".into()),
            ("immutable", "\"b\"".into()),
        ],
        "Namespace" => vec![("spec", "{\"finalizers\":[\"s\"]}".into())],
        _ => return None,
    })
}

/// Every way in which `object` does not fit its kind; kinds that are not listed here are taken as they are.
pub(crate) fn problems(object: &Value) -> Vec<String> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let mut out = Vec::new();
    check(&object["metadata"], &parse(METADATA), "metadata", &mut out);
    if let Some(fields) = fields(kind) {
        let mut schema = Map::new();
        for (name, text) in fields {
            schema.insert(name.to_owned(), parse(&text));
        }
        for name in ["apiVersion", "kind"] {
            schema.insert(name.to_owned(), Value::String("s".into()));
        }
        for name in ["metadata", "status"] {
            schema.insert(name.to_owned(), Value::String("any".into()));
        }
        check(object, &Value::Object(schema), "", &mut out);
    }
    values(kind, object, &mut out);
    out
}

/// Enumerations and what must be there.
fn values(kind: &str, object: &Value, out: &mut Vec<String>) {
    let spec = &object["spec"];
    let mut one_of = |path: &str, value: &Value, allowed: &[&str]| {
        if let Some(text) = value.as_str()
            && !allowed.contains(&text)
        {
            out.push(format!(
                "{path}: Unsupported value: {text:?}: supported values: {allowed:?}"
            ));
        }
    };
    match kind {
        "HelmChart" | "HelmChartConfig" => {
            one_of(
                "spec.failurePolicy",
                &spec["failurePolicy"],
                &["abort", "reinstall", "retry"],
            );
            one_of(
                "spec.serverSide",
                &spec["serverSide"],
                &["true", "false", "auto"],
            );
        }
        "ApplicationSet" => {
            let allowed = ["create-only", "create-update", "create-delete", "sync"];
            one_of(
                "spec.syncPolicy.applicationsSync",
                &spec["syncPolicy"]["applicationsSync"],
                &allowed,
            );
            for field in ["generators", "template"] {
                if spec[field].is_null() {
                    out.push(format!("spec.{field}: Required value"));
                }
            }
            for field in ["destination", "project"] {
                if spec["template"]["spec"][field].is_null() {
                    out.push(format!("spec.template.spec.{field}: Required value"));
                }
            }
        }
        "Application" => {
            for field in ["destination", "project"] {
                if spec[field].is_null() {
                    out.push(format!("spec.{field}: Required value"));
                }
            }
        }
        _ => {}
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn check(value: &Value, schema: &Value, path: &str, out: &mut Vec<String>) {
    let join = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    let mut wrong =
        |wanted: &str| out.push(format!("{path}: Invalid value: must be of type {wanted}"));
    match (schema, value) {
        (_, Value::Null) => {}
        (Value::String(kind), _) => match (kind.as_str(), value) {
            ("s", Value::String(_)) | ("b", Value::Bool(_)) | ("any", _) => {}
            ("i", Value::Number(number)) if number.is_i64() || number.is_u64() => {}
            ("m", Value::Object(map)) => {
                for (key, value) in map {
                    if !value.is_string() {
                        out.push(format!(
                            "{}: Invalid value: must be of type string",
                            join(key)
                        ));
                    }
                }
            }
            ("s", _) => wrong("string"),
            ("b", _) => wrong("boolean"),
            ("i", _) => wrong("integer"),
            _ => wrong("object"),
        },
        (Value::Array(item), Value::Array(values)) => {
            for (index, value) in values.iter().enumerate() {
                check(value, &item[0], &format!("{path}[{index}]"), out);
            }
        }
        (Value::Array(_), _) => wrong("array"),
        (Value::Object(fields), Value::Object(map)) => {
            for (key, value) in map {
                match fields.get(key) {
                    Some(schema) => check(value, schema, &join(key), out),
                    None => out.push(format!("unknown field \"{}\"", join(key))),
                }
            }
        }
        _ => wrong("object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_are_json() {
        for kind in [
            "HelmChart",
            "HelmChartConfig",
            "Application",
            "ApplicationSet",
            "Secret",
            "ConfigMap",
            "Namespace",
        ] {
            for (name, text) in fields(kind).unwrap() {
                assert!(
                    serde_json::from_str::<Value>(&text).is_ok(),
                    "{kind}.{name}"
                );
            }
        }
        assert!(parse(METADATA).is_object());
    }

    #[test]
    fn a_misspelt_field_and_a_wrong_type_are_found() {
        let chart = serde_json::json!({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart", "metadata": {"name": "a"},
            "spec": {"chart": "x", "targetNameSpace": "y", "bootstrap": "true", "failurePolicy": "never"}});
        let all = problems(&chart).join("\n");
        assert!(
            all.contains("unknown field \"spec.targetNameSpace\""),
            "{all}"
        );
        assert!(
            all.contains("spec.bootstrap: Invalid value: must be of type boolean"),
            "{all}"
        );
        assert!(
            all.contains("spec.failurePolicy: Unsupported value"),
            "{all}"
        );
    }
}
