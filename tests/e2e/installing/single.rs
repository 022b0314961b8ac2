//! One node.

use airgap_testkit::cluster::ClusterSpec;

use super::field::{Field, possible};
use crate::support::binary;

/// A word that must never show.
const MIRROR_PASSWORD: &str = "canary-Mirror-91c3";

#[test]
fn a_single_node_comes_up_and_a_second_run_writes_nothing() {
    if !possible() {
        return;
    }
    let mut field = Field::start(ClusterSpec::single(), "standard");
    // RKE2's own mirror between nodes, for large sites: one of the keys that pass through
    field.more = "cluster: {serverConfig: {embedded-registry: true}}\n\
         extraRegistries:\n  mirrors: {other.site.test: {endpoint: ['https://mirror.site.test:5000']}}\n  \
         configs: {'mirror.site.test:5000': {auth: {username: nodes, password: {file: mirror}}}}\n"
        .to_owned();
    field.write_secret("mirror", MIRROR_PASSWORD);
    field.write_inventory();
    let report = field.installed(&[]);
    assert_eq!(report["changed"], true);
    assert_eq!(report["nodes"][0]["ready"], true);
    assert_eq!(field.ready("solo"), ["solo"]);
    let config = field
        .cluster
        .node("solo")
        .sh("cat /etc/rancher/rke2/config.yaml")
        .unwrap();
    assert!(
        config.stdout.contains("embedded-registry: true"),
        "{config:?}"
    );

    let registries = field
        .cluster
        .node("solo")
        .sh("cat /etc/rancher/rke2/registries.yaml")
        .unwrap();
    for part in [
        "https://mirror.site.test:5000",
        "username: nodes",
        MIRROR_PASSWORD,
    ] {
        assert!(registries.stdout.contains(part), "{part}: {registries:?}");
    }
    assert!(!field.logs().contains(MIRROR_PASSWORD), "it was logged");

    let again = field.installed(&[]);
    assert_eq!(again["changed"], false, "{again:#}");
    assert_eq!(again["registryWrites"], 0);
    assert_eq!(again["filesWritten"]["solo"], 0);
    assert!(
        again["commands"]["solo"].as_u64().unwrap() <= 2,
        "{again:#}"
    );
    let status = field.status();
    assert_eq!(status["unhealthy"], serde_json::json!([]), "{status:#}");
    assert_eq!(status["nodes"][0]["ready"], true);
}

#[test]
fn a_single_node_installs_itself_without_ssh() {
    if !possible() {
        return;
    }
    let field = Field::start(ClusterSpec::single(), "community");
    let node = field.cluster.node("solo");
    let carry = |from: &camino::Utf8Path, to: &str, mode: &str| {
        node.put(to, mode, &fs_err::read(from).unwrap()).unwrap();
    };
    carry(binary().as_ref(), "/root/airgap", "0755");
    carry(&field.bundle, "/root/bundle.tar.zst", "0644");
    carry(&field.key, "/root/airgap.pub", "0644");
    for file in [
        "push",
        "pull",
        "ca.pem",
        "platform-ca.pem",
        "platform-ca.key",
        "tsig",
    ] {
        carry(&field.path(file), &format!("/root/{file}"), "0600");
    }
    let inventory = fs_err::read_to_string(field.path("hosts.yaml")).unwrap();
    let (site, _) = inventory.split_once("defaults:").unwrap();
    let hosts = format!("{site}hosts:\n  - {{name: solo, role: server, local: true}}\n");
    node.put("/root/hosts.yaml", "0644", hosts.as_bytes())
        .unwrap();

    let install = || -> serde_json::Value {
        let output = node
            .sh("cd /root && ./airgap install --bundle bundle.tar.zst --key airgap.pub --allow-small --json")
            .unwrap();
        assert_eq!(output.code, 0, "{output:?}");
        serde_json::from_str(&output.stdout).unwrap()
    };
    assert_eq!(install()["changed"], true);
    assert_eq!(field.ready("solo"), ["solo"]);
    let again = install();
    assert_eq!(again["changed"], false, "{again:#}");
    assert_eq!(again["registryWrites"], 0);
    field.nothing_escaped();
}
