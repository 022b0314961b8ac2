//! The stand-in RKE2 on real systemd nodes.

use std::time::Instant;

use airgap_testkit::cluster::ClusterSpec;

use crate::site::{Site, possible};

#[test]
fn a_single_node_comes_up_from_the_registry_alone() {
    if !possible() {
        return;
    }
    let start = Instant::now();
    let site = Site::start(ClusterSpec::single());
    eprintln!("site up after {:?}", start.elapsed());
    let node = site.cluster.node("solo");
    site.prepare(node, &format!("{}cni: [cilium]\n", site.config()));
    Site::start_unit(node, "rke2-server");
    eprintln!("READY after {:?}", start.elapsed());
    Site::kubectl(node, "wait --for=condition=Ready node/solo --timeout=60s");
    eprintln!("node Ready after {:?}", start.elapsed());
    assert!(Site::kubectl(node, "get --raw /readyz").contains("ok"));
    assert!(Site::kubectl(node, "get nodes").contains("solo\tReady\tv1.36.4+rke2r1"));
    assert_eq!(
        node.sh("stat -c %a /etc/rancher/rke2/rke2.yaml")
            .unwrap()
            .stdout,
        "600"
    );
    assert!(
        node.sh("rke2 --version")
            .unwrap()
            .stdout
            .contains("stand-in")
    );
    let pulled = node
        .sh("/var/lib/rancher/rke2/bin/crictl images")
        .unwrap()
        .stdout;
    assert!(
        pulled.contains("docker.io/rancher/mirrored-cilium-cilium:v1.19.6"),
        "{pulled}"
    );
    assert_eq!(site.cluster.escapes(), Vec::<String>::new());
}

#[test]
fn three_servers_and_two_agents_outlive_their_seed() {
    if !possible() {
        return;
    }
    let start = Instant::now();
    let mut site = Site::start(ClusterSpec::of(3, 2));
    eprintln!("site up after {:?}", start.elapsed());
    let seed = site.cluster.node("cp1");
    let address = seed.address();
    site.prepare(seed, &format!("{}cni: [cilium]\n", site.config()));
    Site::start_unit(seed, "rke2-server");
    let token = seed
        .sh("cat /var/lib/rancher/rke2/server/token")
        .unwrap()
        .stdout;
    assert!(token.starts_with("K10") && token.contains("::server:"));
    for (name, unit) in [
        ("cp2", "rke2-server"),
        ("cp3", "rke2-server"),
        ("w1", "rke2-agent"),
        ("w2", "rke2-agent"),
    ] {
        let node = site.cluster.node(name);
        join(&site, node, unit, &address.to_string(), &token);
        Site::start_unit(node, unit);
    }
    eprintln!("all READY after {:?}", start.elapsed());
    let other = site.cluster.node("cp2");
    Site::kubectl(
        other,
        "wait --for=condition=Ready nodes --timeout=60s cp1 cp2 cp3 w1 w2",
    );
    eprintln!("all Ready after {:?}", start.elapsed());
    Site::kubectl(seed, "create namespace kept");

    site.cluster.reimage("cp1").unwrap();
    assert!(
        Site::kubectl(site.cluster.node("cp2"), "get namespace kept -o name")
            .contains("namespace/kept")
    );
    let seed = site.cluster.node("cp1");
    join(&site, seed, "rke2-server", &other_address(&site), &token);
    seed.sh("systemctl start --no-block rke2-server").unwrap();
    Site::until("the password of the old machine is remembered", 30, || {
        Site::journal(seed, "rke2-server").contains("Node password rejected")
    });
    Site::kubectl(
        site.cluster.node("cp2"),
        "delete secret -n kube-system cp1.node-password.rke2",
    );
    Site::until("the stale member is remembered", 30, || {
        Site::journal(seed, "rke2-server").contains("duplicate node name found")
    });
    Site::kubectl(site.cluster.node("cp2"), "delete node cp1");
    Site::until("it rejoins", 60, || {
        seed.sh("systemctl is-active rke2-server").unwrap().stdout == "active"
    });
    assert!(Site::kubectl(seed, "get namespace kept -o name").contains("namespace/kept"));
    eprintln!("rejoined after {:?}", start.elapsed());

    let worker = site.cluster.node("w1");
    let pulled = worker
        .sh("/var/lib/rancher/rke2/bin/crictl pull docker.io/rancher/mirrored-pause:3.10.2")
        .unwrap();
    assert_eq!(pulled.code, 0, "{pulled:?}");
    site.harbor.leave();
    let refused = worker
        .sh("/var/lib/rancher/rke2/bin/crictl pull docker.io/rancher/mirrored-pause:3.10.2")
        .unwrap();
    assert_ne!(refused.code, 0);
    assert_eq!(site.cluster.escapes(), Vec::<String>::new());
    // without the key, the next start makes the same pull go to docker.io, and the site sees it
    worker
        .sh("sed -i /disable-default/d /etc/rancher/rke2/config.yaml; systemctl restart rke2-agent")
        .unwrap();
    worker
        .sh("/var/lib/rancher/rke2/bin/crictl pull docker.io/rancher/mirrored-pause:3.10.2")
        .unwrap();
    let escapes = site.cluster.escapes();
    assert!(
        escapes
            .iter()
            .any(|line| line.contains("registry-1.docker.io")),
        "{escapes:?}"
    );
    eprintln!("done after {:?}", start.elapsed());
}

fn other_address(site: &Site) -> String {
    site.cluster.node("cp2").address().to_string()
}

fn join(site: &Site, node: &airgap_testkit::cluster::Node, unit: &str, address: &str, token: &str) {
    let role = if unit == "rke2-server" {
        "cni: [cilium]\n"
    } else {
        ""
    };
    site.prepare(
        node,
        &format!(
            "{}{role}server: https://{address}:9345\ntoken-file: /etc/rancher/rke2/join-token\n",
            site.config()
        ),
    );
    node.put("/etc/rancher/rke2/join-token", "600", token.as_bytes())
        .unwrap();
}
