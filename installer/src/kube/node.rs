//! What a Node object tells.

use serde_json::Value;

/// A node as the API server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView<'a>(&'a Value);

impl<'a> NodeView<'a> {
    /// Wraps a Node object.
    #[must_use]
    pub fn new(node: &'a Value) -> Self {
        Self(node)
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Tells whether its condition `kind` is "True".
    #[must_use]
    pub fn condition(&self, kind: &str) -> bool {
        self.condition_object(kind)
            .is_some_and(|condition| condition["status"] == "True")
    }

    /// Returns what the kubelet says of why the node is not Ready.
    #[must_use]
    pub fn reason(&self) -> String {
        self.condition_object("Ready")
            .and_then(|condition| condition["message"].as_str())
            .unwrap_or("the node has not reported yet")
            .to_owned()
    }

    /// Tells whether the node holds a vote in etcd.
    #[must_use]
    pub fn is_voter(&self) -> bool {
        self.condition("EtcdIsVoter")
    }

    /// Returns the kubelet's version: RKE2's own.
    #[must_use]
    pub fn version(&self) -> &'a str {
        self.0["status"]["nodeInfo"]["kubeletVersion"]
            .as_str()
            .unwrap_or_default()
    }

    /// Tells whether the node is a server.
    #[must_use]
    pub fn is_server(&self) -> bool {
        self.0["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] == "true"
    }

    /// Returns its provider id, which a cloud controller sets.
    #[must_use]
    pub fn provider_id(&self) -> Option<&'a str> {
        self.0["spec"]["providerID"]
            .as_str()
            .filter(|id| !id.is_empty())
    }

    /// Returns its internal addresses.
    pub fn internal_ips(&self) -> impl Iterator<Item = &'a str> {
        let addresses = self.0["status"]["addresses"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        addresses
            .iter()
            .filter(|address| address["type"] == "InternalIP")
            .filter_map(|address| address["address"].as_str())
    }

    fn condition_object(&self, kind: &str) -> Option<&'a Value> {
        self.0["status"]["conditions"]
            .as_array()?
            .iter()
            .find(|condition| condition["type"] == kind)
    }
}
