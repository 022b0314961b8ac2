//! The shipped catalog: valid, in step with images.lock, and as the design wants it.

use airgap_manifests::{Catalog, Delivery, ImageLock, SiteKind, catalog_markdown, unlocked};
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

#[test]
fn the_document_of_the_catalog_is_what_the_catalog_says() {
    let text = catalog_markdown(
        &Catalog::builtin().unwrap(),
        &Catalog::builtin_lock().unwrap(),
    );
    assert!(
        text == fs_err::read_to_string(root().join("../docs/catalog.md")).unwrap(),
        "docs/catalog.md is stale: run `cargo run -p airgap-manifests --example relock`"
    );
}

/// The user's own rule: what the editions share is the larger part by far.
#[test]
fn the_three_editions_share_at_least_four_fifths_of_their_manifest_lines() {
    use std::collections::BTreeMap;

    let catalog = Catalog::builtin().unwrap();
    let lines = |folder: &str, name: &str| -> usize {
        let text =
            fs_err::read_to_string(root().join(folder).join(format!("{name}.yaml"))).unwrap();
        text.lines()
            .filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#'))
            .count()
    };
    // a line is shared where every edition that carries its component carries it from the same file, and edition-specific
    // where it stands in an edition's own file, or holds only beside components that not all of those editions have
    let mut own = 0;
    let mut all = 0;
    for edition in catalog.editions() {
        own += lines("editions", &edition.name);
    }
    let mut beside: BTreeMap<String, usize> = BTreeMap::new();
    for component in catalog.components() {
        all += lines("components", &component.name);
        let with = component.values_with.iter().map(|with| {
            airgap_manifests::to_yaml(&serde_json::Value::Object(with.values.clone()))
                .unwrap()
                .lines()
                .count()
                + 1
        });
        let needs = component.needs_with.len();
        *beside.entry(component.name.clone()).or_default() += with.sum::<usize>() + needs;
    }
    for site in SiteKind::ALL {
        all += lines("sites", site.name());
    }
    all += own;
    let differing = own + beside.values().sum::<usize>();
    let share = 100 * (all - differing) / all;
    println!("the editions share {share} % of their {all} manifest lines; {differing} differ");
    assert!(share >= 80, "only {share} %");
}
