//! The connected side stands in for the whole built-in catalog.

use super::*;

fn world() -> World {
    let catalog = Catalog::builtin().expect("the built-in catalog is sound");
    World::start(&catalog, b"stand-in", None).expect("the catalog can be stood in for")
}

#[test]
fn two_worlds_serve_the_same_bytes() {
    let (one, two) = (world(), world());
    assert_eq!(one.release.files, two.release.files);
    for (name, image) in one.images() {
        assert_eq!(image.digest(), two.image(name).digest(), "{name}");
    }
}

#[test]
fn images_are_distinct_share_a_base_and_are_of_both_kinds() {
    let world = world();
    let digests: BTreeSet<String> = world
        .images()
        .values()
        .map(|image| image.digest().to_string())
        .collect();
    assert_eq!(digests.len(), world.images().len());
    let argocd = world.image("quay.io/argoproj/argocd:v3.4.4");
    let longhorn = world.image("docker.io/longhornio/longhorn-ui:v1.12.1");
    assert!(argocd.media_type.contains("oci.image.index"));
    assert!(longhorn.media_type.contains("docker"));
    let base = |image: &Image| image.blobs[1].clone();
    assert_eq!(base(argocd), base(longhorn));
}

#[test]
fn logins_stand_where_they_belong() {
    let world = world();
    let upstreams = world.upstreams_yaml(BASIC_PASSWORD);
    assert!(upstreams.contains(BASIC_PASSWORD) && !upstreams.contains(TOKEN_PASSWORD));
    let config = world.docker_config(TOKEN_PASSWORD);
    assert!(config.contains(&world.registry("quay.io").address().to_string()));
    assert!(!config.contains(&world.registry("ghcr.io").address().to_string()));
}
