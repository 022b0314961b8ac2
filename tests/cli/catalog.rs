//! `catalog`, and the licences that `bundle` asks about, over a catalog of three components.

use airgap_manifests::Catalog;

use crate::support::World;

const FILES: [(&str, &str); 8] = [
    ("registries.yaml", "mirrorHosts: [docker.io, quay.io]\n"),
    ("sites/onprem.yaml", "name: onprem\ntitle: On-premises\nabout: machines\n"),
    ("sites/aws.yaml", "name: aws\ntitle: AWS\nabout: instances\n"),
    (
        "editions/small.yaml",
        "name: small\ntitle: Small\nabout: for tests\nminNodes: 1\ncomponents: [rke2, argo-cd]\naddOns: [gate]\n",
    ),
    ("static/gate.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: gate}\n"),
    (
        "components/rke2.yaml",
        "name: rke2
title: RKE2
about: the cluster
version: v1.36.4+rke2r1
licence: Apache-2.0
namespace: kube-system
delivery: rke2
provides: [cni]
release: {version: v1.36.4+rke2r1, runtimeImage: 'docker.io/rancher/rke2-runtime:v1', files: []}
images: ['docker.io/rancher/rke2-runtime:v1']
rke2: {server: {cni: none, ingress-controller: none}}
",
    ),
    (
        "components/argo-cd.yaml",
        "name: argo-cd
title: Argo CD
about: delivers the rest
version: v3
licence: Apache-2.0
notice: Its cache has a licence of its own.
namespace: argocd
delivery: helmChart
needs: [cni]
provides: [gitops]
requests: {cpu: 250m, memory: 512Mi}
chart: {name: argo-cd, version: 1.0.0, url: 'https://charts.example/argo-cd.tgz'}
siteImages: {onprem: ['quay.io/argoproj/argocd:v3'], aws: ['quay.io/argoproj/argocd:v3', 'docker.io/library/redis:8']}
",
    ),
    (
        "components/gate.yaml",
        "name: gate
title: Gate
about: lets people in
version: '1'
licence: Gate Community Licence
redistribution: only with the vendor's consent
accept: gate-ce
namespace: gate
delivery: static
manifest: gate
",
    ),
];

fn world() -> World {
    let world = World::new();
    for (path, text) in FILES {
        let path = format!("manifests/{path}");
        fs_err::create_dir_all(world.path(&path).parent().unwrap()).unwrap();
        world.write(&path, text);
    }
    world
}

#[test]
fn components_are_listed_with_their_editions() {
    insta::assert_snapshot!(world().airgap("catalog list").transcript());
}

#[test]
fn one_component_is_shown_whole() {
    insta::assert_snapshot!(world().airgap("catalog show argo-cd").transcript());
    let outcome = world().airgap("catalog show argo");
    assert_eq!(outcome.code, 2);
    assert!(
        outcome.stderr.contains("did you mean `argo-cd`?"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn images_are_those_of_the_edition_and_kind_of_site() {
    let world = world();
    let count = |arguments: &str| {
        let outcome = world.airgap(&format!("--json catalog images {arguments}"));
        outcome.json()["images"].as_array().unwrap().len()
    };
    assert_eq!(count(""), 3);
    assert_eq!(count("--edition small --site onprem"), 2);
    assert_eq!(count("--edition small --site aws"), 3);
    insta::assert_snapshot!(
        world
            .airgap("catalog images --edition small --site aws")
            .transcript()
    );
}

#[test]
fn licences_name_what_may_not_be_resold() {
    insta::assert_snapshot!(world().airgap("catalog licences").transcript());
    let json = world().airgap("--json catalog licences").json();
    assert_eq!(json["licences"][1]["accept"], "gate-ce");
}

#[test]
fn an_edition_or_site_that_is_none_is_answered_with_those_there_are() {
    let outcome = world().airgap("catalog images --edition smal");
    assert!(
        outcome.stderr.contains("did you mean `small`?"),
        "{}",
        outcome.stderr
    );
    let outcome = world().airgap("catalog images --site azure");
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("onprem, aws"), "{}", outcome.stderr);
}

#[test]
fn an_edition_or_add_on_that_does_not_exist_is_wrong_usage_for_every_command() {
    let world = world();
    let catalog = Catalog::load(&world.path("manifests")).unwrap();
    let lock = catalog.lock_skeleton(&Catalog::builtin_lock().unwrap());
    world.write("images.lock", lock.to_yaml());
    for wrong in ["--edition nope", "--edition small --with nope"] {
        for command in ["bundle --dry-run --cache cache", "catalog images"] {
            let outcome = world.airgap(&format!("{command} {wrong}"));
            let (code, text) = (outcome.code, outcome.transcript());
            assert!(code == 2 && text.contains("`nope`"), "{text}");
        }
    }
}

#[test]
fn a_licence_that_was_not_accepted_stops_the_bundle() {
    let world = world();
    let catalog = Catalog::load(&world.path("manifests")).unwrap();
    let lock = catalog.lock_skeleton(&Catalog::builtin_lock().unwrap());
    world.write("images.lock", lock.to_yaml());
    let bundle = "bundle --dry-run --edition small --with gate --cache cache";
    insta::assert_snapshot!(world.airgap(bundle).transcript());
    // accepted, the next thing that is missing is named
    let outcome = world.airgap(&format!("{bundle} --accept-licence gate-ce"));
    assert!(
        outcome.stderr.contains("is not locked"),
        "{}",
        outcome.stderr
    );
    assert!(
        !outcome.stderr.contains("must be accepted"),
        "{}",
        outcome.stderr
    );
    let outcome =
        world.airgap("bundle --dry-run --edition small --accept-licence gate-cc --cache cache");
    assert!(
        outcome.stderr.contains("did you mean `gate-ce`?"),
        "{}",
        outcome.stderr
    );
}
