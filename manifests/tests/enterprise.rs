//! What the enterprise edition adds, as a site gets it.

use airgap_manifests::{SiteKind, render_values};
use serde_json::{Value, json};

use crate::resolving::{facts, resolved};

/// Returns a component's values on a site of the customer's own, with the inventory's values for it.
fn values(with: &[&str], component: &str, over: &Value) -> Value {
    let edition = resolved("enterprise", with);
    let site = SiteKind::Onprem;
    let facts = edition.sites[&site].facts_with(&facts(site));
    let component = &edition.components[component];
    render_values(&edition, component, site, &facts, over.as_object())
        .map(Value::Object)
        .unwrap()
}

fn kinds(values: &Value, namespace: &str) -> Vec<String> {
    values["objects"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|object| {
            object["metadata"]["namespace"] == namespace || object["metadata"]["name"] == namespace
        })
        .map(|object| {
            format!(
                "{} {}",
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn every_tenant_of_the_list_gets_its_namespace_and_its_bounds() {
    let none = values(&[], "multi-tenancy", &json!({}));
    assert_eq!(none["objects"], json!([]));
    let over = json!({"tenants": [
        {"name": "team-a", "cpu": "4", "memory": "8Gi", "storage": "50Gi", "pods": "50"},
        {"name": "team-b", "cpu": 2, "memory": "4Gi", "storage": "10Gi",
         "subjects": [{"kind": "Group", "name": "team-b", "apiGroup": "rbac.authorization.k8s.io"}]},
    ]});
    let values = values(&[], "multi-tenancy", &over);
    for tenant in ["team-a", "team-b"] {
        assert_eq!(
            kinds(&values, tenant),
            [
                format!("Namespace {tenant}"),
                "ResourceQuota tenant".to_owned(),
                "LimitRange tenant".to_owned(),
                "NetworkPolicy deny-all".to_owned(),
                "NetworkPolicy within-the-tenant".to_owned(),
                "NetworkPolicy dns".to_owned(),
                "NetworkPolicy from-the-platform".to_owned(),
                "RoleBinding tenant".to_owned(),
            ]
        );
    }
    let object = |index: usize| &values["objects"][index];
    // what a tenant does not say is no bound, and nobody is let in whom nobody named
    assert_eq!(
        object(1)["spec"]["hard"],
        json!({
            "requests.cpu": "4", "requests.memory": "8Gi", "requests.storage": "50Gi", "pods": "50",
            "services.nodeports": "0", "services.loadbalancers": "0",
        })
    );
    assert_eq!(object(7).get("subjects"), None);
    assert_eq!(object(15)["subjects"][0]["name"], "team-b");
    // a tenant that leaves the list keeps its data, and is no namespace of the platform's, whose images are enforced
    let namespace = &object(0)["metadata"];
    assert_eq!(
        namespace["annotations"]["argocd.argoproj.io/sync-options"],
        "Prune=false,Delete=false"
    );
    assert_eq!(
        namespace["labels"].get("app.kubernetes.io/managed-by"),
        None
    );
}

#[test]
fn nothing_calls_home() {
    let kyverno = values(&[], "kyverno", &json!({}));
    assert_eq!(kyverno["features"]["tuf"]["enabled"], false);
    assert_eq!(
        kyverno["features"]["registryClient"]["credentialHelpers"],
        json!(["default"])
    );
    let rollouts = values(&[], "argo-rollouts", &json!({}));
    for plugins in [
        "metricProviderPlugins",
        "stepPlugins",
        "trafficRouterPlugins",
    ] {
        assert_eq!(rollouts["controller"][plugins], json!([]));
    }
}

#[test]
fn chaos_finds_the_nodes_containers_and_a_pause_image_of_the_bundle() {
    let chaos = values(&[], "chaos-mesh", &json!({}));
    assert_eq!(
        chaos["chaosDaemon"]["socketPath"],
        "/run/k3s/containerd/containerd.sock"
    );
    let pause = &chaos["controllerManager"]["podChaos"]["podFailure"]["pauseImage"];
    let images = resolved("enterprise", &[]).images;
    assert!(images.iter().any(|image| *pause == image.name.to_string()));
    // random at every rendering: not drift
    let edition = resolved("enterprise", &[]);
    let ignored = serde_json::to_string(&edition.components["chaos-mesh"].ignore_differences);
    assert!(
        ignored
            .unwrap()
            .contains("/spec/template/metadata/annotations/rollme")
    );
}
