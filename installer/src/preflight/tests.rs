//! Each finding from facts that call for it, and none from a host that is right.

use camino::Utf8Path;

use super::*;
use crate::facts::{Mount, Os, RegistryAnswer, Unit};

const INVENTORY: &str = "\
apiVersion: airgap/v1
kind: Inventory
metadata: {name: prod}
site: onprem
registry: {endpoint: harbor.corp.example, project: airgap, push: {username: admin, password: {env: PUSH}}}
hosts:
  - {name: cp1, role: server, ssh: {address: 10.0.0.1}}
  - {name: w1, role: agent, ssh: {address: 10.0.0.2}}
";
const GIB: u64 = 1 << 30;

fn inventory() -> Inventory {
    Inventory::from_yaml(INVENTORY, Utf8Path::new("hosts.yaml")).unwrap()
}

fn demands() -> Demands {
    Demands {
        platform: "linux/amd64".to_owned(),
        rke2_version: "v1.36.4+rke2r1".to_owned(),
        cni: "cilium".to_owned(),
        image_bytes: 4 * GIB,
        release_bytes: 35 << 20,
        min_nodes: 1,
        allow_small: false,
        memory: 0,
        longhorn: true,
    }
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

/// A host with nothing to complain about.
fn right(name: &str) -> Facts {
    let mount = |point: &str| Mount {
        mount_point: point.to_owned(),
        total: 100 * GIB,
        available: 50 * GIB,
        noexec: false,
    };
    let running = || Unit {
        active: "active".to_owned(),
        enabled: "enabled".to_owned(),
    };
    Facts {
        host: name.to_owned(),
        os: Os {
            id: "debian".to_owned(),
            version: "12".to_owned(),
            name: "Debian GNU/Linux 12".to_owned(),
        },
        arch: "amd64".to_owned(),
        hostname: name.to_owned(),
        machine_id: Some(format!("id-{name}")),
        systemd: true,
        cpus: 8,
        memory: 16 * GIB,
        mounts: [
            ("/var/lib/rancher", "/var"),
            ("/var/lib/kubelet", "/var"),
            ("/tmp", "/"),
            ("/opt", "/"),
        ]
        .map(|(path, point)| (path.to_owned(), mount(point)))
        .into(),
        default_route: Some("eth0".to_owned()),
        addresses: words(&["10.0.0.1"]),
        nameservers: words(&["10.0.0.53"]),
        programs: words(&[
            "bash",
            "curl",
            "iptables",
            "iscsiadm",
            "mount.nfs",
            "cryptsetup",
            "tar",
            "sha256sum",
        ]),
        modules: words(&["br_netfilter", "overlay", "vxlan"]),
        modules_known: true,
        cgroup_controllers: words(&["cpu", "pids"]),
        cgroup_version: 2,
        units: [("iscsid.service".to_owned(), running())].into(),
        registry: [(
            "harbor.corp.example:443".to_owned(),
            RegistryAnswer::Trusted,
        )]
        .into(),
        ..Facts::default()
    }
}

fn findings(facts: &[Facts], probes: &[(String, Vec<Probe>)], demands: &Demands) -> Vec<Finding> {
    preflight(&inventory(), demands, Gathered { facts, probes })
}

/// The findings after one change to a host that is right.
fn after(change: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Severity)> {
    let mut facts = right("cp1");
    change(&mut facts);
    findings(&[facts, right("w1")], &[], &demands())
        .iter()
        .map(|finding| (finding.id, finding.severity))
        .collect()
}

fn unit(facts: &mut Facts, name: &str, active: &str, enabled: &str) {
    facts.units.insert(
        name.to_owned(),
        Unit {
            active: active.to_owned(),
            enabled: enabled.to_owned(),
        },
    );
}

#[test]
fn hosts_that_are_right_have_no_findings() {
    assert_eq!(findings(&[right("cp1"), right("w1")], &[], &demands()), []);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table reads better than several")]
fn each_fault_has_its_finding_and_severity() {
    use Severity::{Error, Notice, Warning};
    type Change = fn(&mut Facts);
    let cases: &[(&'static str, Severity, Change)] = &[
        ("host.os", Error, |f| f.systemd = false),
        ("host.os", Notice, |f| f.os.id = "gentoo".to_owned()),
        ("host.arch", Error, |f| f.arch = "arm64".to_owned()),
        ("host.cpu", Error, |f| f.cpus = 1),
        ("host.cpu", Warning, |f| f.cpus = 2),
        ("host.memory", Error, |f| f.memory = 3 * GIB),
        ("host.memory", Warning, |f| f.memory = 4 * GIB),
        ("host.clock", Error, |f| {
            (f.clock_skew_ms, f.clock_error_ms) = (-6000, 900);
        }),
        ("host.cgroup", Error, |f| f.cgroup_controllers.clear()),
        ("host.modules", Error, |f| {
            f.modules.retain(|m| m != "overlay");
        }),
        ("host.modules", Warning, |f| {
            f.modules.retain(|m| m != "vxlan");
        }),
        ("host.modules", Warning, |f| {
            (f.modules_known, f.modules) = (false, words(&["br_netfilter", "vxlan"]));
        }),
        ("host.sysctl", Warning, |f| {
            f.sysctls.insert("vm.max_map_count".to_owned(), 65530);
        }),
        ("host.disk", Error, |f| {
            f.mounts.get_mut("/var/lib/rancher").unwrap().available = 7 * GIB;
        }),
        ("host.disk", Warning, |f| {
            f.mounts.get_mut("/var/lib/rancher").unwrap().available = 9 * GIB;
        }),
        ("host.tmp", Error, |f| {
            f.mounts.get_mut("/tmp").unwrap().available = 50 << 20;
        }),
        ("host.noexec", Error, |f| {
            f.mounts.get_mut("/var/lib/kubelet").unwrap().noexec = true;
        }),
        ("host.selinux", Error, |f| f.selinux_enforcing = Some(true)),
        ("host.iptables", Error, |f| {
            f.programs.retain(|p| p != "iptables");
        }),
        ("host.tools", Error, |f| f.programs.retain(|p| p != "tar")),
        ("host.iscsid", Error, |f| f.units.clear()),
        ("host.nfs", Warning, |f| {
            f.programs.retain(|p| p != "mount.nfs");
        }),
        ("host.cryptsetup", Warning, |f| {
            f.programs.retain(|p| p != "cryptsetup");
        }),
        ("host.multipathd", Warning, |f| {
            unit(f, "multipathd.service", "active", "enabled");
        }),
        ("host.firewall", Warning, |f| {
            unit(f, "firewalld.service", "active", "enabled");
        }),
        ("host.networkmanager", Warning, |f| {
            unit(f, "NetworkManager.service", "active", "enabled");
        }),
        ("host.nm-cloud-setup", Error, |f| {
            unit(f, "nm-cloud-setup.timer", "inactive", "enabled");
        }),
        ("host.proxy", Warning, |f| f.proxy = true),
        ("host.rke2-rpm", Error, |f| {
            f.packages.push("rke2-server".to_owned());
        }),
        ("host.other-kubernetes", Error, |f| {
            unit(f, "k3s.service", "active", "enabled");
        }),
        ("host.rke2-version", Error, |f| {
            f.rke2.version = Some("v1.35.7+rke2r1".to_owned());
        }),
        ("host.role", Error, |f| {
            f.rke2.role = Some(crate::Role::Agent);
        }),
        ("host.ports", Error, |f| f.listening.push(6443)),
        ("host.default-route", Error, |f| f.default_route = None),
        ("host.resolv-conf", Error, |f| {
            f.nameservers = words(&["127.0.0.53"]);
        }),
        ("host.registry-dns", Error, |f| {
            drop(f.registry.insert(
                "harbor.corp.example:443".to_owned(),
                RegistryAnswer::UnknownName,
            ));
        }),
        ("host.registry-tls", Error, |f| {
            drop(f.registry.insert(
                "harbor.corp.example:443".to_owned(),
                RegistryAnswer::Untrusted {
                    detail: "x".to_owned(),
                },
            ));
        }),
        ("host.registry-tls", Warning, |f| {
            drop(f.registry.insert(
                "harbor.corp.example:443".to_owned(),
                RegistryAnswer::ConnectedUnchecked,
            ));
        }),
        ("host.registry", Error, |f| {
            drop(f.registry.insert(
                "harbor.corp.example:443".to_owned(),
                RegistryAnswer::Unreachable {
                    detail: "x".to_owned(),
                },
            ));
        }),
        ("host.dns", Error, |f| {
            drop(f.resolved.insert("k8s.corp.example".to_owned(), Vec::new()));
        }),
        ("host.machine-id", Error, |f| f.machine_id = None),
        ("site.machine-ids", Error, |f| {
            f.machine_id = Some("id-w1".to_owned());
        }),
        ("site.hostnames", Error, |f| f.hostname = "w1".to_owned()),
    ];
    for (id, severity, change) in cases {
        assert_eq!(after(*change), [(*id, *severity)]);
    }
}

#[test]
fn what_is_fine_after_all_is_not_reported() {
    assert_eq!(
        after(|f| (f.clock_skew_ms, f.clock_error_ms) = (6000, 2000)),
        [],
        "a slow line"
    );
    assert_eq!(
        after(|f| (f.rke2.active, f.rke2.role, f.listening) =
            (true, Some(crate::Role::Server), vec![6443])),
        [],
        "its own ports"
    );
    assert_eq!(
        after(|f| f.rke2.version = Some("v1.36.4+rke2r1".to_owned())),
        []
    );
    assert_eq!(
        after(|f| (f.selinux_enforcing, f.packages) = (Some(true), words(&["rke2-selinux"]))),
        []
    );
}

#[test]
fn a_blocked_way_between_nodes_is_one_finding_per_pair() {
    let probe = |port, reach| Probe {
        address: "10.0.0.1".to_owned(),
        port,
        reach,
    };
    let probes = [(
        "w1".to_owned(),
        vec![
            probe(6443, Reach::Blocked),
            probe(9345, Reach::Blocked),
            probe(10250, Reach::Closed),
        ],
    )];
    let found = findings(&[right("cp1"), right("w1")], &probes, &demands());
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].id, found[0].host.as_deref()),
        ("network.ports", Some("w1"))
    );
    assert!(found[0].seen.contains("cp1 (10.0.0.1)") && found[0].seen.ends_with("6443, 9345"));
}

