//! What one host must be like by itself.

use super::{Demands, Findings, Severity, bytes};
use crate::Facts;

const GIB: u64 = 1 << 30;
/// The least that RKE2 documents is 4 GB; machines sold as such report somewhat less.
const MEMORY_LEAST: u64 = 7 * GIB / 2;
const MEMORY_ADVISED: u64 = 15 * GIB / 2;
const SKEW_LEAST_MS: u64 = 5_000;
/// install.sh unpacks a copy of the release there.
const TMP_FACTOR: u64 = 3;

/// Operating system, processor, memory.
pub(super) fn machine(findings: &mut Findings, facts: &Facts, demands: &Demands) {
    use Severity::{Error, Notice, Warning};
    let host = Some(facts.host.as_str());
    if !facts.systemd {
        findings.add(
            "host.os",
            Error,
            host,
            [
                format!("{} without systemd", facts.os.name),
                "RKE2 runs as a systemd service".to_owned(),
                "use a distribution with systemd".to_owned(),
            ],
        );
    }
    if !known_os(&facts.os.id) {
        findings.add("host.os", Notice, host, [
            format!("operating system {} {}", facts.os.name, facts.os.id),
            "RKE2 is tested on RHEL and its rebuilds, SLES, openSUSE, Ubuntu, Debian and Amazon Linux".to_owned(),
            "nothing, if you know that RKE2 runs here".to_owned(),
        ]);
    }
    let wanted = demands.platform.strip_prefix("linux/");
    if wanted.is_some_and(|wanted| wanted != facts.arch) {
        findings.add(
            "host.arch",
            Error,
            host,
            [
                format!("architecture {}", facts.arch),
                format!("the bundle carries {} only", demands.platform),
                format!(
                    "use a bundle made with `--platform linux/{}` or `--platform all`",
                    facts.arch
                ),
            ],
        );
    }
    if facts.cpus < 4 {
        findings.add(
            "host.cpu",
            if facts.cpus < 2 { Error } else { Warning },
            host,
            [
                format!("{} CPUs", facts.cpus),
                "RKE2 needs 2, and runs well from 4".to_owned(),
                "give the machine more CPUs".to_owned(),
            ],
        );
    }
    if facts.memory < MEMORY_ADVISED {
        findings.add(
            "host.memory",
            if facts.memory < MEMORY_LEAST {
                Error
            } else {
                Warning
            },
            host,
            [
                format!("{} of memory", bytes(facts.memory)),
                "RKE2 needs 4 GB, and a server with the platform runs well from 8 GB".to_owned(),
                "give the machine more memory".to_owned(),
            ],
        );
    }
}

/// The clock, cgroups, modules and settings of the kernel.
pub(super) fn kernel(findings: &mut Findings, facts: &Facts) {
    use Severity::{Error, Warning};
    let host = Some(facts.host.as_str());
    let skew = facts.clock_skew_ms.unsigned_abs();
    // only what is certain: the uncertainty of a slow line is no skew
    if skew.saturating_sub(facts.clock_error_ms) > SKEW_LEAST_MS {
        let direction = if facts.clock_skew_ms > 0 {
            "ahead of"
        } else {
            "behind"
        };
        findings.add("host.clock", Error, host, [
            format!("the clock is {}.{} s {direction} this machine's", skew / 1000, skew % 1000 / 100),
            "certificates and etcd need clocks that agree within 5 s".to_owned(),
            "set up chrony against the site's time server: `systemctl enable --now chronyd; chronyc makestep`".to_owned(),
        ]);
    }
    if !facts.cgroup_controllers.iter().any(|name| name == "pids") {
        findings.add(
            "host.cgroup",
            Error,
            host,
            [
                "the cgroup controller `pids` is off".to_owned(),
                "the kubelet does not start without it".to_owned(),
                "add `cgroup_enable=pids` to the kernel's command line and reboot".to_owned(),
            ],
        );
    }
    for (name, severity, why) in [
        (
            "br_netfilter",
            Error,
            "containers and their network need it",
        ),
        ("overlay", Error, "containers need it"),
        (
            "vxlan",
            Warning,
            "the overlay network between nodes needs it",
        ),
    ] {
        if facts.modules.iter().any(|module| module == name) {
            continue;
        }
        let (severity, seen) = if facts.modules_known {
            (severity, format!("the kernel module {name} is missing"))
        } else {
            (
                Warning,
                format!("the kernel does not show whether it has {name}"),
            )
        };
        findings.add("host.modules", severity, host, [
            seen,
            why.to_owned(),
            format!("install the kernel's modules (`kernel-modules-extra` on RHEL 10), then `modprobe {name}`"),
        ]);
    }
    sysctls(findings, facts);
}

