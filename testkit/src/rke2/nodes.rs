//! The leader's view of nodes: passwords, registration, heartbeats, and which pods each has to run.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::api;
use super::fail::{Context as _, Fail, Result};
use super::kinds::{self, Kind};
use super::pull::sha256;
use super::server::Server;
use super::store::State;

/// After this many seconds without a word a node is NotReady.
const GRACE: i64 = 20;
/// A heartbeat is written down only this often, so that an idle cluster hardly writes.
const HEARTBEAT: i64 = 5;

fn kind(name: &str) -> Result<Kind> {
    kinds::by_kind(name).context(format!("no kind {name}"))
}

/// Remembers a node's password at first sight, and refuses another one after.
pub(crate) fn check_password(state: &mut State, claim: &Value) -> Result<()> {
    let node = claim["node"].as_str().context("no node name")?.to_owned();
    let hash =
        sha256(format!("{node} {}", claim["password"].as_str().unwrap_or_default()).as_bytes());
    let secret = kind("Secret")?;
    let name = format!("{node}.node-password.rke2");
    let key = secret.key("kube-system", &name);
    if let Some(old) = state.objects.get(&key) {
        if old["data"]["hash"] == api_base64(&hash) {
            return Ok(());
        }
        return Err(Fail::new(
            "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server node-passwd \
             entry, try enabling a unique node name with the --with-node-id flag",
        ));
    }
    let object = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": true,
        "metadata": {"name": name, "namespace": "kube-system"}, "data": {"hash": api_base64(&hash)}});
    api::store(state, &secret, &key, object);
    Ok(())
}