#[test]
fn hosts_try_the_ports_of_each_others_roles() {
    assert_eq!(
        probe_targets(&inventory(), "w1", &demands())
            .iter()
            .map(|(_, port)| *port)
            .collect::<Vec<_>>(),
        [10250, 6443, 9345, 4240]
    );
    assert_eq!(
        probe_targets(&inventory(), "cp1", &demands()),
        [
            ("10.0.0.2".to_owned(), 10250),
            ("10.0.0.2".to_owned(), 4240)
        ]
    );
}

#[test]
fn too_few_nodes_are_an_error_unless_accepted() {
    let demands = Demands {
        min_nodes: 3,
        ..demands()
    };
    let hosts = [right("cp1"), right("w1")];
    assert_eq!(findings(&hosts, &[], &demands)[0].severity, Severity::Error);
    assert_eq!(
        findings(
            &hosts,
            &[],
            &Demands {
                allow_small: true,
                ..demands
            }
        )[0]
        .severity,
        Severity::Warning
    );
}

#[test]
fn hosts_of_two_clusters_are_an_error() {
    let mut hosts = [right("cp1"), right("w1")];
    for (facts, ca) in hosts.iter_mut().zip(["aa", "bb"]) {
        (facts.rke2.active, facts.rke2.cluster_ca) = (true, Some(ca.to_owned()));
    }
    assert_eq!(findings(&hosts, &[], &demands())[0].id, "site.clusters");
}