fn sysctls(findings: &mut Findings, facts: &Facts) {
    use Severity::Warning;
    let host = Some(facts.host.as_str());
    for (name, least, severity, why) in [
        (
            "vm.max_map_count",
            262_144,
            Warning,
            "search and log stores do not start below it",
        ),
        (
            "fs.inotify.max_user_instances",
            512,
            Warning,
            "many pods on a node then fail with `too many open files`",
        ),
        (
            "fs.inotify.max_user_watches",
            262_144,
            Warning,
            "many pods on a node then fail with `too many open files`",
        ),
    ] {
        if let Some(value) = facts.sysctls.get(name).filter(|value| **value < least) {
            findings.add("host.sysctl", severity, host, [
                format!("{name} is {value}"),
                format!("{why}; {least} is enough"),
                format!("echo '{name} = {least}' >/etc/sysctl.d/90-airgap-{}.conf && sysctl --system", name.replace('.', "-")),
            ]);
        }
    }
}

fn known_os(id: &str) -> bool {
    matches!(
        id,
        "debian"
            | "ubuntu"
            | "rhel"
            | "rocky"
            | "almalinux"
            | "centos"
            | "ol"
            | "sles"
            | "sle-micro"
            | "opensuse-leap"
            | "amzn"
    )
}

/// Space, and mounts from which nothing may run.
pub(super) fn disks(findings: &mut Findings, facts: &Facts, demands: &Demands) {
    let host = Some(facts.host.as_str());
    let running = facts.rke2.active;
    if let Some(var) = facts.mounts.get("/var/lib/rancher")
        && !running
    {
        let (least, advised) = (
            demands.image_bytes.saturating_mul(2),
            demands.image_bytes.saturating_mul(3),
        );
        if var.available < advised {
            let severity = if var.available < least {
                Severity::Error
            } else {
                Severity::Warning
            };
            findings.add("host.disk", severity, host, [
                format!("{} free on {} for /var/lib/rancher", bytes(var.available), var.mount_point),
                format!("the bundle's images are {} compressed; unpacked, with etcd and logs, they need {} to {}", bytes(demands.image_bytes), bytes(least), bytes(advised)),
                format!("enlarge {}, or mount a larger disk at /var/lib/rancher", var.mount_point),
            ]);
        }
    }
    let needed = demands.release_bytes.saturating_mul(TMP_FACTOR);
    if let Some(tmp) = facts
        .mounts
        .get("/tmp")
        .filter(|tmp| tmp.available < needed)
    {
        findings.add(
            "host.tmp",
            Severity::Error,
            host,
            [
                format!(
                    "{} free on {} for /tmp",
                    bytes(tmp.available),
                    tmp.mount_point
                ),
                format!("RKE2's installer unpacks there and needs {}", bytes(needed)),
                "free some space in /tmp".to_owned(),
            ],
        );
    }
    for path in ["/var/lib/rancher", "/var/lib/kubelet", "/opt"] {
        if let Some(mount) = facts.mounts.get(path).filter(|mount| mount.noexec) {
            findings.add(
                "host.noexec",
                Severity::Error,
                host,
                [
                    format!("{} is mounted noexec, and holds {path}", mount.mount_point),
                    "RKE2 runs its own programs from there".to_owned(),
                    format!(
                        "mount -o remount,exec {} (and remove noexec from /etc/fstab)",
                        mount.mount_point
                    ),
                ],
            );
        }
    }
}

