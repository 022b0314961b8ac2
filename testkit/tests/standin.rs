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
