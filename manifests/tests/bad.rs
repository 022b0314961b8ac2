//! Catalogs that are wrong: each mistake is found with file, line and remedy, and all of them at once.

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

const POOLS: &str = "\
name: pools
title: Pools
about: address pools
version: \"1\"
licence: Apache-2.0
namespace: pools
delivery: argoCd
needs: [gitops]
values:
  pools: []
objects:
  - forEach: pools
    objects:
      - apiVersion: v1
        kind: ConfigMap
        metadata: {name: \"${item.name}\"}
";

fn pools(from: &str, to: &str) -> Files {
    assert!(POOLS.contains(from), "{from}");
    Files::shipped()
        .replace(
            "editions/community.yaml",
            "  - longhorn\n",
            "  - longhorn\n  - pools\n",
        )
        .add("components/pools.yaml", &POOLS.replacen(from, to, 1))
}

#[test]
fn objects_that_are_none_or_are_repeated_for_nothing() {
    pools("pools", "pools").load().unwrap();
    one(
        &pools("forEach: pools", "forEach: pool"),
        "components/pools.yaml:12: `forEach` names `pool`, which the values do not have; did you mean `pools`?",
    );
    one(
        &pools("pools: []", "pools: {}"),
        "`pools` of the values, which is not a list",
    );
    one(
        &pools("        kind: ConfigMap\n", ""),
        "components/pools.yaml:14: `objects.0.objects.0` has no `kind`",
    );
    one(
        &pools("    objects:\n", "    object:\n"),
        "components/pools.yaml:12: unknown key `object` beside `forEach`",
    );
    one(
        &pools(
            "  - forEach: pools\n",
            "  - {apiVersion: v1, kind: Namespace, metadata: {name: \"${item.name}\"}}\n  - forEach: pools\n",
        ),
        "`objects.0.metadata.name` refers to `item.name`, but repeats nothing; put the object under a `forEach`",
    );
    one(
        &pools("{name: \"${item.name}\"}", "{name: \"${site.domian}\"}"),
        "`objects.0.objects.0.metadata.name` refers to `site.domian`, which is not a fact of a site",
    );
}

#[test]
fn objects_where_they_cannot_be_delivered() {
    one(
        &pools("delivery: argoCd", "delivery: helmChart"),
        "only Argo CD delivers `objects`",
    );
    one(
        &pools(
            "values:\n",
            "chart: {name: x, version: \"1\", url: \"oci://quay.io/x\"}\nvalues:\n",
        ),
        "has both a `chart` and `objects`; make the objects a component of their own",
    );
    let (head, _) = POOLS.split_once("values:").unwrap();
    one(
        &pools("pools", "pools").add("components/pools.yaml", head),
        "this delivery needs a `chart` or `objects`",
    );
}

#[test]
fn values_needs_and_conflicts_that_name_no_component() {
    for (line, path) in [
        ("valuesWith: {longhorm: {a: 1}}", "longhorm"),
        ("needsWith: {longhorm: [storage]}", "longhorm"),
        ("conflicts: [longhorm]", "longhorm"),
    ] {
        one(
            &pools("needs: [gitops]", &format!("needs: [gitops]\n{line}")),
            &format!(
                "components/pools.yaml:9: there is no component `{path}`; did you mean `longhorn`?"
            ),
        );
    }
    one(
        &pools(
            "needs: [gitops]",
            "needs: [gitops]\nvaluesWith: {longhorn: {a: \"${site.domian}\"}}",
        ),
        "`valuesWith.longhorn.a` refers to `site.domian`",
    );
}

#[test]
fn two_components_that_cannot_stand_beside_each_other() {
    one(
        &pools("needs: [gitops]", "needs: [gitops]\nconflicts: [longhorn]"),
        "components/pools.yaml:9: `pools` cannot be chosen beside `longhorn` (edition community on onprem); choose one of them",
    );
}

#[test]
fn a_need_beside_another_component_that_nothing_provides() {
    one(
        &pools(
            "needs: [gitops]",
            "needs: [gitops]\nneedsWith: {longhorn: [gitops, s4]}",
        ),
        "components/pools.yaml:9: `pools` needs `s4`, which nothing provides in edition community on onprem",
    );
}

#[test]
fn amounts_that_kubernetes_would_not_read() {
    one(
        &pools(
            "needs: [gitops]",
            "needs: [gitops]\nrequests: {cpu: 1, memory: 2GB}",
        ),
        "components/pools.yaml:9: `2GB` is not an amount of memory; write `512Mi` or `1Gi`",
    );
}

#[test]
fn a_volume_without_its_provider_among_the_needs() {
    one(
        &Files::shipped().replace(
            "components/seaweedfs.yaml",
            "needs: [gitops, storage]",
            "needs: [gitops]",
        ),
        "`values.master.data.storageClass` asks for a volume, but `seaweedfs` does not need `storage`; add `storage` to `needs`",
    );
    one(
        &pools("values:\n", "values:\n  persistence: {enabled: true}\n"),
        "components/pools.yaml:10: `values.persistence` asks for a volume",
    );
    one(
        &pools("kind: ConfigMap", "kind: PersistentVolumeClaim"),
        "`objects.0.objects.0.apiVersion` asks for a volume",
    );
}

#[test]
fn a_certificate_without_its_provider_among_the_needs() {
    one(
        &pools(
            "values:\n",
            "values:\n  ingress: {annotations: {cert-manager.io/cluster-issuer: site-ca}}\n",
        ),
        "components/pools.yaml:10: `values.ingress.annotations.cert-manager.io/cluster-issuer` asks for a certificate, but `pools` does not need `certs`",
    );
    one(
        &pools("apiVersion: v1", "apiVersion: cert-manager.io/v1"),
        "asks for a certificate or an issuer, but `pools` does not need `crd:cert-manager.io`",
    );
    let needs = "needs: [gitops, certs]";
    pools("apiVersion: v1", "apiVersion: cert-manager.io/v1")
        .replace("components/pools.yaml", "needs: [gitops]", needs)
        .load()
        .unwrap();
}

#[test]
fn a_monitor_without_its_provider_among_the_needs() {
    one(
        &pools(
            "values:\n",
            "values:\n  metrics: {serviceMonitor: {enabled: true}}\n",
        ),
        "`values.metrics.serviceMonitor` asks for a monitor, but `pools` does not need `crd:monitoring.coreos.com`; add `crd:monitoring.coreos.com` to `needs`",
    );
    one(
        &pools(
            "values:\n",
            "valuesWith: {longhorn: {serviceMonitor: {enabled: true}}}\nvalues:\n",
        ),
        "add `crd:monitoring.coreos.com` to `needsWith.longhorn`",
    );
    one(
        &pools("apiVersion: v1", "apiVersion: monitoring.coreos.com/v1"),
        "asks for a monitor",
    );
    let off = "values:\n  serviceMonitor: {enabled: false}\n";
    pools("values:\n", off).load().unwrap();
}

#[test]
fn a_database_or_another_kind_without_its_provider_among_the_needs() {
    one(
        &pools("apiVersion: v1", "apiVersion: postgresql.cnpg.io/v1"),
        "asks for a database, but `pools` does not need `crd:postgresql.cnpg.io`",
    );
    one(
        &pools("apiVersion: v1", "apiVersion: metallb.io/v1beta1"),
        "components/pools.yaml:14: `objects.0.objects.0.apiVersion` asks for an object that another component defines, but `pools` does not need `crd:metallb.io`; add `crd:metallb.io` to `needs`",
    );
    pools("apiVersion: v1", "apiVersion: networking.k8s.io/v1")
        .load()
        .unwrap();
}

#[test]
fn a_secret_that_hosts_yaml_cannot_name() {
    one(
        &Files::shipped().replace(
            "components/external-dns.yaml",
            "dns.tsigSecret}",
            "dns.tsigSecrets}",
        ),
        "`dns.tsigSecrets` is nothing that hosts.yaml names a secret by; did you mean `dns.tsigSecret`?",
    );
}

#[test]
fn an_image_of_an_object_that_its_component_does_not_list() {
    one(
        &pools(
            "metadata: {name: \"${item.name}\"}",
            "metadata: {name: \"${item.name}\"}\n        spec: {imageName: \"ghcr.io/cloudnative-pg/postgresql:18.1\"}",
        ),
        "components/pools.yaml:14: `objects.0.objects.0` asks for image `ghcr.io/cloudnative-pg/postgresql:18.1` (ConfigMap ${item.name} spec.imageName), which is not among those of `pools`; add",
    );
}
