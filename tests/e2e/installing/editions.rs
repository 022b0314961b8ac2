//! One edition after another on a site that runs, and how many nodes each is meant for.

use std::collections::BTreeMap;

use airgap_testkit::cluster::ClusterSpec;
use serde_json::{Value, json};

use super::{
    bench::Bench,
    field::{Field, possible},
};

/// Every Application by name: its identity, and what it is made of.
fn applications(field: &Field) -> BTreeMap<String, (Value, Value)> {
    let text = field.kubectl(&field.hosts[0], "get applications -n argocd -o json");
    let list: Value = serde_json::from_str(&text).unwrap();
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|application| {
            (
                application["metadata"]["name"].as_str().unwrap().to_owned(),
                (
                    application["metadata"]["uid"].clone(),
                    application["spec"].clone(),
                ),
            )
        })
        .collect()
}

/// Which run of RKE2 a node is in, as systemd names it.
fn run_of(field: &Field, node: &str) -> String {
    let words = ["systemctl", "show", "rke2-server", "-p", "InvocationID"];
    field.cluster.node(node).check(&words).unwrap()
}

#[test]
fn an_edition_asks_for_its_number_of_nodes_unless_fewer_are_accepted() {
    if !possible() {
        return;
    }
    let field = Field::start(ClusterSpec::single(), "community");
    for (edition, nodes) in [("community", 3), ("standard", 5), ("enterprise", 10)] {
        let bundle = Bench::get().bundle(edition, 0);
        let key = field.key.as_str();
        let asked = ["preflight", "--bundle", bundle.as_str(), "--key", key];
        let outcome = field.airgap(&asked);
        assert_eq!(outcome.code, 4, "{}", outcome.transcript());
        let words = format!("meant for {nodes} or more");
        for words in ["error site: 1 hosts  [site.nodes]", &words, "--allow-small"] {
            assert!(
                outcome.stdout.contains(words),
                "{words:?}: {}",
                outcome.transcript()
            );
        }
        let mut accepted = asked.to_vec();
        accepted.push("--allow-small");
        let outcome = field.airgap(&accepted);
        assert_eq!(outcome.code, 0, "{}", outcome.transcript());
        assert!(
            outcome.stdout.contains("warning site: 1 hosts"),
            "{}",
            outcome.transcript()
        );
    }
}

#[test]
fn a_running_community_cluster_does_not_become_standard_because_its_cni_would_change() {
    if !possible() {
        return;
    }
    let mut field = Field::start(ClusterSpec::single(), "community");
    let _ = field.installed(&[]);
    let (before, run) = (applications(&field), run_of(&field, "solo"));
    let community = std::mem::replace(&mut field.bundle, Bench::get().bundle("standard", 0));
    field.harbor.log().clear();
    let _ = field.install(&[]).fails(
        1,
        &[
            "`cni` of the running cluster",
            "canal",
            "cilium",
            "another CNI would cut every pod off",
        ],
    );
    let pushed = field.harbor.log().count(|request| request.method == "PUT");
    assert_eq!(pushed, 0, "{:#?}", field.harbor.log().all());
    assert_eq!(applications(&field), before);
    assert_eq!(run_of(&field, "solo"), run);
    // and the site is as it was
    field.bundle = community;
    assert_eq!(field.installed(&[])["changed"], false);
}

#[test]
fn a_running_standard_cluster_becomes_enterprise_by_addition_alone() {
    if !possible() {
        return;
    }
    let mut field = Field::start(ClusterSpec::of(1, 1), "standard");
    let _ = field.installed(&[]);
    let (before, run) = (applications(&field), run_of(&field, "cp1"));
    field.bundle = Bench::get().bundle("enterprise", 0);

    let plan = field.install(&["--dry-run"]).json();
    for host in plan["hosts"].as_array().unwrap() {
        assert_eq!(host["service"], "leave", "{plan:#}");
        assert_eq!(host["files"], json!([]), "{plan:#}");
    }
    let report = field.installed(&[]);
    assert_eq!(report["changed"], true);
    assert_eq!(report["release"]["edition"], "enterprise");
    assert_eq!(run_of(&field, "cp1"), run, "RKE2 was not restarted");
    let after = applications(&field);
    assert!(after.len() > before.len(), "{:?}", after.keys());
    assert!(after.contains_key("kyverno"), "{:?}", after.keys());
    for (name, application) in &before {
        assert_eq!(after.get(name), Some(application), "{name} was changed");
    }
    let status = field.status();
    assert_eq!(status["unhealthy"], json!([]), "{status:#}");
    assert_eq!(status["installed"]["edition"], "enterprise", "{status:#}");
    assert_eq!(field.installed(&[])["changed"], false);
}
