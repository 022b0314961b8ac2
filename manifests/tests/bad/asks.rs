//! Values and objects that ask for what their component does not say it needs.

use super::objects::pools;
use super::one;
use crate::support::Files;

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
