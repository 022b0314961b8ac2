//! Objects that come as values of a chart that only prints them, and what publishers' charts bring besides images.
//!
//! The stand-in knows publishers' charts by what they install, not by their templates: API groups, storage classes, ingress classes, and
//! the Secrets that operators make. Invariant: an object is taken only where its group is served, by Kubernetes itself or by a chart that
//! was installed before.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::api;
use super::chart::Workload;
use super::fail::{Fail, Result};
use super::kinds::{self, Kind};
use super::schema;
use super::store::State;

/// API groups that Kubernetes and RKE2 serve by themselves.
const OWN_GROUPS: &[&str] = &[
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "helm.cattle.io",
    "k3s.cattle.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// API groups whose CRDs a chart brings.
const CHART_GROUPS: &[(&str, &[&str])] = &[
    ("argo-cd", &["argoproj.io"]),
    ("argo-rollouts", &["argoproj.io"]),
    ("aws-load-balancer-controller", &["elbv2.k8s.aws"]),
    ("cert-manager", &["acme.cert-manager.io", "cert-manager.io"]),
    ("chaos-mesh", &["chaos-mesh.org"]),
    ("cloudnative-pg", &["postgresql.cnpg.io"]),
    ("external-dns", &["externaldns.k8s.io"]),
    ("keda", &["eventing.keda.sh", "keda.sh"]),
    ("kube-prometheus-stack", &["monitoring.coreos.com"]),
    (
        "kyverno",
        &[
            "kyverno.io",
            "policies.kyverno.io",
            "reports.kyverno.io",
            "wgpolicyk8s.io",
        ],
    ),
    ("longhorn", &["longhorn.io"]),
    ("metallb", &["metallb.io"]),
    (
        "opensearch-operator",
        &["opensearch.opster.io", "opensearch.org"],
    ),
    ("opentelemetry-operator", &["opentelemetry.io"]),
    ("prometheus-operator-crds", &["monitoring.coreos.com"]),
    ("rke2-canal", &["crd.projectcalico.org"]),
    ("rke2-cilium", &["cilium.io"]),
    ("rke2-snapshot-controller-crd", &["snapshot.storage.k8s.io"]),
    ("rke2-traefik", &["traefik.io"]),
    (
        "rke2-traefik-crd",
        &["gateway.networking.k8s.io", "traefik.io"],
    ),
];

/// Ingress classes that a chart brings.
const INGRESS_CLASSES: &[(&str, &str)] =
    &[("rke2-ingress-nginx", "nginx"), ("rke2-traefik", "traefik")];

/// Kinds without a namespace, beside those that end in `Policy` of Kyverno's newer group.
const CLUSTER_WIDE: &[&str] = &[
    "APIService",
    "CiliumClusterwideNetworkPolicy",
    "CiliumL2AnnouncementPolicy",
    "CiliumLoadBalancerIPPool",
    "ClusterCleanupPolicy",
    "ClusterImageCatalog",
    "ClusterIssuer",
    "ClusterPolicy",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "GatewayClass",
    "GlobalContextEntry",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "Namespace",
    "PersistentVolume",
    "PriorityClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeSnapshotClass",
];

/// Label of everything that an Application's own objects left behind.
const OWNER: &str = "standin.airgap/application";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn group_of(api_version: &str) -> (&str, &str) {
    api_version.rsplit_once('/').unwrap_or(("", api_version))
}

fn crd(group: &str) -> String {
    format!("apiextensions.k8s.io/customresourcedefinitions//all.{group}")
}

/// Tells whether objects of a group can be stored now.
pub(crate) fn serves(state: &State, group: &str) -> bool {
    OWN_GROUPS.contains(&group) || state.objects.contains_key(&crd(group))
}

/// Notes what a chart brings with it, now that it is installed.
pub(crate) fn brought_by(state: &mut State, chart: &str, values: &Value) -> Result<()> {
    let groups = CHART_GROUPS.iter().filter(|(name, _)| *name == chart);
    for group in groups.flat_map(|(_, groups)| *groups) {
        let object = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("all.{group}")}, "spec": {"group": group}});
        put(state, "", object)?;
    }
    for (_, class) in INGRESS_CLASSES.iter().filter(|(name, _)| *name == chart) {
        let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": class}});
        put(state, "", object)?;
    }
    let classes: Vec<&str> = match chart {
        "longhorn" => vec!["longhorn", "longhorn-static"],
        "aws-ebs-csi-driver" => {
            let named = values["storageClasses"].as_array().into_iter().flatten();
            named.map(|class| text(&class["name"])).collect()
        }
        _ => Vec::new(),
    };
    for class in classes {
        let object = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": class}});
        put(state, "", object)?;
    }
    Ok(())
}

