//! Catalogs that are wrong: each mistake is found with file, line and remedy, and all of them at once.

mod asks;
mod objects;

use camino::Utf8Path;

use crate::support::Files;

fn problems(files: &Files) -> Vec<String> {
    files.load().unwrap_err()
}

fn one(files: &Files, expected: &str) {
    let found = problems(files);
    assert!(
        found.iter().any(|problem| problem.contains(expected)),
        "expected {expected:?} in {found:#?}"
    );
}

#[test]
fn every_problem_of_every_file_is_reported_at_once() {
    let files = Files::shipped()
        .replace("components/longhorn.yaml", "about:", "abuot:")
        .replace(
            "components/cert-manager.yaml",
            "quay.io/jetstack/cert-manager-webhook:v1.21.1",
            "quay.io/jetstack/Cert Manager",
        )
        .replace("editions/standard.yaml", "- seaweedfs", "- seaweed-fs")
        .add("static/unused.yaml", "apiVersion: v1\nkind: ConfigMap\n");
    insta::assert_snapshot!(problems(&files).join("\n"));
}

#[test]
fn a_component_with_an_unknown_key() {
    one(
        &Files::shipped().replace(
            "components/argo-cd.yaml",
            "namespace: argocd",
            "namspace: argocd",
        ),
        "components/argo-cd.yaml:7: unknown key `namspace`; did you mean `namespace`?",
    );
}

#[test]
fn a_component_whose_name_is_not_the_files() {
    one(
        &Files::shipped().replace("components/argo-cd.yaml", "name: argo-cd", "name: argocd"),
        "is named `argocd`, but the file `argo-cd.yaml`",
    );
}

#[test]
fn an_edition_that_names_an_unknown_component() {
    one(
        &Files::shipped().replace("editions/community.yaml", "- longhorn", "- longhorm"),
        "editions/community.yaml:15: there is no component `longhorm`; did you mean `longhorn`?",
    );
}

#[test]
fn a_component_that_no_edition_lists() {
    one(
        &Files::shipped().replace("editions/standard.yaml", "  - seaweedfs\n", ""),
        "no edition lists `seaweedfs`",
    );
}

#[test]
fn a_group_of_add_ons_that_is_no_group() {
    let with = |group: &str| {
        let groups = format!("addOnGroups:\n  {group}\n");
        Files::shipped().replace("editions/standard.yaml", "addOnGroups:\n", &groups)
    };
    one(&with("store: [seaweedf]"), "`seaweedf`");
    one(
        &with("longhorn: [seaweedfs]"),
        "`longhorn` is a component too; give the group another name",
    );
}

#[test]
fn editions_that_extend_each_other_in_a_circle() {
    one(
        &Files::shipped().replace(
            "editions/community.yaml",
            "minNodes",
            "extends: enterprise\nminNodes",
        ),
        "editions extend each other in a circle",
    );
    one(
        &Files::shipped().replace(
            "editions/standard.yaml",
            "extends: community",
            "extends: comunity",
        ),
        "extends `comunity`, which is not an edition; did you mean `community`?",
    );
}

#[test]
fn a_need_that_nothing_provides() {
    one(
        &Files::shipped().replace(
            "components/seaweedfs.yaml",
            "needs: [gitops, storage]",
            "needs: [gitops, storage, storages]",
        ),
        "components/seaweedfs.yaml:9: `seaweedfs` needs `storages`, which nothing provides in edition standard on onprem; did you mean `storage`?",
    );
}

#[test]
fn a_volume_without_its_provider_on_one_kind_of_site() {
    let files = Files::shipped().replace(
        "components/aws-ebs-csi-driver.yaml",
        "provides: [storage]",
        "provides: [disks]",
    );
    one(
        &files,
        "`grafana` needs `storage`, which nothing provides in edition community on aws",
    );
}

#[test]
fn components_that_need_each_other() {
    let files = Files::shipped()
        .replace(
            "components/longhorn.yaml",
            "needs: [gitops,",
            "needs: [gitops, s3,",
        )
        .replace(
            "components/cert-manager.yaml",
            "needs: [gitops]",
            "needs: [gitops, storage]",
        );
    let found = problems(&files);
    assert!(
        found
            .iter()
            .any(|problem| problem.starts_with("components/longhorn.yaml:")
                && problem
                    .contains("in a circle in edition standard on onprem: longhorn, seaweedfs")),
        "{found:#?}"
    );
    // it waits for the circle, but is no part of it
    assert!(
        !found
            .iter()
            .any(|problem| problem.contains("circle") && problem.contains("cert-manager")),
        "{found:#?}"
    );
}

#[test]
fn a_component_that_needs_what_it_provides() {
    one(
        &Files::shipped().replace(
            "components/longhorn.yaml",
            "needs: [gitops,",
            "needs: [gitops, storage,",
        ),
        "`longhorn` needs `storage` from itself",
    );
}

#[test]
fn something_before_argo_cd_that_needs_what_argo_cd_delivers() {
    one(
        &Files::shipped().replace(
            "components/kube-vip.yaml",
            "provides: [api-vip]",
            "provides: [api-vip]\nneeds: [storage]",
        ),
        "`kube-vip` starts before Argo CD, but needs `storage` from `longhorn`, which Argo CD delivers",
    );
}

#[test]
fn two_components_that_claim_one_namespace_and_release() {
    let files = Files::shipped().replace(
        "components/seaweedfs.yaml",
        "namespace: object-storage",
        "namespace: longhorn-system\nreleaseName: longhorn",
    );
    one(
        &files,
        "`longhorn` and `seaweedfs` both claim release `longhorn` in namespace `longhorn-system` (edition standard on onprem)",
    );
}

