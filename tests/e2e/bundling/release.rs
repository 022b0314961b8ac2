//! A release as the README makes it: key, lock, bundle, and every way of looking at it.

use std::collections::BTreeSet;

use airgap_testkit::image::digest_of;
use airgap_testkit::require_tool;

use crate::support::{Connected, charts};

const ARGOCD: &str = "quay.io/argoproj/argocd:v3.4.4";
const SEAWEEDFS: &str = "docker.io/chrislusf/seaweedfs:4.41";

#[test]
fn a_lock_shows_what_changed_and_a_second_one_changes_nothing() {
    let connected = Connected::start();
    let before = connected.read("images.lock");
    let stale = connected
        .airgap("lock --check --upstreams upstreams.yaml")
        .fails(1, &["is not up to date", "airgap lock"]);
    assert!(stale.stdout.contains(ARGOCD), "{}", stale.transcript());
    assert_eq!(
        connected.read("images.lock"),
        before,
        "--check writes nothing"
    );

    let said = connected.airgap("lock --upstreams upstreams.yaml").ok();
    assert!(
        said.contains(ARGOCD) && said.contains("wrote images.lock"),
        "{said}"
    );
    let locked = connected.read("images.lock");
    assert_ne!(locked, before);
    let text = String::from_utf8(locked.clone()).unwrap();
    let argocd = connected.world.image(ARGOCD);
    assert!(text.contains(&argocd.digest().to_string()));
    assert!(
        text.contains(&digest_of(&argocd.children[0].1).to_string()),
        "the platform's manifest is locked too"
    );

    let said = connected.airgap("lock --upstreams upstreams.yaml").ok();
    assert!(said.contains("left unchanged images.lock"), "{said}");
    assert_eq!(connected.read("images.lock"), locked);
    let said = connected
        .airgap("lock --check --upstreams upstreams.yaml")
        .ok();
    assert!(said.contains("up to date"), "{said}");

    fs_err::remove_file(connected.path("manifests/rendered/argo-cd-10.1.1.yaml")).unwrap();
    let _ = connected
        .airgap("lock --check --upstreams upstreams.yaml")
        .fails(
            2,
            &["chart argo-cd 10.1.1 was never rendered", "airgap lock"],
        );
}

#[test]
fn a_bundle_carries_what_the_lock_says_and_nothing_else_is_written() {
    let connected = Connected::locked();
    let _ = connected
        .airgap(
            "bundle --edition standard --key airgap.key --output out --upstreams upstreams.yaml",
        )
        .ok();
    let bundle = "airgap-standard-0.1.0-amd64.tar.zst";
    let installer = format!("airgap-{}-linux-amd64", env!("CARGO_PKG_VERSION"));
    let wanted = BTreeSet::from([bundle.to_owned(), format!("{installer}.sig"), installer]);
    assert_eq!(connected.list("out"), wanted);

    let said = connected
        .airgap(&format!("verify out/{bundle} --key airgap.pub"))
        .ok();
    assert!(
        said.contains("all as signed") && said.contains("which you trust"),
        "{said}"
    );
    let listing = connected
        .airgap(&format!("inspect out/{bundle} --key airgap.pub --json"))
        .json();
    let entries = listing["entries"].as_array().unwrap();
    let images: Vec<_> = entries
        .iter()
        .filter(|entry| entry["role"] == "image")
        .collect();
    assert!(images.len() > 30, "{}", images.len());
    for entry in &images {
        let image = connected.world.image(entry["name"].as_str().unwrap());
        // the tag points at the platform's own manifest
        let expected = image
            .children
            .first()
            .map_or_else(|| image.digest(), |(_, bytes)| digest_of(bytes));
        assert_eq!(entry["digest"], expected.to_string(), "{}", entry["name"]);
    }
    let of_role = |role: &str| entries.iter().filter(|entry| entry["role"] == role).count();
    assert_eq!((of_role("rke2"), of_role("edition")), (1, 1));
    assert!(of_role("chart") >= 4);
    // upstream's own SBOM of the platform image does not exist, so nothing but signatures travels beside the images
    assert!(of_role("signature") >= images.len());

    for (name, content) in &connected.world.release().files {
        if name.contains("images") {
            continue;
        }
        let line = format!(
            "extract rke2:v1.36.4+rke2r1 --file {name} --bundle out/{bundle} --key airgap.pub -o {name}"
        );
        let _ = connected.airgap(&line).ok();
        assert_eq!(connected.read(name), *content, "{name}");
    }
}

