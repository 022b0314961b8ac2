//! What is refused before anything changes, on real hosts and a registry with faults; each says what it saw and how to mend it.

use airgap_testkit::{
    cluster::{ClusterSpec, NodeSpec, REGISTRY, Sudo},
    faults::{Fault, FaultAction},
    harbor::{Account, Project, Right},
    tls::TestCa,
};

use super::{
    bench::Bench,
    field::{BASTION, Field, PUSH_PASSWORD, possible},
};

/// Asserts that `airgap preflight` with these words ends so, and says all this.
#[track_caller]
fn preflight(field: &Field, more: &[&str], code: i32, says: &[&str]) {
    let (bundle, key) = (field.bundle.as_str(), field.key.as_str());
    let words = ["preflight", "--bundle", bundle, "--key", key];
    let outcome = field.airgap(&[&words, more].concat());
    let text = outcome.transcript();
    assert_eq!(outcome.code, code, "{text}");
    for part in says {
        assert!(text.contains(part), "{part:?} is not said:\n{text}");
    }
}

/// Asserts that preflight finds this, and that no host was written to.
#[track_caller]
fn finds(field: &Field, id: &str, part: &str) {
    let outcome = field.install(&[]);
    assert_eq!(outcome.code, 4, "{}", outcome.transcript());
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let findings = document["findings"].as_array().cloned().unwrap_or_default();
    let found = findings.iter().any(|finding| {
        finding["id"] == id && finding["severity"] == "error" && finding.to_string().contains(part)
    });
    assert!(found, "no {id} with `{part}` in {findings:#?}");
    for node in field.cluster.nodes().filter(|node| node.name() != BASTION) {
        let changed = node
            .sh("ls -d /var/lib/airgap /etc/rancher /usr/local/bin/rke2 2>/dev/null")
            .unwrap();
        assert_eq!(changed.stdout.trim(), "", "{} was changed", node.name());
    }
}

#[test]
fn hosts_that_cannot_become_nodes_are_named() {
    if !possible() {
        return;
    }
    let spec = ClusterSpec::of(1, 0)
        .node(NodeSpec::new("w1").machine("aarch64"))
        .node(NodeSpec::new("w2").sudo(Sudo::None))
        .node(NodeSpec::new("w3"));
    let mut field = Field::start(spec, "community");
    finds(&field, "host.arch", "arm64");
    finds(&field, "host.unreachable", "w2");

    field.hosts = vec!["cp1".into(), "w3".into()];
    field.write_inventory();
    let known = fs_err::read_to_string(field.cluster.known_hosts()).unwrap();
    let address = field.cluster.node("w3").address().to_string();
    let others: String = known
        .lines()
        .filter(|line| !line.starts_with(&address))
        .map(|line| format!("{line}\n"))
        .collect();
    field.write("known_hosts", &others);
    finds(&field, "host.unreachable", "there is no entry for it");
    field.write("known_hosts", &known);
    field.cluster.node("w3").change_host_key().unwrap();
    finds(&field, "host.unreachable", "someone is in between");
    field.cluster.node("w3").power_off().unwrap();
    finds(&field, "host.unreachable", "w3");
}