#[test]
fn two_networks() {
    one(
        &Files::shipped().replace(
            "components/rke2-cilium.yaml",
            "replaces: [rke2-canal]\n",
            "",
        ),
        "both provide `cni` in edition standard on onprem",
    );
}

#[test]
fn two_words_for_one_key_of_rke2() {
    let files = Files::shipped().replace(
        "components/rke2-traefik.yaml",
        "  server:\n",
        "  server:\n    cni: calico\n",
    );
    one(
        &files,
        "sets RKE2's `cni` to \"calico\", but it is \"canal\" already (edition community on onprem)",
    );
}

#[test]
fn a_reference_that_is_no_fact() {
    one(
        &Files::shipped().replace(
            "components/argo-cd.yaml",
            "domain: argocd.${site.domain}",
            "domain: argocd.${site.domian}",
        ),
        "components/argo-cd.yaml:26: `values.global.domain` refers to `site.domian`, which is not a fact of a site; did you mean `domain`?",
    );
    one(
        &Files::shipped().replace("static/kube-vip.yaml", "${site.apiVip}", "${site.apivip}"),
        "did you mean `apiVip`?",
    );
}

#[test]
fn an_image_that_does_not_parse_or_is_not_in_full() {
    let files = |text: &str| {
        Files::shipped().replace(
            "components/seaweedfs.yaml",
            "docker.io/chrislusf/seaweedfs:4.41",
            text,
        )
    };
    one(
        &files("docker.io/chrislusf/seaweedfs"),
        "the tag is missing; write registry, repository and tag",
    );
    one(
        &files("chrislusf/seaweedfs:4.41"),
        "image `chrislusf/seaweedfs:4.41` is not in its full form; write `docker.io/chrislusf/seaweedfs:4.41`",
    );
    one(
        &files("registry.example/seaweedfs:4.41"),
        "comes from `registry.example`, for which sites have no mirror; add the host to `mirrorHosts`",
    );
}

#[test]
fn a_secret_that_is_weak_or_refers_to_nothing() {
    one(
        &Files::shipped().replace(
            "components/seaweedfs.yaml",
            "{kind: password, length: 40}",
            "{kind: password, length: 4}",
        ),
        "password `secretKey` of 4 characters is too short",
    );
    one(
        &Files::shipped().replace(
            "components/seaweedfs.yaml",
            "${key.secretKey}",
            "${key.secretkey}",
        ),
        "refers to key `secretkey`, which the secret does not have; did you mean `secretKey`?",
    );
}

#[test]
fn a_delivery_without_what_it_needs_or_with_what_it_does_not() {
    one(
        &Files::shipped().replace(
            "components/rke2-canal.yaml",
            "delivery: rke2",
            "delivery: rke2\nchart: {name: rke2-canal, version: 1.0.0, url: oci://quay.io/x}",
        ),
        "components/rke2-canal.yaml:8: this delivery has no chart of its own; take `chart` away",
    );
    one(
        &Files::shipped().replace(
            "components/kube-vip.yaml",
            "manifest: kube-vip",
            "manifest: kubevip",
        ),
        "there is no `static/kubevip.yaml`; did you mean `kube-vip`?",
    );
    one(
        &Files::shipped().replace(
            "components/longhorn.yaml",
            "https://github.com/longhorn/charts",
            "ftp://x/longhorn/charts",
        ),
        "is not a chart's address",
    );
    one(
        &Files::shipped().replace(
            "components/rke2.yaml",
            "runtimeImage: docker.io/rancher/rke2-runtime:v1.36.4-rke2r1",
            "runtimeImage: docker.io/rancher/rke2-runtime:v1.36.3-rke2r1",
        ),
        "`release.runtimeImage` is not among `images`",
    );
}

#[test]
fn files_that_are_missing_or_do_not_belong() {
    one(
        &Files::shipped().remove("registries.yaml"),
        "registries.yaml: is missing",
    );
    one(
        &Files::shipped().remove("sites/aws.yaml"),
        "sites/aws.yaml: is missing",
    );
    one(
        &Files::shipped().add("components/notes.txt", "x"),
        "components/notes.txt: is not a YAML file of the catalog",
    );
    one(
        &Files::shipped().add("components/empty.yaml", ""),
        "components/empty.yaml: the file is empty",
    );
}

#[test]
fn a_folder_on_disk_is_read_like_the_builtin_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap();
    Files::shipped().write(path);
    assert_eq!(
        airgap_manifests::Catalog::load(path)
            .unwrap()
            .manifests_digest(),
        airgap_manifests::Catalog::builtin()
            .unwrap()
            .manifests_digest()
    );
    fs_err::remove_dir_all(path.join("static")).unwrap();
    let found = airgap_manifests::Catalog::load(path).unwrap_err();
    assert!(
        found[0].to_string().contains("cannot be read")
            && found[0].to_string().contains("`--manifests`"),
        "{found:?}"
    );
}

#[test]
fn an_image_of_a_static_object_that_its_component_does_not_list() {
    one(
        &Files::shipped().replace(
            "static/kube-vip.yaml",
            "image: ghcr.io/kube-vip/kube-vip:v1.2.1",
            "image: ghcr.io/kube-vip/kube-vip:v1.2.2",
        ),
        "static/kube-vip.yaml:66: image `ghcr.io/kube-vip/kube-vip:v1.2.2` is not among those of `kube-vip`; add it to `images` in components/kube-vip.yaml",
    );
}
