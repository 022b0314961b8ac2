//! What the installer writes: files for the nodes and objects for the cluster, from an inventory, an edition and nothing else.
//!
//! Everything here is pure: the same inputs give the same bytes, so a second run can tell that nothing has changed. Secrets come in as
//! values and leave only inside what must hold them; nothing here is ever shown or logged.

pub mod argocd;
pub mod config;
pub mod manifests;
pub mod registries;
pub mod values;

use camino::Utf8Path;
use serde_json::Value;

/// Where RKE2 looks for its configuration.
pub const RKE2_FOLDER: &str = "/etc/rancher/rke2";
/// RKE2's configuration file.
pub const CONFIG_PATH: &str = "/etc/rancher/rke2/config.yaml";
/// The mirrors and credentials for containerd.
pub const REGISTRIES_PATH: &str = "/etc/rancher/rke2/registries.yaml";
/// The CA of the site's registry, on every node.
pub const CA_PATH: &str = "/etc/rancher/rke2/airgap-registry-ca.pem";
/// The token of a server or agent that joins.
pub const TOKEN_PATH: &str = "/etc/rancher/rke2/airgap-token";
/// Where RKE2 applies manifests from, on servers.
pub const MANIFESTS_FOLDER: &str = "/var/lib/rancher/rke2/server/manifests";

/// The first line of every file that the installer owns.
const HEADER: &str = "# written by airgap; change the inventory and run `airgap install` again, changes made here are lost\n";

/// One file of a node, with its content.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeFile {
    /// The absolute path.
    pub path: camino::Utf8PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// The content; may hold secrets.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for NodeFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeFile")
            .field("path", &self.path)
            .field("mode", &format_args!("{:04o}", self.mode))
            .field("bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}

impl NodeFile {
    fn new(path: impl AsRef<Utf8Path>, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            mode,
            content: content.into(),
        }
    }
}

/// Writes a value as YAML with sorted keys, under the header.
fn yaml(value: &Value) -> crate::Result<String> {
    Ok(format!(
        "{HEADER}{}",
        airgap_manifests::to_yaml(value).map_err(manifests::rendering)?
    ))
}

/// Tells whether every field of `wanted` is in `found` as wanted. What the API server adds does not count; lists must agree in full.
#[must_use]
pub fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            found
                .get(key)
                .map_or_else(|| is_empty(value), |found| covers(found, value))
        }),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found
                    .iter()
                    .zip(wanted)
                    .all(|(found, wanted)| covers(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

/// The API server drops what is empty, and a controller that writes an object back what is off: RKE2's helm controller does so once, when it
/// claims a HelmChart.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_server_adds_is_no_difference_but_what_it_lacks_is() {
        let wanted = json!({"spec": {"a": 1, "empty": {}, "list": [{"x": 1}]}});
        assert!(covers(
            &json!({"spec": {"a": 1, "list": [{"x": 1, "added": true}]}, "status": {}}),
            &wanted
        ));
        assert!(!covers(
            &json!({"spec": {"a": 2, "list": [{"x": 1}]}}),
            &wanted
        ));
        assert!(!covers(
            &json!({"spec": {"a": 1, "list": [{"x": 1}, {"x": 2}]}}),
            &wanted
        ));
        assert!(!covers(&json!({"spec": {"list": [{"x": 1}]}}), &wanted));
        assert!(covers(&json!({}), &json!({"createNamespace": false})));
        assert!(!covers(
            &json!({"createNamespace": true}),
            &json!({"createNamespace": false})
        ));
    }

    #[test]
    fn a_file_with_secrets_does_not_show_them() {
        let file = NodeFile::new("/etc/x", 0o600, "canary");
        assert!(!format!("{file:?}").contains("canary"));
    }
}
