//! What hosts must be able to reach: the registry, names, and each other.

use std::collections::BTreeMap;

use super::{Findings, Gathered, Severity, blocked};
use crate::{Facts, Inventory, Role, facts::RegistryAnswer};

/// Returns the TCP ports of a node of role `to` that a node of role `from` uses.
pub(super) fn ports(from: Option<Role>, to: Role, cni: &str) -> Vec<u16> {
    let mut ports = vec![10250];
    if to == Role::Server {
        ports.extend([6443, 9345]);
        if from == Some(Role::Server) {
            ports.extend([2379, 2380]);
        }
    }
    if cni == "cilium" {
        ports.push(4240);
    }
    ports
}

/// One host's own network, and its way to the registry.
pub(super) fn host(findings: &mut Findings, facts: &Facts, inventory: &Inventory) {
    use Severity::{Error, Warning};
    let host = Some(facts.host.as_str());
    if facts.default_route.is_none() {
        findings.add("host.default-route", Error, host, [
            "there is no default route".to_owned(),
            "RKE2 takes the node's address from it; it need not lead anywhere".to_owned(),
            "ip link add dummy0 type dummy; ip addr add 203.0.113.254/31 dev dummy0; ip link set dummy0 up; ip route add default via 203.0.113.255 dev dummy0 metric 1000".to_owned(),
        ]);
    }
    let loopback = |server: &String| server.starts_with("127.") || server == "::1";
    if facts.nameservers.is_empty() || facts.nameservers.iter().all(loopback) {
        let severity = if inventory.registry.addresses.is_empty() {
            Error
        } else {
            Warning
        };
        findings.add("host.resolv-conf", severity, host, [
            if facts.nameservers.is_empty() { "/etc/resolv.conf names no server".to_owned() } else { format!("/etc/resolv.conf names only {}", facts.nameservers.join(", ")) },
            "pods inherit it, and loopback is another place inside a pod: RKE2 then falls back to a server on the internet".to_owned(),
            "name the site's DNS server in /etc/resolv.conf, or set `cluster.config.resolv-conf` to a file that does".to_owned(),
        ]);
    }
    let wanted = inventory
        .hosts
        .iter()
        .find(|host| host.name == facts.host)
        .and_then(|host| host.node_ip);
    if let Some(ip) = wanted
        && !facts
            .addresses
            .iter()
            .any(|address| address.parse() == Ok(ip))
    {
        findings.add(
            "host.node-ip",
            Error,
            host,
            [
                format!("no interface has the address {ip}"),
                "the inventory gives it as `nodeIp`".to_owned(),
                format!(
                    "correct `nodeIp`; the host has {}",
                    facts.addresses.join(", ")
                ),
            ],
        );
    }
    registry(findings, facts, inventory);
    for (name, addresses) in &facts.resolved {
        if addresses.is_empty() && name.parse::<std::net::IpAddr>().is_err() {
            findings.add(
                "host.dns",
                Error,
                host,
                [
                    format!("DNS does not know {name}"),
                    "the node must find it by itself, and pods do not read /etc/hosts".to_owned(),
                    format!("add {name} to the site's DNS: getent -s hosts:dns ahosts {name}"),
                ],
            );
        }
    }
}

fn registry(findings: &mut Findings, facts: &Facts, inventory: &Inventory) {
    use Severity::{Error, Warning};
    let host = Some(facts.host.as_str());
    let endpoint = &inventory.registry.endpoint;
    for (via, answer) in &facts.registry {
        match answer {
            RegistryAnswer::Trusted => {}
            RegistryAnswer::ConnectedUnchecked => findings.add("host.registry-tls", Warning, host, [
                format!("{via} answers, and nothing on the host can check its certificate"),
                "a wrong certificate shows only when the first image is pulled".to_owned(),
                "install curl or openssl, to have it checked".to_owned(),
            ]),
            RegistryAnswer::Untrusted { detail } => findings.add("host.registry-tls", Error, host, [
                format!("the certificate of {endpoint} at {via} is not trusted: {detail}"),
                "no image can be pulled".to_owned(),
                "set `registry.caFile` to the CA that signed it: openssl s_client -showcerts -connect ".to_owned() + via + " </dev/null",
            ]),
            RegistryAnswer::UnknownName => findings.add("host.registry-dns", Error, host, [
                format!("DNS does not know {endpoint}"),
                "no image can be pulled; pods and containerd ask DNS, not /etc/hosts".to_owned(),
                "add it to the site's DNS, or set `registry.addresses` in the inventory".to_owned(),
            ]),
            RegistryAnswer::Unreachable { detail } => findings.add("host.registry", Error, host, [
                format!("{via} cannot be reached: {detail}"),
                "no image can be pulled".to_owned(),
                format!("open the way from the host to {endpoint}: curl -v https://{endpoint}/v2/"),
            ]),
        }
    }
}

/// The ways between nodes.
pub(super) fn between(findings: &mut Findings, inventory: &Inventory, gathered: Gathered<'_>) {
    let names: BTreeMap<String, &str> = inventory
        .hosts
        .iter()
        .filter_map(|host| Some((host.node_address()?, host.name.as_str())))
        .collect();
    for (from, probes) in gathered.probes {
        let mut closed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for probe in probes.iter().filter(|probe| blocked(probe)) {
            closed
                .entry(&probe.address)
                .or_default()
                .push(probe.port.to_string());
        }
        for (address, ports) in closed {
            let name = names.get(address).copied().unwrap_or(address);
            findings.add("network.ports", Severity::Error, Some(from), [
                format!("{name} ({address}) cannot be reached on port {}", ports.join(", ")),
                "the nodes of a cluster talk to each other on these ports".to_owned(),
                format!("open TCP {} from {from} to {name} in every firewall between; also UDP 8472 both ways", ports.join(", ")),
            ]);
        }
    }
}
