//! What a chart's values refer to and do not bring: Secrets, storage classes, ingress classes, issuers, kinds of other charts.
//!
//! Pods that refer to what is not there do not start, volumes of an unknown class stay pending, and a chart that makes an object of a kind
//! nobody serves cannot be applied. Templates cannot be run here, so values are read by the names that charts agree on. Parts that are
//! switched off (`enabled: false`) are not looked at.

use serde_json::{Map, Value};

use super::custom;
use super::store::State;

/// What keeps a release from working.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unmet {
    /// It cannot be applied at all.
    pub(crate) kinds: Vec<String>,
    /// It is applied, and waits.
    pub(crate) waits: Vec<String>,
}

/// Finds what the values of a release in `namespace` refer to in vain.
pub(crate) fn unmet(state: &State, namespace: &str, values: &Value) -> Unmet {
    let mut found = Unmet::default();
    if let Value::Object(map) = values {
        look(&Look { state, namespace }, "", map, &mut found);
    }
    found
}

struct Look<'a> {
    state: &'a State,
    namespace: &'a str,
}

impl Look<'_> {
    fn secret(&self, name: &str, key: Option<&str>, place: &str, found: &mut Unmet) {
        let secret = self
            .state
            .objects
            .get(&format!("/secrets/{}/{name}", self.namespace));
        match (secret, key) {
            (None, _) => found.waits.push(format!(
                "CreateContainerConfigError: secret {name:?} not found ({place})"
            )),
            (Some(secret), Some(key)) if secret["data"][key].is_null() => {
                found.waits.push(format!(
                    "CreateContainerConfigError: couldn't find key {key} in Secret {}/{name} ({place})",
                    self.namespace
                ));
            }
            _ => {}
        }
    }

    fn there(&self, key: &str, what: &str, place: &str, found: &mut Unmet) {
        if !self.state.objects.contains_key(key) {
            found.waits.push(format!("{what} ({place})"));
        }
    }
}

fn look(this: &Look<'_>, path: &str, map: &Map<String, Value>, found: &mut Unmet) {
    if map.get("enabled") == Some(&Value::Bool(false)) {
        return;
    }
    for (key, value) in map {
        let place = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        entry(this, path, key, value, &place, found);
        match value {
            Value::Object(inner) => look(this, &place, inner, found),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let Value::Object(inner) = item {
                        look(this, &format!("{place}[{index}]"), inner, found);
                    }
                }
            }
            _ => {}
        }
    }
}

fn entry(this: &Look<'_>, path: &str, key: &str, value: &Value, place: &str, found: &mut Unmet) {
    let lower = key.to_ascii_lowercase();
    if let Value::String(text) = value {
        if text.is_empty() {
            return;
        }
        if lower.ends_with("existingsecret") || lower.ends_with("existingsecretname") {
            this.secret(text, None, place, found);
        } else if matches!(key, "storageClass" | "storageClassName") && text != "-" {
            let class = format!("storage.k8s.io/storageclasses//{text}");
            let what = format!("storageclass.storage.k8s.io {text:?} not found");
            this.there(&class, &what, place, found);
        } else if key == "ingressClassName" || (key == "className" && path.ends_with("ingress")) {
            let class = format!("networking.k8s.io/ingressclasses//{text}");
            let what = format!("no ingress controller answers to class {text:?}");
            this.there(&class, &what, place, found);
        } else if key == "cert-manager.io/cluster-issuer" {
            let issuer = format!("cert-manager.io/clusterissuers//{text}");
            let what = format!("clusterissuer.cert-manager.io {text:?} not found");
            this.there(&issuer, &what, place, found);
        }
        return;
    }
    match (key, value) {
        ("secretKeyRef" | "secretRef", Value::Object(reference)) => {
            let name = reference.get("name").and_then(Value::as_str);
            let optional = reference.get("optional") == Some(&Value::Bool(true));
            if let Some(name) = name.filter(|_| !optional) {
                let wanted = reference.get("key").and_then(Value::as_str);
                this.secret(name, wanted, place, found);
            }
        }
        ("imagePullSecrets", Value::Array(names)) => {
            for name in names {
                if let Some(name) = name.as_str().or_else(|| name["name"].as_str()) {
                    this.secret(name, None, place, found);
                }
            }
        }
        ("serviceMonitor" | "podMonitor" | "prometheusRule", Value::Object(monitor))
            if monitor.get("enabled") == Some(&Value::Bool(true))
                && !custom::serves(this.state, "monitoring.coreos.com") =>
        {
            found.kinds.push(format!(
                "The Kubernetes API could not find monitoring.coreos.com/{key} for requested resource. Make sure the CRD is installed on the destination cluster ({place})."
            ));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rke2::store::fake;

    #[test]
    fn what_values_refer_to_has_to_be_there() {
        let values = json!({
            "auth": {"existingSecret": "login", "existingSecretKey": "password"},
            "persistence": {"storageClass": "longhorn"},
            "ingress": {"enabled": true, "ingressClassName": "traefik", "annotations": {"cert-manager.io/cluster-issuer": "site-ca"}},
            "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "value"}}}],
            "metrics": {"serviceMonitor": {"enabled": true}},
            "off": {"enabled": false, "existingSecret": "never"},
        });
        let mut state = fake::empty();
        let found = unmet(&state, "app", &values);
        assert_eq!(found.kinds.len(), 1, "{found:?}");
        let waits = found.waits.join("\n");
        for words in [
            "secret \"login\" not found (auth.existingSecret)",
            "storageclass.storage.k8s.io \"longhorn\"",
            "answers to class \"traefik\"",
            "\"site-ca\" not found",
            "secret \"token\" not found",
        ] {
            assert!(waits.contains(words), "{words}: {waits}");
        }
        assert_eq!(found.waits.len(), 5, "{waits}");

        let mut put = |object| custom::put(&mut state, "app", object).unwrap();
        put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "app"}}));
        put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}}));
        put(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "data": {"other": "eA=="}}),
        );
        put(
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "longhorn"}}),
        );
        put(
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "traefik"}}),
        );
        put(
            json!({"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": "site-ca"}}),
        );
        custom::brought_by(&mut state, "kube-prometheus-stack", &Value::Null).unwrap();
        let found = unmet(&state, "app", &values);
        assert_eq!(found.kinds, Vec::<String>::new());
        assert_eq!(found.waits.len(), 1, "{found:?}");
        assert!(
            found.waits[0].contains("couldn't find key value"),
            "{found:?}"
        );
    }
}