/// Programs, services and security modules.
pub(super) fn software(findings: &mut Findings, facts: &Facts, demands: &Demands) {
    use Severity::{Error, Warning};
    let host = Some(facts.host.as_str());
    let has = |name: &str| facts.programs.iter().any(|program| program == name);
    let package = |name: &str| facts.packages.iter().any(|package| package == name);
    let active = |unit: &str| {
        facts
            .units
            .get(unit)
            .is_some_and(|unit| unit.active == "active")
    };
    let enabled = |unit: &str| {
        facts
            .units
            .get(unit)
            .is_some_and(|state| state.active == "active" || state.enabled == "enabled")
    };
    let install = |debian: &str, redhat: &str| match facts.os.id.as_str() {
        "debian" | "ubuntu" => format!("apt-get install {debian}"),
        "sles" | "opensuse-leap" => format!("zypper install {redhat}"),
        _ => format!("dnf install {redhat}"),
    };
    if facts.selinux_enforcing == Some(true) && !package("rke2-selinux") {
        findings.add("host.selinux", Error, host, [
            "SELinux enforces, and the policy package rke2-selinux is missing".to_owned(),
            "containers are then denied what they need".to_owned(),
            "install rke2-selinux and container-selinux from the site's package mirror, and set `cluster.config.selinux: true`".to_owned(),
        ]);
    }
    if !has("iptables") && !has("nft") {
        findings.add(
            "host.iptables",
            Error,
            host,
            [
                "there is neither iptables nor nft".to_owned(),
                "RKE2 and the CNI write packet filter rules".to_owned(),
                install("iptables", "iptables-nft"),
            ],
        );
    }
    for name in ["tar", "sha256sum"] {
        if !has(name) {
            findings.add(
                "host.tools",
                Error,
                host,
                [
                    format!("there is no {name}"),
                    "RKE2's own installer needs it".to_owned(),
                    install("tar coreutils", "tar coreutils"),
                ],
            );
        }
    }
    if demands.longhorn {
        longhorn(findings, facts, &install);
    }
    if active("firewalld.service") || active("ufw.service") {
        let (name, rule) = if active("firewalld.service") {
            ("firewalld", "systemctl disable --now firewalld")
        } else {
            ("ufw", "ufw disable")
        };
        findings.add("host.firewall", Warning, host, [
            format!("{name} is active"),
            "it and the CNI rewrite each other's rules; RKE2's documentation asks for it to be off, or for its ports and the pod and service networks to be open".to_owned(),
            format!("{rule}, if the site's own firewall does the work; else open RKE2's ports and both networks"),
        ]);
    }
    if active("NetworkManager.service") && !facts.network_manager_ignores_cni {
        findings.add("host.networkmanager", Warning, host, [
            "NetworkManager manages every interface".to_owned(),
            "it takes the CNI's interfaces for its own and breaks their routes".to_owned(),
            "printf '[keyfile]\\nunmanaged-devices=interface-name:flannel*;interface-name:cali*;interface-name:tunl*;interface-name:vxlan.calico;interface-name:vxlan-v6.calico;interface-name:wireguard.cali;interface-name:wg-v6.cali;interface-name:cilium*;interface-name:lxc*\\n' >/etc/NetworkManager/conf.d/rke2-canal.conf && systemctl reload NetworkManager".to_owned(),
        ]);
    }
    if enabled("nm-cloud-setup.service") || enabled("nm-cloud-setup.timer") {
        findings.add(
            "host.nm-cloud-setup",
            Error,
            host,
            [
                "nm-cloud-setup is on".to_owned(),
                "it rewrites routing rules and cuts pods off".to_owned(),
                "systemctl disable --now nm-cloud-setup.service nm-cloud-setup.timer && reboot"
                    .to_owned(),
            ],
        );
    }
    if facts.proxy {
        findings.add("host.proxy", Warning, host, [
            "a proxy is set in /etc/environment or /etc/default/rke2-*".to_owned(),
            "RKE2 passes it to containerd and Helm, which then ask it for the site registry".to_owned(),
            "remove it, or add the registry, the nodes and the pod and service networks to NO_PROXY".to_owned(),
        ]);
    }
}

fn longhorn(findings: &mut Findings, facts: &Facts, install: &dyn Fn(&str, &str) -> String) {
    use Severity::{Error, Warning};
    let host = Some(facts.host.as_str());
    let has = |name: &str| facts.programs.iter().any(|program| program == name);
    let runs = |unit: &str| {
        facts
            .units
            .get(unit)
            .is_some_and(|unit| unit.active == "active")
    };
    if !has("iscsiadm") || !(runs("iscsid.service") || runs("iscsid.socket")) {
        findings.add(
            "host.iscsid",
            Error,
            host,
            [
                if has("iscsiadm") {
                    "iscsid does not run"
                } else {
                    "there is no iscsiadm"
                }
                .to_owned(),
                "Longhorn attaches its volumes over iSCSI".to_owned(),
                format!(
                    "{} && systemctl enable --now iscsid",
                    install("open-iscsi", "iscsi-initiator-utils")
                ),
            ],
        );
    }
    if !has("mount.nfs") {
        findings.add(
            "host.nfs",
            Warning,
            host,
            [
                "there is no NFS client".to_owned(),
                "Longhorn serves volumes for several writers, and its backups, over NFS".to_owned(),
                install("nfs-common", "nfs-utils"),
            ],
        );
    }
    if !has("cryptsetup") {
        findings.add(
            "host.cryptsetup",
            Warning,
            host,
            [
                "there is no cryptsetup".to_owned(),
                "Longhorn needs it for encrypted volumes".to_owned(),
                install("cryptsetup", "cryptsetup"),
            ],
        );
    }
    if runs("multipathd.service") {
        findings.add("host.multipathd", Warning, host, [
            "multipathd is active".to_owned(),
            "it takes Longhorn's devices, and mounts then fail".to_owned(),
            "add `blacklist { devnode \"^sd[a-z0-9]+\" }` to /etc/multipath.conf and `systemctl restart multipathd`".to_owned(),
        ]);
    }
}