fn api_base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// One report of a node, and what it is to run.
pub(crate) async fn sync(server: &Server, report: &Value) -> Result<Value> {
    let name = report["node"].as_str().context("no node name")?.to_owned();
    let nodes = kind("Node")?;
    let pods = kind("Pod")?;
    let now = jiff::Timestamp::now().as_second();
    let known = server.get(&nodes, "", &name);
    let stale = known
        .as_ref()
        .is_none_or(|node| now - heartbeat(node) >= HEARTBEAT);
    let statuses = changed_pods(server, &pods, report);
    if stale
        || !statuses.is_empty()
        || known
            .as_ref()
            .is_some_and(|node| ready(node) != wanted_ready(server, &name))
    {
        let wanted = wanted_ready(server, &name);
        server
            .peers
            .commit(|state| {
                check_password(state, report)?;
                register(state, report, &name, wanted, now)?;
                for (key, status) in statuses {
                    if let Some(mut pod) = state.objects.get(&key).cloned() {
                        pod["status"] = status;
                        api::store(state, &pods, &key, pod);
                    }
                }
                Ok(())
            })
            .await?;
    }
    let run: Vec<Value> = server.peers.read(|state| {
        let mine = state.under("/pods/").filter(|pod| pod["spec"]["nodeName"] == name.as_str());
        mine.map(|pod| json!({"key": pods.key(text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"])),
            "images": images(pod), "policy": pod["spec"]["containers"][0]["imagePullPolicy"]}))
            .collect()
    });
    let servers: Vec<String> = server.peers.read(|state| {
        state
            .members
            .iter()
            .map(|member| member.address.clone())
            .collect()
    });
    Ok(json!({"pods": run, "servers": servers}))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Every image of a pod.
pub(crate) fn images(pod: &Value) -> Vec<String> {
    ["initContainers", "containers"]
        .iter()
        .flat_map(|field| pod["spec"][*field].as_array().into_iter().flatten())
        .filter_map(|container| container["image"].as_str().map(str::to_owned))
        .collect()
}

fn changed_pods(server: &Server, pods: &Kind, report: &Value) -> BTreeMap<String, Value> {
    let reported = report["pods"].as_object().into_iter().flatten();
    server.peers.read(|state| {
        reported
            .filter(|(key, status)| {
                key.starts_with(&pods.prefix(None))
                    && state
                        .objects
                        .get(*key)
                        .is_some_and(|pod| pod["status"] != **status)
            })
            .map(|(key, status)| (key.clone(), status.clone()))
            .collect()
    })
}

pub(crate) fn heartbeat(node: &Value) -> i64 {
    node["metadata"]["annotations"]["standin.airgap/heartbeat"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

pub(crate) fn ready(node: &Value) -> bool {
    node["status"]["conditions"].as_array().is_some_and(|all| {
        all.iter()
            .any(|one| one["type"] == "Ready" && one["status"] == "True")
    })
}

/// A node is Ready once the pods of its CNI run on it.
fn wanted_ready(server: &Server, node: &str) -> bool {
    server.peers.read(|state| {
        let mut cni = state
            .under("/pods/")
            .filter(|pod| {
                pod["spec"]["nodeName"] == node
                    && pod["metadata"]["labels"]["standin.airgap/cni"] == "true"
            })
            .peekable();
        cni.peek().is_some() && cni.all(|pod| pod["status"]["phase"] == "Running")
    })
}

/// Marks nodes NotReady that have not been heard of for a while.
pub(crate) fn expire(state: &mut State) -> Result<()> {
    let nodes = kind("Node")?;
    let now = jiff::Timestamp::now().as_second();
    let silent: Vec<(String, Value)> = state
        .under("/nodes/")
        .filter(|node| ready(node) && now - heartbeat(node) > GRACE)
        .map(|node| (nodes.key("", text(&node["metadata"]["name"])), node.clone()))
        .collect();
    for (key, mut node) in silent {
        node["status"]["conditions"] = conditions(
            false,
            "NodeStatusUnknown",
            "Kubelet stopped posting node status.",
            "Unknown",
        );
        api::store(state, &nodes, &key, node);
    }
    Ok(())
}

fn conditions(ready: bool, reason: &str, message: &str, off: &str) -> Value {
    json!([{"type": "Ready", "status": if ready { "True" } else { off }, "reason": reason, "message": message}])
}

fn register(state: &mut State, report: &Value, name: &str, ready: bool, now: i64) -> Result<()> {
    let nodes = kind("Node")?;
    let key = nodes.key("", name);
    let first = !state.objects.contains_key(&key);
    let mut node = state.objects.get(&key).cloned().unwrap_or_else(
        || json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}}),
    );
    if first {
        // labels and taints are RKE2's only at registration; afterwards they are the cluster's
        node["metadata"]["labels"] = report["labels"].clone();
        node["spec"]["taints"] = report["taints"].clone();
    }
    let external = node["spec"]["taints"]
        .as_array()
        .is_some_and(|all| all.iter().any(|taint| taint["key"] == UNINITIALIZED));
    if external && cloud_controller_runs(state) {
        if let Some(taints) = node["spec"]["taints"].as_array_mut() {
            taints.retain(|taint| taint["key"] != UNINITIALIZED);
        }
        if node["spec"]["providerID"].is_null() {
            node["spec"]["providerID"] = format!("rke2://{name}").into();
        }
    }
    let annotations = node["metadata"]["annotations"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    node["metadata"]["annotations"] = Value::Object(annotations);
    node["metadata"]["annotations"]["standin.airgap/heartbeat"] = now.to_string().into();
    if let Some(member) = report["etcd"].as_str() {
        node["metadata"]["annotations"]["etcd.rke2.cattle.io/node-name"] = member.into();
        node["metadata"]["annotations"]["etcd.rke2.cattle.io/node-address"] =
            report["address"].clone();
    }
    node["status"]["nodeInfo"] = report["info"].clone();
    node["status"]["addresses"] = json!([{"type": "InternalIP", "address": report["address"]}, {"type": "Hostname", "address": name}]);
    node["status"]["conditions"] = if ready {
        conditions(
            true,
            "KubeletReady",
            "kubelet is posting ready status",
            "False",
        )
    } else {
        let reason = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized";
        conditions(false, "KubeletNotReady", reason, "False")
    };
    if state
        .members
        .iter()
        .any(|member| member.node == name && !member.learner)
        && let Some(all) = node["status"]["conditions"].as_array_mut()
    {
        all.push(json!({"type": "EtcdIsVoter", "status": "True", "reason": "MemberNotLearner", "message": "Node is a voting member of the etcd cluster"}));
    }
    api::store(state, &nodes, &key, node);
    for (pod, image) in report["static"].as_object().into_iter().flatten() {
        upsert_pod(
            state,
            "kube-system",
            &format!("{pod}-{name}"),
            name,
            &[text(image).to_owned()],
            &Map::new(),
        )?;
    }
    Ok(())
}

/// The taint of nodes that wait for a cloud controller.
pub(crate) const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";

fn cloud_controller_runs(state: &State) -> bool {
    state.under("/pods/").any(|pod| {
        text(&pod["metadata"]["name"]).contains("cloud-controller-manager")
            && pod["status"]["phase"] == "Running"
    })
}

/// Puts a pod on a node, or leaves it as it is where nothing changed.
pub(crate) fn upsert_pod(
    state: &mut State,
    namespace: &str,
    name: &str,
    node: &str,
    images: &[String],
    labels: &Map<String, Value>,
) -> Result<()> {
    let pods = kind("Pod")?;
    let key = pods.key(namespace, name);
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(index, image)| json!({"name": format!("c{index}"), "image": image, "imagePullPolicy": "IfNotPresent"}))
        .collect();
    let mut pod = state.objects.get(&key).cloned().unwrap_or_else(
        || json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "status": {"phase": "Pending"}}),
    );
    pod["metadata"]["labels"] = Value::Object(labels.clone());
    if pod["spec"]["containers"] != json!(containers) {
        pod["status"] = json!({"phase": "Pending"});
    }
    pod["spec"] = json!({"nodeName": node, "containers": containers});
    api::store(state, &pods, &key, pod);
    Ok(())
}
