//! What an install leaves in the site's registry: every image under its mapped name, signed; and a node that pulls one by digest.

use std::process::Command;

use airgap_testkit::{
    cluster::{ClusterSpec, REGISTRY},
    require_tool,
};
use camino::Utf8PathBuf;
use serde_json::Value;

use super::field::{Field, PULL_PASSWORD, possible};
use crate::support::Outcome;

const ARGOCD: &str = "quay.io/argoproj/argocd:v3.4.4";
const CRICTL: &str = "/var/lib/rancher/rke2/bin/crictl --runtime-endpoint unix:///run/k3s/containerd/containerd.sock";

/// A file for `curl --config`: the account that may only read, the site's authority, and where the registry is.
fn curl_config(field: &Field) -> Utf8PathBuf {
    let text = format!(
        "user = \"robot$airgap+pull:{PULL_PASSWORD}\"\ncacert = \"{}\"\nresolve = \"{REGISTRY}:443:{}\"\n",
        field.path("ca.pem"),
        field.cluster.gateway()
    );
    field.write("curl", &text);
    field.path("curl")
}

fn run(program: &str, arguments: &[&str]) -> Outcome {
    let output = Command::new(program).args(arguments).output().unwrap();
    Outcome::of(&format!("{program} {}", arguments.join(" ")), &output)
}

#[test]
fn the_registry_holds_what_the_bundle_carries_signed_and_nodes_pull_from_it_by_digest() {
    if !possible() || !["curl", "jq", "openssl"].into_iter().all(require_tool) {
        return;
    }
    let field = Field::start(ClusterSpec::single(), "standard");
    let _ = field.installed(&[]);
    let config = curl_config(&field);
    let listing = field
        .airgap(&[
            "inspect",
            field.bundle.as_str(),
            "--key",
            field.key.as_str(),
            "--json",
        ])
        .json();
    let entries: Vec<&Value> = listing["entries"].as_array().unwrap().iter().collect();

    let mut looked = 0;
    for entry in entries.iter().filter(|entry| entry["role"] == "image") {
        let (name, locked) = (
            entry["name"].as_str().unwrap(),
            entry["digest"].as_str().unwrap(),
        );
        let (repository, tag) = name.rsplit_once(':').unwrap();
        let url = format!("https://{REGISTRY}/v2/airgap/{repository}/manifests/{tag}");
        let accept = format!("Accept: {}", entry["mediaType"].as_str().unwrap());
        let answer = run(
            "curl",
            &["--config", config.as_str(), "-sSfI", "-H", &accept, &url],
        )
        .ok()
        .to_lowercase();
        assert!(
            answer.contains(&format!("docker-content-digest: {locked}")),
            "{name}: {answer}"
        );
        looked += 1;
    }
    assert!(looked > 40, "{looked}");

    // cosign's documented steps, for an image of each kind, a chart and the RKE2 release
    let digest = |name: &str| {
        entries.iter().find(|entry| entry["name"] == name).unwrap()["digest"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cosign-steps.sh");
    let steps = |repository: &str, digest: &str| {
        let registry = format!("https://{REGISTRY}");
        run(
            script,
            &[
                &registry,
                repository,
                digest,
                field.key.as_str(),
                config.as_str(),
            ],
        )
    };
    for (name, repository) in [
        (ARGOCD, "airgap/quay.io/argoproj/argocd"),
        (
            "docker.io/longhornio/longhorn-ui:v1.12.1",
            "airgap/docker.io/longhornio/longhorn-ui",
        ),
        ("charts/seaweedfs:4.41.0", "airgap/charts/seaweedfs"),
        ("rke2:v1.36.4+rke2r1", "airgap/rke2"),
    ] {
        let digest = digest(name);
        let said = steps(repository, &digest).ok();
        assert!(
            said.contains(&format!("verified: {repository}@{digest}")),
            "{said}"
        );
    }
    let other = digest("docker.io/longhornio/longhorn-ui:v1.12.1");
    let _ = steps("airgap/quay.io/argoproj/argocd", &other).fails(22, &[]);

    // a node asks for quay.io and gets it from the registry
    let node = field.cluster.node("solo");
    let argocd = digest(ARGOCD);
    field.harbor.log().clear();
    let image = format!("quay.io/argoproj/argocd@{argocd}");
    let pulled = node.sh(&format!("{CRICTL} pull {image}")).unwrap();
    assert_eq!(pulled.code, 0, "{pulled:?}");
    assert!(pulled.stdout.contains(&argocd), "{pulled:?}");
    let path = format!("/v2/airgap/quay.io/argoproj/argocd/manifests/{argocd}");
    let asked = field
        .harbor
        .log()
        .count(|request| request.path == path && request.status == 200);
    assert!(asked > 0, "{:#?}", field.harbor.log().all());
    field.nothing_escaped();
}