/// Stores the objects of an Application; those it had before and has no more go.
pub(crate) fn apply(
    state: &mut State,
    application: &str,
    namespace: &str,
    objects: &[Value],
) -> Result<()> {
    let mut keys = Vec::new();
    for object in objects {
        let (group, _) = group_of(text(&object["apiVersion"]));
        if !serves(state, group) {
            return Err(Fail::new(format!(
                "The Kubernetes API could not find {group}/{} for requested resource {namespace}/{}. Make sure the {:?} CRD is installed on the destination cluster.",
                text(&object["kind"]),
                text(&object["metadata"]["name"]),
                text(&object["kind"]),
            )));
        }
        let mut object = object.clone();
        object["metadata"]["labels"][OWNER] = application.into();
        keys.push(put(state, namespace, object)?);
    }
    let gone: Vec<String> = state
        .objects
        .iter()
        .filter(|(key, object)| {
            object["metadata"]["labels"][OWNER] == application && !keys.contains(key)
        })
        .map(|(key, _)| key.clone())
        .collect();
    for key in gone {
        state.objects.remove(&key);
    }
    objects
        .iter()
        .try_for_each(|object| operate(state, namespace, object))
}

/// Stores one object, in its own namespace or in the Application's; returns its key.
pub(crate) fn put(state: &mut State, namespace: &str, mut object: Value) -> Result<String> {
    let name = text(&object["metadata"]["name"]).to_owned();
    if name.is_empty() {
        return Err(Fail::new(format!(
            "{}: metadata.name: Required value",
            object["kind"]
        )));
    }
    let problems = schema::problems(&object);
    if !problems.is_empty() {
        return Err(Fail::new(format!(
            "{} {name} is invalid: {}",
            text(&object["kind"]),
            problems.join(", ")
        )));
    }
    let kind = kind_of(&object)?;
    let namespace = object["metadata"]["namespace"]
        .as_str()
        .unwrap_or(namespace)
        .to_owned();
    if kind.namespaced {
        if !state
            .objects
            .contains_key(&format!("/namespaces//{namespace}"))
        {
            return Err(Fail::new(format!("namespaces {namespace:?} not found")));
        }
        object["metadata"]["namespace"] = namespace.clone().into();
    }
    let key = kind.key(&namespace, &name);
    api::store(state, &kind, &key, object);
    Ok(key)
}

/// The kind of an object whose group is served.
fn kind_of(object: &Value) -> Result<Kind> {
    let name = text(&object["kind"]);
    let (group, version) = group_of(text(&object["apiVersion"]));
    if name.is_empty() || version.is_empty() {
        return Err(Fail::new(format!("{object} has no apiVersion or no kind")));
    }
    if let Some(known) = kinds::by_kind(name).filter(|known| known.group == group) {
        return Ok(known);
    }
    let lower = name.to_ascii_lowercase();
    let plural = match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if lower.ends_with('s') => format!("{lower}es"),
        None => format!("{lower}s"),
    };
    let wide = CLUSTER_WIDE.contains(&name)
        || (group == "policies.kyverno.io"
            && name.ends_with("Policy")
            && !name.starts_with("Namespaced"));
    Ok(Kind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: name.to_owned(),
        plural,
        short: Vec::new(),
        namespaced: !wide,
    })
}

