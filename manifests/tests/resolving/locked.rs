//! What images.lock says of an edition's images, and when it is not believed.

use airgap_manifests::{ALL_PLATFORMS, Catalog, resolve};

use crate::support::{Files, full_lock};

#[test]
fn one_platform_takes_its_own_digests_and_all_take_the_index() {
    let catalog = Catalog::builtin().unwrap();
    let lock = full_lock(&catalog);
    let one = resolve(&catalog, &lock, "community", &[], "linux/amd64").unwrap();
    let all = resolve(&catalog, &lock, "community", &[], ALL_PLATFORMS).unwrap();
    for (one, all) in one.images.iter().zip(&all.images) {
        let entry = lock.image(&one.name).unwrap();
        assert_eq!(one.digest, entry.platforms["linux/amd64"].digest);
        assert_eq!(Some(&all.digest), entry.index.as_ref());
    }
}

#[test]
fn an_unlocked_image_is_refused_by_name() {
    let catalog = Catalog::builtin().unwrap();
    let mut lock = full_lock(&catalog);
    lock.images[0].index = None;
    lock.images[0].platforms.clear();
    lock.charts[0].sha256 = None;
    let name = lock.images[0].name.to_string();
    let problems = resolve(
        &catalog,
        &lock,
        "standard",
        &["rke2-ingress-nginx".to_owned()],
        "linux/amd64",
    )
    .unwrap_err();
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(
        text.iter().any(|line| line.contains(&name)
            && line.contains("is not locked")
            && line.contains("`airgap lock`")),
        "{text:?}"
    );
    assert!(
        text.iter()
            .any(|line| line.contains("chart argo-cd 10.1.1 is not locked")),
        "{text:?}"
    );
}

#[test]
fn an_image_that_the_lock_does_not_have_is_refused_with_its_place() {
    let catalog = Catalog::builtin().unwrap();
    let mut lock = full_lock(&catalog);
    lock.images
        .retain(|image| image.name.repository() != "argoproj/argocd");
    let problems = resolve(&catalog, &lock, "community", &[], "linux/amd64").unwrap_err();
    assert_eq!(problems[0].file, "components/argo-cd.yaml");
    assert!(problems[0].line.is_some());
    assert!(
        problems[0]
            .message
            .contains("quay.io/argoproj/argocd:v3.4.4 is not in images.lock")
    );
}

#[test]
fn a_lock_of_other_manifests_is_refused() {
    let lock = full_lock(&Catalog::builtin().unwrap());
    let other = Files::shipped()
        .replace(
            "components/longhorn.yaml",
            "defaultClass: true",
            "defaultClass: false",
        )
        .load()
        .unwrap();
    let problems = resolve(&other, &lock, "standard", &[], "linux/amd64").unwrap_err();
    assert!(
        problems[0]
            .to_string()
            .contains("was made from other manifests")
            && problems[0].to_string().contains("`airgap lock`"),
        "{problems:?}"
    );
}

#[test]
fn a_lock_entry_that_nothing_refers_to_is_an_error() {
    let catalog = Catalog::builtin().unwrap();
    let mut lock = full_lock(&catalog);
    let mut extra = lock.images[0].clone();
    extra.name = "docker.io/library/unused:1".parse().unwrap();
    lock.images.push(extra);
    let problems = catalog.check_lock(&lock);
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0]
            .message
            .contains("docker.io/library/unused:1 is locked, but nothing refers to it")
    );
    assert!(catalog.check_lock(&catalog.lock_skeleton(&lock)).is_empty());
}

#[test]
fn a_digest_written_in_the_catalog_makes_the_index_travel_whole() {
    let catalog = Catalog::builtin().unwrap();
    let index = full_lock(&catalog)
        .image(&"quay.io/argoproj/argocd:v3.4.4".parse().unwrap())
        .unwrap()
        .index
        .clone()
        .unwrap();
    let pin = |digest: &str| {
        let pinned = format!("quay.io/argoproj/argocd:v3.4.4@{digest}");
        Files::shipped()
            .replace(
                "components/argo-cd.yaml",
                "quay.io/argoproj/argocd:v3.4.4",
                &pinned,
            )
            .load()
            .unwrap()
    };
    let catalog = pin(index.as_ref());
    let resolved = resolve(
        &catalog,
        &full_lock(&catalog),
        "community",
        &[],
        "linux/amd64",
    )
    .unwrap();
    let image = resolved
        .images
        .iter()
        .find(|image| image.name.repository() == "argoproj/argocd")
        .unwrap();
    assert!(image.whole_index && image.digest == index);
    let catalog = pin(&format!("sha256:{}", "0".repeat(64)));
    let problems = resolve(
        &catalog,
        &full_lock(&catalog),
        "community",
        &[],
        "linux/amd64",
    )
    .unwrap_err();
    assert!(
        problems[0]
            .message
            .starts_with("the chart names image quay.io/argoproj/argocd:v3.4.4 by sha256:0000"),
        "{problems:?}"
    );
}