#[test]
fn bytes_are_shown_as_people_do() {
    assert_eq!(
        [
            bytes(0),
            bytes(1023),
            bytes(1536),
            bytes(5 << 30),
            bytes(u64::MAX)
        ],
        ["0 B", "1023 B", "1.5 KiB", "5.0 GiB", "17179869183.9 GiB"].map(str::to_owned)
    );
}

#[test]
fn what_is_the_same_on_several_hosts_is_one_group() {
    let finding = |id, host: Option<&str>| Finding {
        id,
        severity: Severity::Warning,
        host: host.map(str::to_owned),
        seen: "seen".to_owned(),
        why: "why".to_owned(),
        remedy: "remedy".to_owned(),
    };
    let findings = [
        finding("host.cpu", Some("cp1")),
        finding("host.disk", Some("cp1")),
        finding("host.cpu", Some("cp2")),
        finding("site.dns", None),
        finding("site.dns", None),
    ];
    let groups: Vec<(&str, Vec<&str>)> = grouped(&findings)
        .into_iter()
        .map(|(finding, hosts)| (finding.id, hosts))
        .collect();
    let expected = [
        ("host.cpu", vec!["cp1", "cp2"]),
        ("host.disk", vec!["cp1"]),
        ("site.dns", vec![]),
        ("site.dns", vec![]),
    ];
    assert_eq!(groups, expected);
}

#[test]
fn memory_that_all_hosts_together_do_not_have_is_warned_of() {
    let hosts = [right("cp1"), right("w1")];
    let with = |memory| Demands {
        memory,
        ..demands()
    };
    let ids = |memory| -> Vec<&'static str> {
        let found = findings(&hosts, &[], &with(memory));
        let ids = found.iter().map(|of| of.id);
        ids.filter(|id| *id == "site.memory").collect()
    };
    assert_eq!(ids(28 * GIB), [""; 0]);
    assert_eq!(ids(29 * GIB), ["site.memory"]);
}
