//! Checks that what values and objects ask of a cluster is among the component's needs: volumes, certificates, monitors,
//! databases and every other kind that another component defines.
//!
//! The order of waves follows from needs alone, so a need that is not written is a component that starts too early. What
//! the charts themselves make of their values is not known here; the signs looked for are those that charts share.

use serde_json::{Map, Value};

use crate::catalog::Sourced;
use crate::{Component, Problem};

/// API groups of Kubernetes itself that have a dot in their name; any other such group is somebody's.
const BUILT_IN: [&str; 14] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// What was found that needs a provider.
struct Sign {
    path: String,
    what: &'static str,
    /// Any of these is enough.
    needs: Vec<String>,
}

pub(super) fn check(component: &Sourced<Component>, problems: &mut Vec<Problem>) {
    let value = &component.value;
    let map = |map: &Map<String, Value>| Value::Object(map.clone());
    let mut signs: Vec<(Option<&str>, Sign)> = Vec::new();
    let see = |signs: &mut Vec<_>, with, path: &str, tree: &Value| {
        let mut found = Vec::new();
        scan(tree, path, &mut found);
        signs.extend(found.into_iter().map(|sign| (with, sign)));
    };
    see(&mut signs, None, "values", &map(&value.values));
    for (site, values) in &value.site_values {
        see(
            &mut signs,
            None,
            &format!("siteValues.{site}"),
            &map(values),
        );
    }
    for with in &value.values_with {
        let path = format!("valuesWith.{}", with.component);
        see(
            &mut signs,
            Some(with.component.as_str()),
            &path,
            &map(&with.values),
        );
    }
    for (index, entry) in value.objects.iter().enumerate() {
        for (path, object) in super::objects::places(index, entry) {
            see(&mut signs, None, &path, &map(object));
            signs.extend(kind(value, object, &path).map(|sign| (None, sign)));
        }
    }
    for (with, sign) in signs {
        let beside = with
            .and_then(|with| value.needs_with.get(with))
            .into_iter()
            .flatten();
        let mut known = value.needs.iter().chain(&value.provides).chain(beside);
        if known.any(|known| sign.needs.contains(known)) {
            continue;
        }
        let list = with.map_or_else(
            || "`needs`".to_owned(),
            |with| format!("`needsWith.{with}`"),
        );
        let (path, wanted) = (&sign.path, &sign.needs[0]);
        let steps: Vec<&str> = path.split('.').collect();
        problems.push(
            component
                .problem(
                    &steps,
                    format!(
                        "`{path}` asks for {}, but `{}` does not need `{wanted}`",
                        sign.what, value.name
                    ),
                )
                .remedy(format!("add `{wanted}` to {list}")),
        );
    }
}

/// Looks for what charts' values, and objects, ask for by keys that mean the same everywhere.
fn scan(tree: &Value, path: &str, found: &mut Vec<Sign>) {
    match tree {
        Value::Object(entries) => {
            for (key, value) in entries {
                let path = format!("{path}.{key}");
                if let Some((what, needs)) = sign(key, value) {
                    found.push(Sign {
                        path: path.clone(),
                        what,
                        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
                    });
                }
                scan(value, &path, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                scan(item, &format!("{path}.{index}"), found);
            }
        }
        _ => {}
    }
}

fn sign(key: &str, value: &Value) -> Option<(&'static str, &'static [&'static str])> {
    const VOLUME: (&str, &[&str]) = ("a volume", &["storage"]);
    const CERTIFICATE: (&str, &[&str]) = ("a certificate", &["certs", "crd:cert-manager.io"]);
    const MONITOR: (&str, &[&str]) = ("a monitor", &["crd:monitoring.coreos.com", "monitoring"]);
    let text = value
        .as_str()
        .is_some_and(|text| !text.is_empty() && text != "-");
    let on = *value == Value::Bool(true) || value["enabled"] == true;
    match key {
        "storageClass" | "storageClassName" if text => Some(VOLUME),
        "volumeClaimTemplate" | "volumeClaimTemplates" if !value.is_null() => Some(VOLUME),
        "persistence" | "persistentVolume" if on => Some(VOLUME),
        "type" if value == "persistentVolumeClaim" => Some(VOLUME),
        "cert-manager.io/cluster-issuer" | "cert-manager.io/issuer" => Some(CERTIFICATE),
        "certManager" | "certmanager" if on => Some(CERTIFICATE),
        "serviceMonitor" | "podMonitor" | "prometheusRule" if on => Some(MONITOR),
        _ => None,
    }
}

/// Returns what an object's own kind needs.
fn kind(component: &Component, object: &Map<String, Value>, path: &str) -> Option<Sign> {
    let group = group(object)?;
    let path = format!("{path}.apiVersion");
    let own = component
        .objects
        .iter()
        .flat_map(crate::ObjectEntry::objects)
        .any(|object| {
            object
                .get("kind")
                .is_some_and(|kind| kind == "CustomResourceDefinition")
                && object
                    .get("spec")
                    .is_some_and(|spec| spec["group"] == group)
        });
    if object
        .get("kind")
        .is_some_and(|kind| kind == "PersistentVolumeClaim")
    {
        return Some(Sign {
            path,
            what: "a volume",
            needs: vec!["storage".to_owned()],
        });
    }
    if own || !group.contains('.') || BUILT_IN.contains(&group) {
        return None;
    }
    let mut needs = vec![format!("crd:{group}")];
    let what = match group {
        "cert-manager.io" => {
            needs.push("certs".to_owned());
            "a certificate or an issuer"
        }
        "monitoring.coreos.com" => {
            needs.push("monitoring".to_owned());
            "a monitor"
        }
        "postgresql.cnpg.io" => "a database",
        "argoproj.io" => {
            needs.push("gitops".to_owned());
            "an object of Argo's"
        }
        _ => "an object that another component defines",
    };
    Some(Sign { path, what, needs })
}

/// Returns an object's API group; the core group has none.
fn group(object: &Map<String, Value>) -> Option<&str> {
    let version = object.get("apiVersion")?.as_str()?;
    Some(version.split_once('/').map_or("", |(group, _)| group))
}
