//! What is done to a site that runs: a password that changed, and a platform that is ill.

use airgap_testkit::{cluster::ClusterSpec, harbor::Account};
use serde_json::{Value, json};

use super::field::{Field, PULL_PASSWORD, possible};

const NEW_PASSWORD: &str = "canary-Next-90c4";
const REGISTRIES: &str = "/etc/rancher/rke2/registries.yaml";
const CRICTL: &str = "/var/lib/rancher/rke2/bin/crictl --runtime-endpoint unix:///run/k3s/containerd/containerd.sock";

/// What was said of the hosts, in the order it was said.
fn said_of_hosts(events: &str) -> Vec<String> {
    events
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|event| Some(event["message"].as_str()?.to_owned()))
        .filter(|message| message.contains(": restarting RKE2") || message.ends_with(": Ready"))
        .collect()
}

#[test]
fn a_changed_pull_password_is_announced_and_reaches_every_node_one_after_the_other() {
    if !possible() {
        return;
    }
    let field = Field::start(ClusterSpec::of(3, 1), "community");
    let _ = field.installed(&[]);
    field
        .harbor
        .set_account(Account::puller("airgap", NEW_PASSWORD));
    field.write_secret("pull", NEW_PASSWORD);

    let plan = field.install(&["--dry-run"]).json();
    assert_eq!(plan["registry"]["missing"], 0, "{plan:#}");
    let hosts = plan["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 4);
    for host in hosts {
        assert_eq!(host["files"], json!([REGISTRIES]), "{plan:#}");
        assert_eq!(host["service"], "restart", "{plan:#}");
        assert_eq!(host["install"], false, "{plan:#}");
    }
    let objects = plan["objects"].to_string();
    for object in ["Secret argocd/", "Secret kube-system/"] {
        assert!(objects.contains(object), "{plan:#}");
    }

    let outcome = field.install(&[]);
    assert_eq!(outcome.code, 0, "{}", outcome.transcript());
    let order: Vec<String> = ["cp1", "cp2", "cp3", "w1"]
        .iter()
        .flat_map(|host| {
            [
                format!("{host}: restarting RKE2 with its new configuration"),
                format!("{host}: Ready"),
            ]
        })
        .collect();
    assert_eq!(said_of_hosts(&outcome.stderr), order);
    assert_eq!(field.ready("cp1"), ["cp1", "cp2", "cp3", "w1"]);
    for node in field.cluster.nodes() {
        let text = node.check(&["cat", REGISTRIES]).unwrap();
        assert!(
            text.contains(NEW_PASSWORD) && !text.contains(PULL_PASSWORD),
            "{}",
            node.name()
        );
        let pulled = node
            .sh(&format!("{CRICTL} pull quay.io/argoproj/argocd:v3.4.4"))
            .unwrap();
        assert_eq!(pulled.code, 0, "{}: {pulled:?}", node.name());
    }
    assert_eq!(field.installed(&[])["changed"], false);
    field.nothing_escaped();
}

#[test]
fn status_shows_which_application_is_ill_and_why_and_how_long_certificates_last() {
    if !possible() {
        return;
    }
    let field = Field::start(ClusterSpec::single(), "community");
    let _ = field.installed(&[]);
    let well = field.status();
    assert_eq!(well["unhealthy"], json!([]), "{well:#}");
    let certificates = well["certificates"].as_array().unwrap();
    assert!(!certificates.is_empty(), "{well:#}");
    for certificate in certificates {
        let days = certificate["daysLeft"].as_i64().unwrap();
        assert!((300..4000).contains(&days), "{certificate}");
    }

    // an application of the site's own, whose chart nobody has pushed
    let application = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": "own", "namespace": "argocd"},
        "spec": {
            "project": "default",
            "source": {"repoURL": "harbor.site.test/airgap/charts", "chart": "nowhere", "targetRevision": "1.0.0"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "default"},
            "syncPolicy": {"automated": {}},
        },
    });
    let node = field.cluster.node("solo");
    node.put("/tmp/own.json", "600", application.to_string().as_bytes())
        .unwrap();
    let _ = field.kubectl("solo", "apply --server-side -f - </tmp/own.json");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let ill = loop {
        let outcome = field.airgap(&["status", "--json"]);
        let status: Value = serde_json::from_str(&outcome.stdout).unwrap();
        if status["unhealthy"].to_string().contains("nowhere") {
            assert_eq!(outcome.code, 1, "{}", outcome.transcript());
            break status;
        }
        assert!(std::time::Instant::now() < until, "{status:#}");
        std::thread::sleep(std::time::Duration::from_secs(1));
    };
    assert_eq!(ill["unhealthy"][0]["name"], "own", "{ill:#}");
    let shown = field
        .airgap(&["status"])
        .fails(1, &["cluster prod is not well", "log: "]);
    for words in [
        "ill: own: ",
        "nowhere",
        "days left (",
        "solo  server  v1.36.4+rke2r1  Ready",
    ] {
        assert!(
            shown.stdout.contains(words),
            "{words:?}:\n{}",
            shown.transcript()
        );
    }
}