#[test]
fn a_registry_that_cannot_be_used_is_named_and_one_that_fails_later_loses_nothing() {
    if !possible() {
        return;
    }
    let mut field = Field::start(ClusterSpec::single(), "community");
    let good_ca = fs_err::read_to_string(field.cluster.folder().join("ca.pem")).unwrap();
    field.write("ca.pem", TestCa::new("another CA").pem());
    finds(&field, "registry.unusable", "not trusted");
    field.write("ca.pem", &good_ca);

    // a name that no DNS at the site knows: the operator's machine, which has it from its hosts file, is not asked
    field.cluster.dns().set(REGISTRY, &[]);
    finds(&field, "host.registry-dns", "registry.addresses");
    field
        .cluster
        .dns()
        .set(REGISTRY, &[field.cluster.gateway()]);

    field
        .harbor
        .set_account(Account::pusher("airgap", "another password"));
    finds(&field, "registry.unusable", "refuses the login");
    field.harbor.set_account(Account::with(
        "robot$airgap+push",
        PUSH_PASSWORD,
        "airgap",
        &[Right::Pull],
    ));
    finds(&field, "registry.push", "may not push");
    field
        .harbor
        .set_account(Account::pusher("airgap", PUSH_PASSWORD));

    // a quota that is full in the middle: a clear error, and what is there stays
    field.harbor.set_project(Project {
        quota: Some(200_000),
        ..Project::named("airgap")
    });
    finds(&field, "registry.quota", "raise the quota");
    field.harbor.set_project(Project::named("airgap"));

    // a bundle that is damaged somewhere in its layers is refused before the site takes note of its release
    let sound = field.bundle.clone();
    let mut bytes = fs_err::read(&sound).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    field.bundle = field.path("damaged.tar.zst");
    fs_err::write(&field.bundle, bytes).unwrap();
    let _ = field
        .install(&["--verify-first"])
        .fails(3, &["`airgap verify` lists everything that is wrong"]);
    field.bundle = sound;
    let record = field
        .cluster
        .node("solo")
        .sh("cat /var/lib/airgap/record.json");
    assert_ne!(record.unwrap().code, 0, "the release was noted");
    assert_eq!(field.harbor.used("airgap"), 0);

    // gone in the middle of a push: the same command goes on from there
    field.harbor.fault(Fault {
        method: Some("PUT".into()),
        path: "/blobs/uploads/".into(),
        skip: 10,
        times: 1,
        action: FaultAction::Gone { after_bytes: 1 },
    });
    let _ = field.install(&[]).fails(1, &["harbor.site.test"]);
    let held = field.harbor.used("airgap");
    assert!(held > 0);
    field.harbor.clear_faults();
    field.harbor.come_back();
    let report = field.installed(&[]);
    assert_eq!(report["nodes"][0]["ready"], true);
}

#[test]
fn a_node_with_another_rke2_and_a_node_with_another_clusters_are_refused() {
    if !possible() {
        return;
    }
    let field = Field::start(ClusterSpec::single(), "community");
    let node = field.cluster.node("solo");
    node.put(
        "/usr/local/bin/rke2",
        "755",
        b"#!/bin/sh\necho 'rke2 version v1.30.1+rke2r1 (0123456)'\n",
    )
    .unwrap();
    let outcome = field.install(&[]);
    assert!(matches!(outcome.code, 1 | 4), "{}", outcome.transcript());
    assert!(
        outcome.transcript().contains("v1.30.1+rke2r1"),
        "{}",
        outcome.transcript()
    );
    node.check(&["rm", "/usr/local/bin/rke2"]).unwrap();
    node.put("/var/lib/airgap/record.json", "600", br#"{"cluster":"another","installed":null,"target":null,"lastSeen":"2026-01-01T00:00:00Z"}"#).unwrap();
    let _ = field.install(&[]).fails(1, &["belongs to cluster another"]);
    let says = [
        "belongs to cluster another",
        "[site.cluster]",
        "metadata.name",
    ];
    preflight(&field, &["--allow-small"], 4, &says);
}

#[test]
fn on_a_site_that_runs_preflight_says_what_install_would() {
    if !possible() {
        return;
    }
    const RECORD: &str = "/var/lib/airgap/record.json";
    let mut field = Field::start(ClusterSpec::single(), "community");
    let _ = field.installed(&[]);
    let record = field.cluster.node("solo").sh(&format!("cat {RECORD}"));
    let record = record.unwrap().stdout;
    field.harbor.log().clear();

    // nothing is to be done, so too few nodes are no reason to fail
    preflight(&field, &[], 0, &["warning site: 1 hosts"]);
    let community = std::mem::replace(&mut field.bundle, Bench::get().bundle("standard", 0));
    let says = ["`cni` of the running cluster", "[site.cluster]"];
    preflight(&field, &["--allow-small"], 4, &says);
    field.bundle = community;

    let mut later: serde_json::Value = serde_json::from_str(&record).unwrap();
    let release = later["installed"]["release"].as_u64().unwrap();
    later["installed"]["release"] = (release + 1).into();
    let node = field.cluster.node("solo");
    node.put(RECORD, "600", later.to_string().as_bytes())
        .unwrap();
    let says = ["is older than release", "--allow-downgrade"];
    preflight(&field, &["--allow-small"], 3, &says);
    preflight(&field, &["--allow-downgrade", "--allow-small"], 0, &[]);

    let kept = node.sh(&format!("cat {RECORD}")).unwrap().stdout;
    assert_eq!(kept, later.to_string());
    let written = field.harbor.log().count(|request| request.method == "PUT");
    assert_eq!(written, 0, "{:#?}", field.harbor.log().all());
}
