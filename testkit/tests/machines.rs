//! The site's machines: what a specification asks for is what an installer meets.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which end at the first surprise"
)]

use std::process::{Command, Output};

use airgap_testkit::cluster::{Cluster, ClusterSpec, Node, NodeSpec, Sudo};

use crate::site::{possible, turn};

/// Runs a command over SSH as the nodes' user.
fn ssh(cluster: &Cluster, node: &Node, more: &[&str], command: &str) -> Output {
    Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=5",
            "-o",
            "StrictHostKeyChecking=yes",
        ])
        .args([
            "-i",
            cluster.key().as_str(),
            "-o",
            &format!("UserKnownHostsFile={}", cluster.known_hosts()),
        ])
        .args(more)
        .arg(format!("ops@{}", node.address()))
        .arg(command)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn machines_have_the_faults_they_were_asked_for() {
    if !possible() {
        return;
    }
    let _turn = turn();
    let spec = ClusterSpec::default()
        .node(NodeSpec::new("plain"))
        .node(NodeSpec::new("asks").sudo(Sudo::Password("canary-Sudo-3a".into())))
        .node(NodeSpec::new("never").sudo(Sudo::None))
        .node(NodeSpec::new("small").small_disk(64 << 20))
        .node(NodeSpec::new("arm").machine("aarch64"))
        .node(NodeSpec::new("deaf").loopback_resolver())
        .node(NodeSpec::new("far"))
        .with_bastion();
    let mut cluster = Cluster::start(spec).unwrap();
    let run = |name: &str, command: &str| ssh(&cluster, cluster.node(name), &[], command);
    assert_eq!(text(&run("plain", "sudo -n id -u")), "0");
    assert!(!run("asks", "sudo -n id -u").status.success());
    assert_eq!(
        text(&run("asks", "echo canary-Sudo-3a | sudo -S id -u")),
        "0"
    );
    assert!(!run("never", "sudo -n id -u").status.success());
    assert_eq!(
        text(&run(
            "small",
            "df --output=size -B1M /var/lib/rancher | tail -1"
        )),
        "64"
    );
    assert_eq!(text(&run("arm", "uname -m")), "aarch64");
    assert_eq!(text(&run("arm", "uname -s")), "Linux");
    assert_eq!(text(&run("deaf", "getent hosts harbor.site.test")), "");
    assert_eq!(
        text(&run(
            "plain",
            "getent hosts harbor.site.test | cut -d' ' -f1"
        )),
        cluster.gateway().to_string()
    );
    assert!(
        run("plain", "/sbin/modprobe -n br_netfilter")
            .status
            .success()
    );

    let far = cluster.node("far");
    assert!(
        !ssh(&cluster, far, &[], "true").status.success(),
        "only the bastion may reach it"
    );
    let jump = cluster.node("jump").address();
    let proxy = format!(
        "ProxyCommand=ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={} -i {} -W %h:%p ops@{jump}",
        cluster.known_hosts(),
        cluster.key()
    );
    assert_eq!(
        text(&ssh(&cluster, far, &["-o", &proxy], "hostname")),
        "far"
    );

    assert_eq!(cluster.escapes(), Vec::<String>::new());
    run(
        "plain",
        "getent hosts example.com; timeout 1 bash -c '</dev/tcp/192.0.2.7/443'",
    );
    let escapes = cluster.escapes().join("\n");
    assert!(
        escapes.contains("asked for example.com") && escapes.contains("packets were dropped"),
        "{escapes}"
    );

    run("plain", "sudo touch /var/lib/marker");
    cluster.reimage("plain").unwrap();
    let plain = cluster.node("plain");
    assert_eq!(
        text(&ssh(
            &cluster,
            plain,
            &[],
            "ls /var/lib/marker 2>/dev/null; hostname"
        )),
        "plain"
    );
    plain.change_host_key().unwrap();
    assert!(
        !ssh(&cluster, plain, &[], "true").status.success(),
        "another host key is refused"
    );
}
