//! Records of rendered charts: in step with the catalog, and every disagreement found offline.

use airgap_manifests::{Catalog, FACTS, FoundImage, Rendered, RenderedImages, SiteKind};
use camino::Utf8Path;

use crate::support::{Files, full_lock};

/// A catalog whose records say that helm found these images in cert-manager's chart.
fn with_found(files: &Files, images: &[&str]) -> Vec<String> {
    let catalog = files.load().unwrap();
    let lock = full_lock(&catalog);
    let found = |image: &&str| FoundImage {
        image: (*image).to_owned(),
        template: Some("cert-manager/templates/deployment.yaml".to_owned()),
        field: Some("Deployment cert-manager spec.template.spec.containers.0.image".to_owned()),
    };
    let rendered: RenderedImages = catalog
        .renderings()
        .iter()
        .filter(|needed| needed.component.name == "cert-manager")
        .map(|needed| {
            let key = (needed.component.name.clone(), needed.digest.to_string());
            let images = images.iter().map(found).collect();
            (
                key,
                Rendered {
                    source: "helm v3".to_owned(),
                    images,
                },
            )
        })
        .collect();
    let records = catalog.fresh_records(&lock, &rendered);
    let problems = catalog.with_records(records).check_records(&lock);
    problems.iter().map(ToString::to_string).collect()
}

fn one(found: &[String], expected: &str) {
    assert!(
        found.iter().any(|problem| problem.contains(expected)),
        "expected {expected:?} in {found:#?}"
    );
}

#[test]
fn the_shipped_records_are_in_step_with_catalog_and_lock() {
    let catalog = Catalog::load(Utf8Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let lock = Catalog::builtin_lock().unwrap();
    let problems: Vec<String> = catalog
        .check_records(&lock)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        problems.is_empty(),
        "{problems:#?}\nrun `cargo run -p airgap-manifests --example relock`"
    );
    let fresh = catalog.fresh_records(&lock, &RenderedImages::new());
    let shipped: Vec<_> = catalog.records().cloned().collect();
    for (fresh, shipped) in fresh.iter().zip(&shipped) {
        assert_eq!(
            fresh, shipped,
            "run `cargo run -p airgap-manifests --example relock`"
        );
    }
    assert_eq!(fresh.len(), shipped.len());
}

#[test]
fn every_chart_is_recorded_for_every_edition_and_kind_of_site_that_has_it() {
    let catalog = Catalog::builtin().unwrap();
    let needed = catalog.renderings();
    for component in catalog.components().filter(|of| of.chart.is_some()) {
        let of = needed
            .iter()
            .filter(|needed| needed.component.name == component.name);
        let sites: std::collections::BTreeSet<SiteKind> =
            of.flat_map(|needed| needed.sites.iter().copied()).collect();
        for site in SiteKind::ALL {
            assert_eq!(
                sites.contains(&site),
                component.on(site),
                "{} {site}",
                component.name
            );
        }
    }
    for needed in &needed {
        needed.sample_values().unwrap();
    }
}

#[test]
fn an_image_that_a_chart_asks_for_and_no_component_lists() {
    let found = with_found(
        &Files::shipped(),
        &["quay.io/jetstack/cert-manager-webhook:v9"],
    );
    one(
        &found,
        "chart cert-manager v1.21.1, template cert-manager/templates/deployment.yaml, Deployment cert-manager spec.template.spec.containers.0.image: image quay.io/jetstack/cert-manager-webhook:v9 is not among those of `cert-manager`, so no bundle carries it; add `quay.io/jetstack/cert-manager-webhook:v9` to `images`",
    );
    one(&found, "components/cert-manager.yaml:");
    assert_eq!(
        with_found(
            &Files::shipped(),
            &["quay.io/jetstack/cert-manager-webhook:v1.21.1"]
        ),
        [""; 0]
    );
}

#[test]
fn a_digest_that_a_chart_names_and_no_bundle_carries() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let image = format!("quay.io/jetstack/cert-manager-webhook:v1.21.1@{digest}");
    one(
        &with_found(&Files::shipped(), &[&image]),
        &format!("is named by {digest}, which no bundle carries; write `{image}` under `images`"),
    );
}

#[test]
fn a_rendered_image_that_does_not_parse() {
    one(
        &with_found(
            &Files::shipped(),
            &["quay.io/jetstack/cert-manager-webhook"],
        ),
        "the tag is missing; set the image's tag in `values`",
    );
}

#[test]
fn a_record_whose_values_or_chart_changed() {
    let catalog = Files::shipped().load().unwrap();
    let records = catalog.fresh_records(&full_lock(&catalog), &RenderedImages::new());
    let change = "  startupapicheck:\n    enabled: true\n";
    let other = Files::shipped()
        .replace(
            "components/cert-manager.yaml",
            change,
            "  startupapicheck:\n    enabled: false\n",
        )
        .load()
        .unwrap()
        .with_records(records.clone());
    let mut lock = full_lock(&other);
    let of = |problems: Vec<airgap_manifests::Problem>| -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    };
    let found = of(other.check_records(&lock));
    one(
        &found,
        "chart cert-manager v1.21.1 was not rendered with the values of `cert-manager` for community/",
    );
    one(
        &found,
        "rendered/cert-manager-v1.21.1.yaml: has values of `cert-manager` that no edition gives to the chart any more; run `airgap lock`",
    );
    one(
        &of(other.check_records_of(&lock, "standard", &[]).unwrap_err()),
        "was not rendered with the values of `cert-manager` for standard/onprem",
    );
    let longhorn = lock
        .charts
        .iter_mut()
        .find(|chart| chart.name == "longhorn")
        .unwrap();
    longhorn.sha256 = Some(format!("sha256:{}", "b".repeat(64)).parse().unwrap());
    one(
        &of(other.check_records(&lock)),
        "chart longhorn 1.12.1 is not the one that rendered/longhorn-1.12.1.yaml was made from; run `airgap lock`",
    );
    one(
        &of(other.with_records(Vec::new()).check_records(&lock)),
        "chart longhorn 1.12.1 was never rendered: rendered/longhorn-1.12.1.yaml is missing",
    );
}

#[test]
fn what_helm_found_stays_until_chart_or_values_change() {
    let catalog = Files::shipped().load().unwrap();
    let lock = full_lock(&catalog);
    let rendered: RenderedImages = catalog
        .renderings()
        .iter()
        .map(|needed| {
            let key = (needed.component.name.clone(), needed.digest.to_string());
            (
                key,
                Rendered {
                    source: "helm v3".to_owned(),
                    images: Vec::new(),
                },
            )
        })
        .collect();
    let records = catalog.fresh_records(&lock, &rendered);
    let catalog = catalog.with_records(records.clone());
    assert_eq!(
        catalog.fresh_records(&lock, &RenderedImages::new()),
        records
    );
    let mut lock = lock;
    for chart in &mut lock.charts {
        chart.sha256 = Some(format!("sha256:{}", "c".repeat(64)).parse().unwrap());
    }
    let fresh = catalog.fresh_records(&lock, &RenderedImages::new());
    assert!(
        fresh
            .iter()
            .flat_map(|record| &record.renderings)
            .all(|of| of.source == FACTS)
    );
}
