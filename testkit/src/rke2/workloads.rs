//! Turns workloads into pods on nodes, and pods back into workload status.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::api;
use super::chart::Workload;
use super::fail::{Context as _, Result};
use super::kinds;
use super::nodes;
use super::server::Server;
use super::store::State;

/// Label of the pods of one workload.
const OWNER: &str = "standin.airgap/workload";

/// Puts a release's workloads into the cluster; those it had before and has no more go.
pub(crate) fn put(
    state: &mut State,
    release: &str,
    namespace: &str,
    workloads: &[Workload],
    cni: bool,
) -> Result<()> {
    let label = |object: &Value| {
        object["metadata"]["labels"]["standin.airgap/release"] == format!("{namespace}.{release}")
    };
    let names: Vec<&str> = workloads
        .iter()
        .map(|workload| workload.name.as_str())
        .collect();
    let gone: Vec<String> = state
        .objects
        .iter()
        .filter(|(key, object)| {
            (key.starts_with("apps/") || key.starts_with("batch/")) && label(object)
        })
        .filter(|(_, object)| {
            !names.contains(&object["metadata"]["name"].as_str().unwrap_or_default())
        })
        .map(|(key, _)| key.clone())
        .collect();
    for key in gone {
        state.objects.remove(&key);
    }
    for workload in workloads {
        let kind_name = if workload.kind == "Pod" {
            "Deployment"
        } else {
            workload.kind.as_str()
        };
        let kind = kinds::by_kind(kind_name).context(format!("no kind {kind_name}"))?;
        let key = kind.key(namespace, &workload.name);
        let containers: Vec<Value> = workload
            .images
            .iter()
            .enumerate()
            .map(|(index, image)| json!({"name": format!("c{index}"), "image": image}))
            .collect();
        let mut object = state
            .objects
            .get(&key)
            .cloned()
            .unwrap_or_else(|| json!({"status": {}}));
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind_name.into();
        object["metadata"]["name"] = workload.name.clone().into();
        object["metadata"]["namespace"] = namespace.into();
        object["metadata"]["labels"] = json!({"standin.airgap/release": format!("{namespace}.{release}"), "standin.airgap/cni": cni.to_string()});
        let spec = json!({"replicas": 1, "template": {"spec": {"containers": containers, "nodeSelector": workload.node_selector}}});
        if object["spec"] != spec {
            // what its pods are was said of another generation
            object["status"]["standinReady"] = false.into();
        }
        object["spec"] = spec;
        api::store(state, &kind, &key, object);
    }
    Ok(())
}

/// Removes everything a release put there.
pub(crate) fn remove(state: &mut State, release: &str, namespace: &str) -> Result<()> {
    put(state, release, namespace, &[], false)
}

/// One pass: pods for every workload, status from their pods.
pub(crate) async fn tick(server: &Server) -> Result<()> {
    server.peers.commit(reconcile).await
}

