//! The shipped catalog: valid, in step with images.lock, and as the design wants it.

use airgap_manifests::{Catalog, Delivery, ImageLock, SiteKind, unlocked};
use camino::Utf8Path;

fn root() -> &'static Utf8Path {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_builtin_catalog_is_valid_and_equal_to_the_folder() {
    let builtin = Catalog::builtin().unwrap();
    let folder = Catalog::load(root()).unwrap();
    assert_eq!(builtin.manifests_digest(), folder.manifests_digest());
    assert_eq!(builtin.origin(), None);
    assert_eq!(folder.origin(), Some(root()));
}

#[test]
fn images_lock_agrees_with_the_catalog() {
    let catalog = Catalog::builtin().unwrap();
    let lock = Catalog::builtin_lock().unwrap();
    let problems: Vec<String> = catalog
        .check_lock(&lock)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        problems.is_empty(),
        "{problems:#?}\nrun `cargo run -p airgap-manifests --example relock`"
    );
}

#[test]
fn images_lock_is_written_as_the_program_writes_it() {
    let text = fs_err::read_to_string(root().join("../images.lock")).unwrap();
    let lock = ImageLock::parse(&text, "images.lock".into()).unwrap();
    assert_eq!(lock.to_yaml(), text);
}

#[test]
fn every_digest_in_images_lock_names_its_source() {
    let lock = Catalog::builtin_lock().unwrap();
    for image in &lock.images {
        assert_eq!(
            image.is_locked("linux/amd64"),
            image.source.is_some(),
            "{}",
            image.name
        );
    }
    for chart in &lock.charts {
        assert_eq!(
            chart.sha256.is_some(),
            chart.source.is_some(),
            "{}",
            chart.name
        );
    }
    for file in &lock.files {
        assert_eq!(file.sha256.is_some(), file.source.is_some(), "{}", file.url);
    }
}

#[test]
fn what_is_not_locked_yet_is_known() {
    let lock = Catalog::builtin_lock().unwrap();
    let open: Vec<String> = unlocked(&lock, "linux/amd64")
        .iter()
        .map(ToString::to_string)
        .collect();
    insta::assert_snapshot!(open.join("\n"));
}

#[test]
fn the_digest_is_what_sha256sum_makes_of_the_tree() {
    let script = "cd \"$1\" && LC_ALL=C sha256sum $(printf '%s\\n' components/* editions/* sites/* static/* registries.yaml | LC_ALL=C sort) | sha256sum | cut -d' ' -f1";
    let output = std::process::Command::new("sh")
        .args(["-c", script, "sh", root().as_str()])
        .output()
        .unwrap();
    let expected = format!(
        "sha256:{}",
        String::from_utf8(output.stdout).unwrap().trim()
    );
    assert_eq!(
        Catalog::builtin().unwrap().manifests_digest().to_string(),
        expected
    );
}

#[test]
fn on_aws_the_cloud_controller_starts_before_everything_that_waits_for_it() {
    let catalog = Catalog::builtin().unwrap();
    let controller = catalog.component("aws-cloud-controller-manager").unwrap();
    assert_eq!(controller.delivery, Delivery::Bootstrap);
    assert!(controller.on(SiteKind::Aws) && !controller.on(SiteKind::Onprem));
    let values = &controller.values;
    // RKE2 labels servers with the value "true"; the chart's own empty value matches none of them
    assert_eq!(
        values["nodeSelector"]["node-role.kubernetes.io/control-plane"],
        "true"
    );
    assert_eq!(values["hostNetworking"], true);
    assert_eq!(values["dnsPolicy"], "Default");
    let tolerated: Vec<&str> = values["tolerations"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|toleration| toleration["key"].as_str())
        .collect();
    assert!(
        tolerated.contains(&"node.cloudprovider.kubernetes.io/uninitialized"),
        "{tolerated:?}"
    );
    let arguments: Vec<&str> = values["args"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|argument| argument.as_str())
        .collect();
    assert!(
        arguments.contains(&"--cluster-name=${site.awsClusterName}"),
        "{arguments:?}"
    );
}

#[test]
fn the_six_hosts_of_the_core_and_those_beyond_are_mirrored() {
    let hosts = Catalog::builtin().unwrap().mirror_hosts();
    for host in [
        "docker.io",
        "quay.io",
        "ghcr.io",
        "registry.k8s.io",
        "public.ecr.aws",
        "ecr-public.aws.com",
        "reg.kyverno.io",
        "gcr.io",
    ] {
        assert!(hosts.iter().any(|known| known == host), "{host}");
    }
}
