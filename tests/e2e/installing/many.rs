//! Three servers, two agents, one of them behind a bastion: bring-up, loss, interruption, and what a second run leaves alone.

use std::{thread, time::Duration};

use airgap_testkit::{cluster::ClusterSpec, sampler::Sampler};
use serde_json::Value;

use super::{
    bench::Bench,
    field::{Field, PULL_PASSWORD, PUSH_PASSWORD, TSIG_SECRET, possible},
};

const ALL: [&str; 5] = ["cp1", "cp2", "cp3", "w1", "w2"];

fn members(field: &Field, asked: &str) -> Vec<String> {
    const TLS: &str = "/var/lib/rancher/rke2/server/tls/etcd";
    let text = field.kubectl(
        asked,
        &format!(
            "exec -n kube-system etcd-{asked} -- etcdctl --cacert {TLS}/server-ca.crt --cert {TLS}/server-client.crt \
             --key {TLS}/server-client.key --endpoints https://127.0.0.1:2379 member list -w json"
        ),
    );
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Kills a run after so long, unless it has ended by then.
fn killed_after(field: &Field, pause: Duration) -> bool {
    let mut child = field.begin_install(&[]);
    thread::sleep(pause);
    let ended = child.try_wait().unwrap().is_some();
    let _ = child.kill();
    let _ = child.wait_with_output();
    !ended
}

#[test]
fn a_cluster_comes_up_through_a_bastion_survives_its_seed_and_is_left_alone_when_nothing_changed() {
    if !possible() {
        return;
    }
    let mut field = Field::start(ClusterSpec::of(3, 2).with_bastion(), "community");
    let sampler = Sampler::start(&[PUSH_PASSWORD, PULL_PASSWORD, TSIG_SECRET, "::server:"]);
    let report = field.installed(&[]);
    let (sightings, rounds) = sampler.finish();
    assert!(rounds > 10, "the sampler looked {rounds} times");
    assert_eq!(
        sightings,
        [],
        "a secret was in a command line or an environment"
    );
    assert_eq!(report["changed"], true);
    assert_eq!(field.ready("cp1"), ALL);
    assert_eq!(members(&field, "cp1").len(), 3);

    // a second run: at most one question a tag, two commands a host, no write
    let before = field.harbor.log().all().len();
    let again = field.installed(&[]);
    assert_eq!(again["changed"], false, "{again:#}");
    assert_eq!(
        (
            again["registryWrites"].as_u64(),
            again["filesWritten"]["cp2"].as_u64()
        ),
        (Some(0), Some(0))
    );
    let requests = field.harbor.log().all();
    let writes: Vec<_> = requests[before..]
        .iter()
        .filter(|request| request.is_write())
        .collect();
    // the probe of the rights opens an upload and cancels it
    assert!(
        writes
            .iter()
            .all(|request| request.path.contains("/blobs/uploads/")),
        "{writes:#?}"
    );
    for host in ALL {
        assert!(
            again["commands"][host].as_u64().unwrap() <= 2,
            "{host}: {again:#}"
        );
    }

    if let Ok(path) = std::env::var("AIRGAP_BENCH_COUNTS") {
        // `make bench` wants these numbers and nothing else
        let written: u64 = ALL
            .iter()
            .map(|host| again["filesWritten"][*host].as_u64().unwrap())
            .sum();
        let counts = serde_json::json!({
            "registryWrites": again["registryWrites"],
            "heads": again["registryHeads"],
            "tags": again["pushed"]["present"],
            "filesWritten": written,
            "commands": again["commands"],
        });
        fs_err::write(path, counts.to_string()).unwrap();
        return;
    }

    // the first listed server is set up anew: it joins the cluster it founded
    let authority = field
        .cluster
        .node("cp2")
        .check(&[
            "sha256sum",
            "/var/lib/rancher/rke2/server/tls/server-ca.crt",
        ])
        .unwrap();
    field.cluster.reimage("cp1").unwrap();
    let rejoined = field.installed(&[]);
    assert_eq!(rejoined["changed"], true);
    assert_eq!(field.ready("cp2"), ALL);
    assert_eq!(members(&field, "cp2").len(), 3, "the former member is gone");
    assert_eq!(
        field
            .cluster
            .node("cp1")
            .check(&[
                "sha256sum",
                "/var/lib/rancher/rke2/server/tls/server-ca.crt"
            ])
            .unwrap(),
        authority,
        "one cluster, not two"
    );
    let third = field.installed(&[]);
    assert_eq!(third["changed"], false, "{third:#}");

    // with the registry down nothing is asked of the internet, and the installer says what is wrong
    field.harbor.leave();
    let image = field.cluster.node("w1").sh("/var/lib/rancher/rke2/bin/crictl --runtime-endpoint unix:///run/k3s/containerd/containerd.sock pull quay.io/argoproj/argocd:v3.4.4").unwrap();
    assert_ne!(image.code, 0, "{image:?}");
    let outcome = field.install(&[]);
    assert_eq!(outcome.code, 4, "{}", outcome.transcript());
    assert!(
        outcome.stdout.contains("harbor.site.test"),
        "{}",
        outcome.transcript()
    );
    field.nothing_escaped();
    field.harbor.come_back();
    assert_eq!(field.installed(&[])["changed"], false);

    // a later bundle is installed, the former one is refused then
    let former = std::mem::replace(&mut field.bundle, Bench::get().bundle("community", 1));
    field.installed(&[]);
    field.bundle = former;
    let refused = field.install(&[]).fails(3, &["is older than release"]);
    let status = field.airgap(&["status"]);
    assert_eq!(status.code, 0, "{}", status.transcript());
    for secret in [PUSH_PASSWORD, PULL_PASSWORD] {
        assert!(!status.stdout.contains(secret) && !refused.stderr.contains(secret));
    }
}

#[test]
fn an_installation_that_is_killed_at_any_moment_goes_on_with_the_same_command() {
    if !possible() {
        return;
    }
    let field = Field::start(ClusterSpec::of(3, 1), "community");
    let mut killed = 0;
    for seconds in [1, 2, 4, 5, 7, 9, 12] {
        if !killed_after(&field, Duration::from_secs(seconds)) {
            break;
        }
        killed += 1;
    }
    assert!(killed > 2, "only {killed} runs were interrupted");
    field.installed(&[]);
    assert_eq!(field.ready("cp1"), ["cp1", "cp2", "cp3", "w1"]);
    assert_eq!(members(&field, "cp1").len(), 3);
    assert_eq!(field.installed(&[])["changed"], false);
}
