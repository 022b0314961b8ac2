//! What holds for the hosts together.

use std::collections::BTreeMap;

use super::{Demands, Findings, Severity, bytes};
use crate::{Facts, Inventory};

/// Numbers of servers and hosts.
pub(super) fn nodes(findings: &mut Findings, inventory: &Inventory, demands: &Demands) {
    let (servers, hosts) = (inventory.servers().count(), inventory.hosts.len());
    if servers == 0 || servers % 2 == 0 {
        findings.add("site.servers", Severity::Error, None, [
            format!("{servers} servers"),
            "etcd needs a majority: an even number survives no more failures than one server fewer".to_owned(),
            "make it one, three or five hosts with `role: server`".to_owned(),
        ]);
    }
    if hosts < demands.min_nodes as usize {
        let severity = if demands.allow_small {
            Severity::Warning
        } else {
            Severity::Error
        };
        findings.add(
            "site.nodes",
            severity,
            None,
            [
                format!("{hosts} hosts"),
                format!(
                    "the edition is meant for {} or more: its services keep that many copies",
                    demands.min_nodes
                ),
                "add hosts, or accept less resilience with `--allow-small`".to_owned(),
            ],
        );
    }
}

/// What a node needs for itself, in bytes: RKE2, the system, and room for what nobody requests.
const MEMORY_OF_NODE: u64 = 2 << 30;

/// Whether the hosts together have the memory that the platform requests. Only a warning: what is stated are estimates, and where pods fit
/// is Kubernetes' to decide.
pub(super) fn memory(
    findings: &mut Findings,
    inventory: &Inventory,
    all: &[Facts],
    demands: &Demands,
) {
    // of a host that did not answer nothing is known
    if all.len() < inventory.hosts.len() {
        return;
    }
    let room: u64 = all
        .iter()
        .map(|facts| facts.memory.saturating_sub(MEMORY_OF_NODE))
        .fold(0, u64::saturating_add);
    if room < demands.memory {
        findings.add(
            "site.memory",
            Severity::Warning,
            None,
            [
                format!("{} of memory beside what the nodes need", bytes(room)),
                format!(
                    "the platform's pods request {}: some would stay Pending",
                    bytes(demands.memory)
                ),
                "add hosts or memory, or request less under `values`".to_owned(),
            ],
        );
    }
}

/// Names and ids that no two hosts may share.
pub(super) fn unique(findings: &mut Findings, all: &[Facts]) {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut ids: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for facts in all {
        names.entry(&facts.hostname).or_default().push(&facts.host);
        match &facts.machine_id {
            Some(id) => ids.entry(id).or_default().push(&facts.host),
            None => findings.add(
                "host.machine-id",
                Severity::Error,
                Some(&facts.host),
                [
                    "/etc/machine-id is empty".to_owned(),
                    "the node is known by it".to_owned(),
                    "systemd-machine-id-setup".to_owned(),
                ],
            ),
        }
    }
    for (name, hosts) in names.into_iter().filter(|(_, hosts)| hosts.len() > 1) {
        findings.add(
            "site.hostnames",
            Severity::Error,
            None,
            [
                format!("hosts {} have the same host name {name}", hosts.join(", ")),
                "etcd and the kubelet take it for one machine".to_owned(),
                "hostnamectl set-hostname NAME, on all but one".to_owned(),
            ],
        );
    }
    for (_, hosts) in ids.into_iter().filter(|(_, hosts)| hosts.len() > 1) {
        findings.add(
            "site.machine-ids",
            Severity::Error,
            None,
            [
                format!("hosts {} have the same /etc/machine-id", hosts.join(", ")),
                "they were cloned; DHCP, the journal and storage take them for one machine"
                    .to_owned(),
                "rm /etc/machine-id && systemd-machine-id-setup && reboot, on all but one"
                    .to_owned(),
            ],
        );
    }
}

/// Hosts that already belong to different clusters.
pub(super) fn clusters(findings: &mut Findings, all: &[Facts]) {
    let mut clusters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for facts in all.iter().filter(|facts| facts.rke2.active) {
        if let Some(ca) = &facts.rke2.cluster_ca {
            clusters.entry(ca).or_default().push(&facts.host);
        }
    }
    if clusters.len() > 1 {
        let groups: Vec<String> = clusters.values().map(|hosts| hosts.join(", ")).collect();
        findings.add("site.clusters", Severity::Error, None, [
            format!("these hosts run in different clusters: {}", groups.join(" | ")),
            "an inventory describes one cluster, and nothing is joined or split by guessing".to_owned(),
            "correct the inventory, or remove RKE2 from the hosts that do not belong: rke2-uninstall.sh".to_owned(),
        ]);
    }
}
