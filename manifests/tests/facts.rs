//! The catalog's images beside those of the research the project started from, where that lies beside the checkout.
//!
//! Every difference is meant, and explained here and in manifests/README.md.

use std::collections::{BTreeMap, BTreeSet};

use airgap_manifests::{Catalog, Delivery, SiteKind};
use camino::Utf8Path;
use serde_json::Value;

/// Images, or components, that differ from the research, and why.
const EXPLAINED: [(&str, &str); 10] = [
    (
        "rke2",
        "RKE2 v1.36.4 has images of its own build; the research saw v1.35.7 and v1.36.3",
    ),
    ("rke2-canal", "as RKE2 v1.36.4 carries it"),
    ("rke2-traefik", "as RKE2 v1.36.4 carries it"),
    ("rke2-ingress-nginx", "as RKE2 v1.36.4 carries it"),
    (
        "kube-vip",
        "a newer release, pinned by its own manifest instead of by a chart",
    ),
    (
        "ghcr.io/dexidp/dex",
        "Argo CD talks to Keycloak directly; its own provider is off",
    ),
    (
        "quay.io/metallb/frr-k8s",
        "routes by BGP; MetalLB announces by layer 2 here",
    ),
    (
        "quay.io/frrouting/frr",
        "routes by BGP; MetalLB announces by layer 2 here",
    ),
    (
        "docker.io/hashicorp/vault-k8s",
        "the injector of OpenBao and Vault is off",
    ),
    (
        "reg.kyverno.io/kyverno/kyverno-cli",
        "a job that migrates what an older Kyverno left; there is none",
    ),
];

/// What the research says of one image.
struct Researched {
    component: String,
    repository: String,
    tag: String,
    carried: bool,
}

fn researched() -> Option<Vec<Researched>> {
    let folder = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/facts");
    let mut found = Vec::new();
    for name in ["catalog-core.yaml", "catalog-ext.yaml"] {
        let text = fs_err::read_to_string(folder.join(name)).ok()?;
        let tree: Value = serde_saphyr::from_str(&text).unwrap();
        for component in tree["components"].as_array().unwrap() {
            for image in component["images"].as_array().into_iter().flatten() {
                let reference = image["ref"].as_str().unwrap().split('@').next().unwrap();
                let (repository, tag) = reference.rsplit_once(':').unwrap();
                found.push(Researched {
                    component: component["name"].as_str().unwrap().to_owned(),
                    repository: repository.to_owned(),
                    tag: tag.to_owned(),
                    carried: image["in_airgap_profile"] == true || image["required"] == "default",
                });
            }
        }
    }
    Some(found)
}

fn explained(component: &str, repository: &str) -> bool {
    EXPLAINED
        .iter()
        .any(|(what, _)| *what == component || *what == repository)
}

#[test]
fn the_images_agree_with_the_research_or_the_difference_is_explained() {
    let Some(researched) = researched() else {
        println!("the research does not lie beside this checkout: nothing to compare with");
        return;
    };
    let catalog = Catalog::builtin().unwrap();
    let mut tags: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for image in &researched {
        tags.entry(&image.repository)
            .or_default()
            .insert(&image.tag);
    }
    let mut ours: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    for component in catalog.components() {
        for (_, _, text) in component.image_texts() {
            let image = text.split('@').next().unwrap();
            let (repository, tag) = image.rsplit_once(':').unwrap();
            ours.insert(repository.to_owned(), tag.to_owned());
            let known = tags.get(repository);
            if known.is_some_and(|known| !known.contains(tag))
                && !explained(&component.name, repository)
            {
                wrong.push(format!(
                    "{}: {image}, researched: {known:?}",
                    component.name
                ));
            }
        }
    }
    for image in researched.iter().filter(|image| image.carried) {
        if catalog.component(&image.component).is_some()
            && !ours.contains_key(&image.repository)
            && !explained(&image.component, &image.repository)
        {
            let name = format!("{}:{}", image.repository, image.tag);
            wrong.push(format!(
                "{}: {name} was researched and is not listed",
                image.component
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong:#?}\ncorrect the component files, or explain it in EXPLAINED and in manifests/README.md"
    );
}

/// What `airgap catalog images --edition standard --site onprem` lists is what the records say that charts ask for, and what comes without
/// a chart.
#[test]
fn the_images_of_an_edition_are_those_its_records_and_static_parts_ask_for() {
    let catalog = Catalog::builtin().unwrap();
    let with: [String; 0] = [];
    let rows = catalog
        .image_rows(None, Some("standard"), &with, Some(SiteKind::Onprem))
        .unwrap();
    let listed: BTreeSet<&str> = rows
        .iter()
        .map(|row| row.image.split('@').next().unwrap())
        .collect();
    let chosen = catalog
        .chosen("standard", &with, Some(SiteKind::Onprem))
        .unwrap();
    for component in &chosen {
        let texts = component
            .image_texts()
            .filter(|(site, _, _)| site.is_none_or(|site| site == SiteKind::Onprem));
        for (_, _, text) in texts {
            assert!(listed.contains(text.split('@').next().unwrap()), "{text}");
        }
    }
    let here = |name: &str| chosen.iter().any(|component| component.name == name);
    for record in catalog.records() {
        let renderings = record.renderings.iter().filter(|of| {
            here(&of.component)
                && of
                    .editions
                    .iter()
                    .any(|edition| edition == "standard/onprem")
        });
        for image in renderings.flat_map(|of| &of.images) {
            let name = image.image.split('@').next().unwrap();
            assert!(listed.contains(name), "{name} of {}", record.chart);
        }
    }
    assert!(
        chosen
            .iter()
            .any(|component| component.delivery == Delivery::Rke2)
    );
    assert!(listed.len() > 30, "{}", listed.len());
}