/// What an operator makes of its object: Secrets that others refer to.
fn operate(state: &mut State, namespace: &str, object: &Value) -> Result<()> {
    let name = text(&object["metadata"]["name"]);
    let namespace = object["metadata"]["namespace"]
        .as_str()
        .unwrap_or(namespace);
    let spec = &object["spec"];
    let (group, _) = group_of(text(&object["apiVersion"]));
    let mut made: Vec<(String, &[&str])> = Vec::new();
    match (group, text(&object["kind"])) {
        ("postgresql.cnpg.io", "Cluster") => {
            const LOGIN: &[&str] = &["username", "password", "dbname", "host", "port", "uri"];
            if spec["bootstrap"]["initdb"]["secret"]["name"].is_null() {
                made.push((format!("{name}-app"), LOGIN));
            }
            if spec["enableSuperuserAccess"] == true && spec["superuserSecret"]["name"].is_null() {
                made.push((format!("{name}-superuser"), LOGIN));
            }
            made.push((format!("{name}-ca"), &["ca.crt", "ca.key"]));
        }
        ("cert-manager.io", "Certificate") => {
            made.push((
                text(&spec["secretName"]).to_owned(),
                &["tls.crt", "tls.key", "ca.crt"],
            ));
        }
        _ => {}
    }
    for (secret, keys) in made {
        let data: BTreeMap<&str, &str> = keys.iter().map(|key| (*key, "c3RhbmQtaW4=")).collect();
        let object = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": secret}, "data": data});
        put(state, namespace, object)?;
    }
    Ok(())
}

/// The pods that objects start: workloads of Kubernetes' own, and what operators run for their objects.
pub(crate) fn workloads(objects: &[Value]) -> Vec<Workload> {
    objects
        .iter()
        .filter_map(|object| {
            super::chart::workload(object).or_else(|| {
                let (group, _) = group_of(text(&object["apiVersion"]));
                let image = match group {
                    "postgresql.cnpg.io" => object["spec"]["imageName"].as_str(),
                    "monitoring.coreos.com" | "opentelemetry.io" => {
                        object["spec"]["image"].as_str()
                    }
                    _ => None,
                }?;
                Some(Workload {
                    kind: "StatefulSet".to_owned(),
                    name: text(&object["metadata"]["name"]).to_owned(),
                    images: vec![image.to_owned()],
                    node_selector: BTreeMap::new(),
                })
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rke2::store::fake;

    fn state() -> State {
        let mut state = fake::empty();
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "db"}});
        put(&mut state, "", namespace).unwrap();
        state
    }

    #[test]
    fn an_object_is_taken_only_after_the_chart_that_knows_its_kind() {
        let mut state = state();
        let cluster = json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "pg"}, "spec": {"imageName": "ghcr.io/x/pg:17"}});
        let objects = [cluster];
        let error = apply(&mut state, "pg", "db", &objects).unwrap_err();
        assert!(error.0.contains("\"Cluster\" CRD is installed"), "{error}");
        brought_by(&mut state, "cloudnative-pg", &Value::Null).unwrap();
        apply(&mut state, "pg", "db", &objects).unwrap();
        assert!(state.objects.contains_key("/secrets/db/pg-app"));
        assert_eq!(workloads(&objects)[0].images, ["ghcr.io/x/pg:17"]);
        assert!(apply(&mut state, "pg", "nowhere", &objects).is_err());
        apply(&mut state, "pg", "db", &[]).unwrap();
        assert!(
            !state
                .objects
                .contains_key("postgresql.cnpg.io/clusters/db/pg")
        );
    }

    #[test]
    fn kinds_without_a_namespace_are_known() {
        let kind = |version: &str, kind: &str| {
            kind_of(&json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}))
                .unwrap()
        };
        assert_eq!(
            kind("cert-manager.io/v1", "ClusterIssuer").key("db", "x"),
            "cert-manager.io/clusterissuers//x"
        );
        assert_eq!(
            kind("networking.k8s.io/v1", "NetworkPolicy").key("db", "x"),
            "networking.k8s.io/networkpolicies/db/x"
        );
    }
}
