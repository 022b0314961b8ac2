//! config.yaml: what RKE2 is told on each node.
//!
//! Layers, the later wins: the edition's keys for all, for the role; the inventory's `cluster.config`, the role's, the host's; last the
//! keys that are ours alone, which the inventory's parser refuses. The file holds no secret: a joiner reads the token from a file of its own.

use airgap_manifests::{ResolvedEdition, Rke2Config, SiteKind};
use serde_json::{Map, Value, json};

use super::{CONFIG_PATH, NodeFile, TOKEN_PATH, yaml};
use crate::{Host, Inventory, Result, Role};

/// How a node comes into the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It founds the cluster: no `server` key, and RKE2 makes the token.
    Founds,
    /// It registers at this address (`host`, without scheme and port).
    Joins(String),
}

/// Renders config.yaml for one host; `decided` are the keys of the edition's components and the kind of site.
pub fn config(
    inventory: &Inventory,
    edition: &ResolvedEdition,
    decided: &Rke2Config,
    runtime_image: &str,
    host: &Host,
    entry: &Entry,
) -> Result<NodeFile> {
    let (role_decided, role_site) = match host.role {
        Role::Server => (&decided.server, &inventory.cluster.server_config),
        Role::Agent => (&decided.agent, &inventory.cluster.agent_config),
    };
    let mut keys = Map::new();
    if host.role == Role::Server {
        keys.insert("cni".to_owned(), json!(edition.rke2.cni));
        keys.insert("ingress-controller".to_owned(), json!(edition.rke2.ingress));
    }
    let ours = ours(inventory, runtime_image, host, entry);
    for layer in [
        &decided.all,
        role_decided,
        &inventory.cluster.config,
        role_site,
        &host.config,
        &ours,
    ] {
        for (key, value) in layer {
            // RKE2's keys are flat: a later layer replaces a list, and null takes a key away
            if value.is_null() {
                keys.remove(key);
            } else {
                keys.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(NodeFile::new(
        CONFIG_PATH,
        0o600,
        yaml(&Value::Object(keys))?,
    ))
}

/// The keys that decide how nodes find their images and each other.
fn ours(
    inventory: &Inventory,
    runtime_image: &str,
    host: &Host,
    entry: &Entry,
) -> Map<String, Value> {
    let mut keys = Map::new();
    let mut set = |key: &str, value: Value| {
        keys.insert(key.to_owned(), value);
    };
    // without these two, what the registry lacks is fetched from docker.io: the runtime first of all
    set("runtime-image", json!(runtime_image));
    set("disable-default-registry-endpoint", json!(true));
    // on AWS the cloud controller finds an instance by the name that the cloud gave it
    if inventory.site != SiteKind::Aws {
        set("node-name", json!(host.name));
    }
    if let Some(ip) = host.node_ip {
        set("node-ip", json!(ip.to_string()));
    }
    if !host.labels.is_empty() {
        set(
            "node-label",
            host.labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
        );
    }
    if !host.taints.is_empty() {
        set(
            "node-taint",
            host.taints
                .iter()
                .map(|taint| taint.as_str().to_owned())
                .collect(),
        );
    }
    if host.role == Role::Server {
        set("tls-san", sans(inventory).into());
    }
    if let Entry::Joins(address) = entry {
        set(
            "server",
            json!(format!("https://{}:9345", bracketed(address))),
        );
        set("token-file", json!(TOKEN_PATH));
    }
    keys
}

/// Every name and address under which the API is reached.
fn sans(inventory: &Inventory) -> Vec<String> {
    let mut sans: Vec<String> = inventory.endpoint().into_iter().collect();
    sans.extend(inventory.network.api_vip.map(|vip| vip.to_string()));
    sans.extend(inventory.cluster.tls_sans.iter().cloned());
    let mut seen = std::collections::BTreeSet::new();
    sans.retain(|san| seen.insert(san.clone()));
    sans
}

/// Writes an address as URLs need it.
#[must_use]
pub fn bracketed(address: &str) -> String {
    if address.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("[{address}]")
    } else {
        address.to_owned()
    }
}

/// Reads how a node's present config.yaml makes it enter; `None` when it is not one of ours.
pub fn entry_of(content: &[u8]) -> Option<Entry> {
    let text = std::str::from_utf8(content).ok()?;
    let keys: Value = serde_saphyr::from_str(text).ok()?;
    keys.get("runtime-image")?;
    let Some(server) = keys.get("server").and_then(Value::as_str) else {
        return Some(Entry::Founds);
    };
    let address = server.strip_prefix("https://")?.strip_suffix(":9345")?;
    Some(Entry::Joins(address.trim_matches(['[', ']']).to_owned()))
}