fn reconcile(state: &mut State) -> Result<()> {
    let nodes: Vec<Value> = state.under("/nodes/").cloned().collect();
    let mut wanted: BTreeMap<String, String> = BTreeMap::new();
    for name in ["Deployment", "DaemonSet", "StatefulSet", "Job"] {
        let kind = kinds::by_kind(name).context(format!("no kind {name}"))?;
        let all: Vec<Value> = state.under(&kind.prefix(None)).cloned().collect();
        for object in all {
            let (namespace, own) = (
                text(&object["metadata"]["namespace"]),
                text(&object["metadata"]["name"]),
            );
            let owner = format!("{}.{namespace}.{own}", kind.plural);
            let images = nodes::images(&object["spec"]["template"]);
            if images.is_empty() {
                continue;
            }
            for node in place(&object, name, &nodes) {
                let pod = format!("{own}-{node}");
                wanted.insert(
                    kinds::by_kind("Pod")
                        .context("no kind Pod")?
                        .key(&namespace, &pod),
                    owner.clone(),
                );
                let mut labels = Map::new();
                labels.insert(OWNER.into(), owner.clone().into());
                labels.insert(
                    "standin.airgap/cni".into(),
                    object["metadata"]["labels"]["standin.airgap/cni"].clone(),
                );
                nodes::upsert_pod(state, &namespace, &pod, &node, &images, &labels)?;
            }
            status(state, &kind, &namespace, &own, &owner, &object);
        }
    }
    state.objects.retain(|key, object| {
        !key.starts_with("/pods/")
            || object["metadata"]["labels"][OWNER].is_null()
            || wanted.contains_key(key)
    });
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The nodes a workload's pods go to: all for a DaemonSet, else one that is Ready, an agent if there is one.
fn place(object: &Value, kind: &str, nodes: &[Value]) -> Vec<String> {
    let selector = object["spec"]["template"]["spec"]["nodeSelector"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let fits = |node: &&Value| {
        selector
            .iter()
            .all(|(key, value)| node["metadata"]["labels"][key] == *value)
    };
    let mut fitting: Vec<&Value> = nodes.iter().filter(fits).collect();
    if kind == "DaemonSet" {
        return fitting
            .iter()
            .map(|node| text(&node["metadata"]["name"]))
            .collect();
    }
    fitting.retain(|node| nodes::ready(node));
    let server = |node: &Value| {
        !node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"].is_null()
    };
    if fitting.iter().any(|node| !server(node)) {
        fitting.retain(|node| !server(node));
    }
    // spread by name, so that every node gets to pull something
    let seed: usize = text(&object["metadata"]["name"])
        .bytes()
        .map(usize::from)
        .sum();
    fitting
        .get(seed % fitting.len().max(1))
        .map(|node| text(&node["metadata"]["name"]))
        .into_iter()
        .collect()
}

fn status(
    state: &mut State,
    kind: &kinds::Kind,
    namespace: &str,
    name: &str,
    owner: &str,
    object: &Value,
) {
    let pods: Vec<&Value> = state
        .under("/pods/")
        .filter(|pod| pod["metadata"]["labels"][OWNER] == owner)
        .collect();
    let running = pods
        .iter()
        .filter(|pod| pod["status"]["phase"] == "Running")
        .count();
    let all = !pods.is_empty() && running == pods.len();
    let reason = pods.iter().find_map(|pod| waiting(pod)).unwrap_or_default();
    let mut object = object.clone();
    object["status"] = match kind.kind.as_str() {
        "DaemonSet" => json!({"desiredNumberScheduled": pods.len(), "numberReady": running}),
        "Job" => {
            json!({"succeeded": usize::from(all), "conditions": [{"type": "Complete", "status": if all { "True" } else { "False" }}]})
        }
        _ => json!({"replicas": pods.len(), "readyReplicas": running, "availableReplicas": running,
            "conditions": [{"type": "Available", "status": if all { "True" } else { "False" }, "message": reason}]}),
    };
    object["status"]["standinReady"] = all.into();
    object["status"]["standinReason"] = reason.into();
    let key = kind.key(namespace, name);
    api::store(state, kind, &key, object);
}

/// Why a pod does not run, if it said so.
fn waiting(pod: &Value) -> Option<String> {
    let containers = pod["status"]["containerStatuses"].as_array()?;
    containers.iter().find_map(|container| {
        let state = &container["state"]["waiting"];
        Some(format!(
            "{}: {}",
            state["reason"].as_str()?,
            state["message"].as_str().unwrap_or_default()
        ))
    })
}

/// Whether everything of a release runs, and if not, why.
pub(crate) fn health(state: &State, release: &str, namespace: &str) -> (bool, String) {
    let mine = state.objects.iter().filter(|(key, object)| {
        (key.starts_with("apps/") || key.starts_with("batch/"))
            && object["metadata"]["labels"]["standin.airgap/release"]
                == format!("{namespace}.{release}")
    });
    let mut reason = String::new();
    let mut all = true;
    for (_, object) in mine {
        if object["status"]["standinReady"] != true {
            all = false;
            reason = text(&object["status"]["standinReason"]);
        }
    }
    (all, reason)
}
