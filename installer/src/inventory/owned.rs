//! RKE2 keys that hosts.yaml may not hold: those that airgap sets itself, and secrets; and what to do instead.

use airgap_manifests::strict::{Kind, Node};
use serde_json::Value;

use super::shape::{Checker, INLINE, join};

/// Each owned key, with what to do instead.
pub(super) const KEYS: &[(&str, &str)] = &[
    (
        "server",
        "airgap finds the server to join; set `cluster.endpoint` for a fixed address",
    ),
    (
        "token",
        "the first server makes the token, and airgap carries it to the others",
    ),
    ("token-file", "airgap writes the token file"),
    ("agent-token", "airgap carries the token"),
    ("agent-token-file", "airgap carries the token"),
    ("node-name", "use the host's `name`"),
    ("with-node-id", "use the host's `name`"),
    ("node-ip", "use the host's `nodeIp`"),
    ("node-label", "use the host's `labels`"),
    ("node-taint", "use the host's `taints`"),
    ("tls-san", "use `cluster.tlsSans`"),
    ("cni", "the edition decides the CNI"),
    (
        "ingress-controller",
        "the edition decides the ingress controller",
    ),
    ("disable-kube-proxy", "the edition's CNI decides"),
    ("cloud-provider-name", "`site` decides"),
    ("cloud-provider-config", "`site` decides"),
    ("disable-cloud-controller", "`site` decides"),
    ("node-name-from-cloud-provider-metadata", "`site` decides"),
    (
        "system-default-registry",
        "images keep their names, and registries.yaml leads to the site registry",
    ),
    (
        "private-registry",
        "airgap writes registries.yaml; use `extraRegistries` for your own",
    ),
    (
        "disable-default-registry-endpoint",
        "airgap sets it, so that nothing is ever asked of the internet",
    ),
    (
        "airgap-extra-registry",
        "images come from the site registry",
    ),
    (
        "data-dir",
        "airgap and the bundle's components rely on /var/lib/rancher/rke2",
    ),
    ("write-kubeconfig", "airgap reads it at its usual place"),
    (
        "write-kubeconfig-mode",
        "the kubeconfig holds the cluster's keys and stays 0600",
    ),
    (
        "cluster-init",
        "airgap decides which server starts the cluster",
    ),
    (
        "cluster-reset",
        "resetting a cluster is not part of an install",
    ),
    (
        "cluster-reset-restore-path",
        "resetting a cluster is not part of an install",
    ),
    ("config", "airgap writes /etc/rancher/rke2/config.yaml"),
    (
        "debug",
        "use `rke2 server --debug` by hand; it writes secrets to the journal",
    ),
    ("runtime-image", "the bundle pins every image"),
    ("kube-apiserver-image", "the bundle pins every image"),
    (
        "kube-controller-manager-image",
        "the bundle pins every image",
    ),
    ("kube-scheduler-image", "the bundle pins every image"),
    ("kube-proxy-image", "the bundle pins every image"),
    (
        "cloud-controller-manager-image",
        "the bundle pins every image",
    ),
    ("etcd-image", "the bundle pins every image"),
    ("pause-image", "the bundle pins every image"),
];

/// Keys whose value is a secret, with what to do instead.
pub(super) const SECRETS: &[(&str, &str)] = &[
    ("etcd-s3-secret-key", IN_A_SECRET),
    ("etcd-s3-session-token", IN_A_SECRET),
];

const IN_A_SECRET: &str = "keep all of S3's settings in a Secret of kube-system, and name that one with `etcd-s3-config-secret`";

/// Checks raw RKE2 keys: not ours, no secrets, and with values that config.yaml can hold.
pub(super) fn check(
    checker: &mut Checker<'_>,
    entries: &[(String, u64, Node)],
    place: &str,
    drops: bool,
) {
    for (key, line, value) in entries {
        // `key+` adds to a list, and is the same key
        let plain = key.trim_end_matches('+');
        if let Some((_, instead)) = KEYS.iter().find(|(owned, _)| *owned == plain) {
            checker.note(
                *line,
                format!("`{}` is set by airgap itself", join(place, key)),
                *instead,
            );
        } else if let Some((_, instead)) = SECRETS.iter().find(|(secret, _)| *secret == plain) {
            checker.note(
                *line,
                format!("`{}` is written out: {INLINE}", join(place, key)),
                *instead,
            );
        } else if plain.is_empty()
            || !plain
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        {
            checker.note(
                *line,
                format!("`{}` is not an RKE2 key", join(place, key)),
                "RKE2's keys are lower-case words joined by `-`",
            );
        }
        let scalar = |node: &Node| matches!(&node.kind, Kind::Scalar(value) if !value.is_null());
        let fits = match &value.kind {
            Kind::Scalar(Value::Null) => drops,
            Kind::Scalar(_) => true,
            Kind::List(items) => items.iter().all(scalar),
            Kind::Map(_) => false,
        };
        if !fits {
            checker.note(
                value.line,
                format!(
                    "`{}` must be a text, a number, true, false, or a list of these",
                    join(place, key)
                ),
                "",
            );
        }
    }
}
