//! What is on a host already: RKE2, its packages, another Kubernetes.

use super::{Demands, Findings, Severity};
use crate::{Facts, Inventory, Role};

/// RKE2, or another Kubernetes, that is there already.
pub(super) fn found(
    findings: &mut Findings,
    facts: &Facts,
    inventory: &Inventory,
    demands: &Demands,
) {
    use Severity::Error;
    let host = Some(facts.host.as_str());
    let rpms: Vec<&str> = ["rke2-common", "rke2-server", "rke2-agent"]
        .into_iter()
        .filter(|name| facts.packages.iter().any(|package| package == name))
        .collect();
    if !rpms.is_empty() {
        findings.add(
            "host.rke2-rpm",
            Error,
            host,
            [
                format!("the package {} is installed", rpms.join(", ")),
                "RKE2's installer refuses to mix packages and the tarball".to_owned(),
                format!(
                    "dnf remove {} (this removes RKE2 from the host)",
                    rpms.join(" ")
                ),
            ],
        );
    }
    if facts
        .units
        .get("k3s.service")
        .is_some_and(|unit| unit.active == "active")
    {
        findings.add(
            "host.other-kubernetes",
            Error,
            host,
            [
                "k3s runs here".to_owned(),
                "it and RKE2 use the same ports and networks".to_owned(),
                "k3s-uninstall.sh, if nothing on it is needed any more".to_owned(),
            ],
        );
    }
    if let Some(version) = facts
        .rke2
        .version
        .as_deref()
        .filter(|version| *version != demands.rke2_version)
    {
        findings.add("host.rke2-version", Error, host, [
            format!("RKE2 {version} is installed"),
            format!("the bundle brings {}, and install does not change a running version", demands.rke2_version),
            "use the bundle of that version, or remove RKE2 with `rke2-uninstall.sh` if nothing on it is needed any more".to_owned(),
        ]);
    }
    let role = inventory
        .hosts
        .iter()
        .find(|host| host.name == facts.host)
        .map(|host| host.role);
    if let (Some(is), Some(wanted)) = (facts.rke2.role, role)
        && is != wanted
    {
        findings.add(
            "host.role",
            Error,
            host,
            [
                format!("the host is a running {is}"),
                format!(
                    "the inventory says {wanted}, and a node's role cannot be changed in place"
                ),
                "correct `role`, or remove RKE2 with `rke2-uninstall.sh` and delete the node first"
                    .to_owned(),
            ],
        );
    }
    if facts.rke2.role.is_none() {
        let ours: &[u16] = if role == Some(Role::Server) {
            &[6443, 9345, 2379, 2380, 10250, 80, 443]
        } else {
            &[10250, 80, 443]
        };
        let taken: Vec<String> = ours
            .iter()
            .filter(|port| facts.listening.contains(port))
            .map(u16::to_string)
            .collect();
        if !taken.is_empty() {
            findings.add(
                "host.ports",
                Error,
                host,
                [
                    format!("port {} is in use", taken.join(", ")),
                    "RKE2 and its ingress listen there".to_owned(),
                    format!(
                        "find and stop what listens: ss -ltnp '( sport = :{} )'",
                        taken.join(" or sport = :")
                    ),
                ],
            );
        }
    }
}
