//! Every reason an install would fail, found before anything changes.
//!
//! Pure functions over what was gathered: nothing here touches a host, and nothing is ever mended. A finding says what was seen, why it
//! matters, and which command mends it.

mod host;
mod network;
mod rke2;
mod site;

use serde::Serialize;

use crate::{
    Facts, Inventory,
    facts::{Probe, Reach},
};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Notice,
    /// The install can succeed, but something will be slow, tight or fragile.
    Warning,
    /// The install would fail.
    Error,
}

/// One thing that preflight found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// A stable name, such as `host.memory`, for scripts and documentation.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The host concerned; `None` for the site as a whole.
    pub host: Option<String>,
    /// What was seen.
    pub seen: String,
    /// Why it matters.
    pub why: String,
    /// The command that mends it, or what to do.
    pub remedy: String,
}

/// Groups findings that say the same of several hosts, so that five hosts are one line: each with its hosts, in the given order.
#[must_use]
pub fn grouped(findings: &[Finding]) -> Vec<(&Finding, Vec<&str>)> {
    let mut groups: Vec<(&Finding, Vec<&str>)> = Vec::new();
    let text = |finding: &Finding| {
        let Finding {
            id,
            severity,
            seen,
            why,
            remedy,
            ..
        } = finding.clone();
        (id, severity, seen, why, remedy)
    };
    for finding in findings {
        let known = groups
            .iter_mut()
            .find(|(other, hosts)| !hosts.is_empty() && text(other) == text(finding));
        match (known, finding.host.as_deref()) {
            (Some((_, hosts)), Some(host)) => hosts.push(host),
            (_, host) => groups.push((finding, host.into_iter().collect())),
        }
    }
    groups
}

/// What the bundle asks of the hosts.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// The bundle's platform: `linux/amd64`, or `all`.
    pub platform: String,
    /// The RKE2 release, such as `v1.36.4+rke2r1`.
    pub rke2_version: String,
    /// RKE2's `cni` key.
    pub cni: String,
    /// The compressed bytes of the images a node may come to hold.
    pub image_bytes: u64,
    /// The bytes of the RKE2 release's files.
    pub release_bytes: u64,
    /// The least number of hosts the edition is meant for.
    pub min_nodes: u32,
    /// Accept fewer hosts than that.
    pub allow_small: bool,
    /// The bytes of memory that the site's components request together, as far as they state it.
    pub memory: u64,
    /// Longhorn is among the components.
    pub longhorn: bool,
}

/// Everything that was gathered.
#[derive(Clone, Copy, Debug)]
pub struct Gathered<'a> {
    /// One per host that answered.
    pub facts: &'a [Facts],
    /// What each host could reach, by its name.
    pub probes: &'a [(String, Vec<Probe>)],
}

/// Collects findings.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        id: &'static str,
        severity: Severity,
        host: Option<&str>,
        texts: [String; 3],
    ) {
        let [seen, why, remedy] = texts;
        self.0.push(Finding {
            id,
            severity,
            host: host.map(str::to_owned),
            seen,
            why,
            remedy,
        });
    }
}

/// Returns every finding, the worst first.
#[must_use]
pub fn preflight(inventory: &Inventory, demands: &Demands, gathered: Gathered<'_>) -> Vec<Finding> {
    let mut findings = Findings::default();
    for facts in gathered.facts {
        host::machine(&mut findings, facts, demands);
        host::kernel(&mut findings, facts);
        host::disks(&mut findings, facts, demands);
        host::software(&mut findings, facts, demands);
        rke2::found(&mut findings, facts, inventory, demands);
        network::host(&mut findings, facts, inventory);
    }
    network::between(&mut findings, inventory, gathered);
    site::nodes(&mut findings, inventory, demands);
    site::memory(&mut findings, inventory, gathered.facts, demands);
    site::unique(&mut findings, gathered.facts);
    site::clusters(&mut findings, gathered.facts);
    let mut findings = findings.0;
    findings.sort_by(|a, b| {
        b.severity
            .cmp(&a.severity)
            .then_with(|| (&a.host, a.id).cmp(&(&b.host, b.id)))
    });
    findings
}

/// Returns what each host should try to reach: RKE2's TCP ports on the nodes that will have them open.
///
/// UDP (the overlay network) cannot be tried without a listener; its findings come from the firewall's state instead.
#[must_use]
pub fn probe_targets(inventory: &Inventory, host: &str, demands: &Demands) -> Vec<(String, u16)> {
    let own = inventory.hosts.iter().find(|other| other.name == host);
    let mut targets = Vec::new();
    for other in inventory.hosts.iter().filter(|other| other.name != host) {
        let Some(address) = other.node_address() else {
            continue;
        };
        let ports = network::ports(own.map(|own| own.role), other.role, &demands.cni);
        targets.extend(ports.into_iter().map(|port| (address.clone(), port)));
    }
    targets
}

fn blocked(probe: &Probe) -> bool {
    probe.reach == Reach::Blocked
}

/// Shows a number of bytes as people do, in powers of 1024.
fn bytes(count: u64) -> String {
    const STEPS: [(&str, u64); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in STEPS {
        if count >> shift > 0 {
            let tenths = (u128::from(count) * 10) >> shift;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{count} B")
}

#[cfg(test)]
mod tests;
