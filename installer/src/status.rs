//! What a cluster is and has, without changing anything: two questions to its hosts at most.

mod asking;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    health,
    kube::{ClusterState, NodeView},
    record::{Record, Release},
};

pub use asking::status;

/// The state of a site.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The cluster's name.
    pub cluster: String,
    /// The server that was asked; `None` when none runs this cluster.
    pub asked: Option<String>,
    /// What the site's record says is installed.
    pub installed: Option<Release>,
    /// What an installation has begun with, where that is another.
    pub begun: Option<Release>,
    /// Every host of the inventory, with its node.
    pub nodes: Vec<NodeStatus>,
    /// Applications that are not as they should be.
    pub unhealthy: Vec<ApplicationStatus>,
    /// How many Applications there are.
    pub applications: usize,
    /// The servers' certificates, the next to end first.
    pub certificates: Vec<CertificateStatus>,
    /// What could not be asked, and why.
    pub problems: Vec<String>,
}

impl Status {
    /// Tells whether everything asked is as it should be.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.asked.is_some()
            && self.problems.is_empty()
            && self.unhealthy.is_empty()
            && self.begun.is_none()
            && self.nodes.iter().all(|node| node.ready)
    }
}

/// One host and its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The host's name in the inventory, or the node's where no host has it.
    pub name: String,
    /// `server` or `agent`.
    pub role: String,
    /// RKE2's version, as the node reports it.
    pub version: Option<String>,
    /// Whether the node is Ready.
    pub ready: bool,
    /// Why it is not.
    pub reason: Option<String>,
}

/// One Application that is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApplicationStatus {
    /// Its name.
    pub name: String,
    /// What Argo CD says.
    pub reason: String,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// The file's name.
    pub name: String,
    /// The end of its validity.
    pub expires: Timestamp,
    /// Whole days until then; negative when it is past. RKE2 renews at a restart within the last 90.
    pub days_left: i64,
}

/// Returns when a PEM certificate ends, and the whole days until then.
pub(crate) fn certificate(name: &str, pem: &str, now: Timestamp) -> Option<CertificateStatus> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.trim_start().as_bytes()).ok()?;
    let ends = block.parse_x509().ok()?.validity().not_after.timestamp();
    let expires = Timestamp::from_second(ends).ok()?;
    Some(CertificateStatus {
        name: name.to_owned(),
        expires,
        days_left: (ends - now.as_second()).div_euclid(86_400),
    })
}

/// Returns the certificates of the state, the next to end first.
pub(crate) fn certificates(state: &ClusterState, now: Timestamp) -> Vec<CertificateStatus> {
    let mut found: Vec<_> = state
        .certificates
        .iter()
        .filter_map(|(name, pem)| certificate(name, pem, now))
        .collect();
    found.sort_by(|a, b| a.expires.cmp(&b.expires).then_with(|| a.name.cmp(&b.name)));
    found
}

/// Returns the Applications that are not well.
pub(crate) fn unhealthy(state: &ClusterState) -> Vec<ApplicationStatus> {
    let name = |application: &serde_json::Value| {
        application["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let mut ill: Vec<_> = state
        .applications
        .iter()
        .filter_map(|application| {
            Some(ApplicationStatus {
                name: name(application),
                reason: health::trouble(Some(application), airgap_manifests::Gate::Healthy)?,
            })
        })
        .collect();
    ill.sort_by(|a, b| a.name.cmp(&b.name));
    ill
}

/// Returns the record that the cluster's own Secret holds.
pub(crate) fn record_of(state: &ClusterState) -> Option<Record> {
    use secrecy::ExposeSecret;
    Record::parse(
        state
            .secret_value("kube-system", crate::record::RECORD_SECRET, "record")?
            .expose_secret(),
    )
}

/// Returns a node's status.
pub(crate) fn node(host: &str, role: String, node: Option<&NodeView<'_>>) -> NodeStatus {
    let ready = node.is_some_and(|node| node.condition("Ready"));
    NodeStatus {
        name: host.to_owned(),
        role,
        version: node.map(|node| node.version().to_owned()),
        reason: (!ready).then(|| {
            node.map_or_else(
                || "no node of the cluster has this host's name".to_owned(),
                NodeView::reason,
            )
        }),
        ready,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rubbish_is_no_certificate() {
        assert_eq!(
            certificate(
                "x.crt",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                Timestamp::UNIX_EPOCH
            ),
            None
        );
        assert_eq!(certificate("x.crt", "", Timestamp::UNIX_EPOCH), None);
    }
}