#[test]
fn nothing_is_shown_of_a_bundle_without_a_trusted_key() {
    let connected = Connected::locked();
    let _ = connected
        .airgap(
            "bundle --edition community --key airgap.key --output out --upstreams upstreams.yaml",
        )
        .ok();
    let bundle = connected.bundle_in("out");
    let _ = connected
        .airgap(&format!("inspect {bundle}"))
        .fails(2, &["--insecure-untrusted"]);
    let _ = connected.airgap("keygen other.key").ok();
    let _ = connected
        .airgap(&format!("verify {bundle} --key other.pub"))
        .fails(3, &[]);
    let said = connected
        .airgap(&format!("inspect {bundle} --insecure-untrusted"))
        .ok();
    assert!(
        said.lines().all(|line| line.starts_with("UNVERIFIED")),
        "{said}"
    );
}

#[test]
fn two_editions_are_told_apart() {
    let connected = Connected::locked();
    for edition in ["community", "standard"] {
        let line = format!(
            "bundle --edition {edition} --key airgap.key --output {edition} --upstreams upstreams.yaml"
        );
        let _ = connected.airgap(&line).ok();
    }
    let (old, new) = (
        connected.bundle_in("community"),
        connected.bundle_in("standard"),
    );
    let said = connected
        .airgap(&format!("diff {old} {new} --key airgap.pub"))
        .ok();
    assert!(
        said.lines()
            .any(|line| line.starts_with('+') && line.contains(SEAWEEDFS)),
        "{said}"
    );
    assert!(
        said.lines()
            .any(|line| line.starts_with('-') && line.contains("hardened-flannel")),
        "{said}"
    );
    assert!(
        !said.contains(ARGOCD),
        "what both have is no difference:\n{said}"
    );
}

#[test]
fn the_publishers_own_chart_arrives_unchanged() {
    let Some(charts) = charts() else {
        eprintln!("SKIPPED: the publishers' charts are not here (AIRGAP_TEST_CHARTS)");
        return;
    };
    let connected = Connected::locked();
    let _ = connected
        .airgap(
            "bundle --edition standard --key airgap.key --output out --upstreams upstreams.yaml",
        )
        .ok();
    let bundle = connected.bundle_in("out");
    let line =
        format!("extract charts/seaweedfs:4.41.0 --bundle {bundle} --key airgap.pub -o chart");
    let _ = connected.airgap(&line).ok();
    let published = fs_err::read(charts.join("seaweedfs-4.41.0.tgz")).unwrap();
    assert_eq!(connected.read("chart/seaweedfs-4.41.0.tgz"), published);
}

#[test]
fn the_handed_over_program_is_checked_by_the_steps_that_bundle_prints() {
    if !require_tool("openssl") {
        return;
    }
    let connected = Connected::locked();
    let made = connected.airgap("bundle --edition community --key airgap.key --output out --upstreams upstreams.yaml --json").json();
    let steps: Vec<&str> = made["handover"]["firstSteps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step.as_str().unwrap())
        .collect();
    let note = made["handover"]["deliveryNote"].as_str().unwrap();
    // the public key came by another way; in this test the folder above stands for it
    let here = |step: &str| {
        let step = step
            .replace("/tmp/", "../")
            .replace("/usr/local/bin/airgap", "../installed")
            .replace("airgap.pub", "../airgap.pub");
        format!("cd out && {step}")
    };
    let _ = connected.shell(&here(steps[0])).ok();
    let said = connected.shell(&here(steps[1])).ok();
    assert!(said.contains("Signature Verified Successfully"), "{said}");
    let _ = connected.shell(&here(steps[2])).ok();
    let _ = connected
        .shell(&format!("cd out && echo '{note}' | sha256sum -c -"))
        .ok();
    let verify = steps[3].strip_prefix("airgap ").unwrap();
    let _ = connected
        .shell(&here(&format!("../installed {verify}")))
        .ok();
}
