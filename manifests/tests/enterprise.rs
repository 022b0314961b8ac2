//! What the enterprise edition adds, as a site gets it.

use airgap_manifests::{Catalog, SecretKey, SiteKind, render_values, resolve};
use serde_json::{Value, json};

use crate::resolving::{facts, resolved};
use crate::support::full_lock;

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

#[test]
fn teleport_comes_with_its_terms_and_in_one_build_only() {
    let catalog = Catalog::builtin().unwrap();
    let community = catalog.component("teleport").unwrap();
    assert_eq!(community.accept.as_deref(), Some("teleport-ce"));
    assert!(community.redistribution.is_some() && community.notice.is_some());
    let licensed = catalog.component("teleport-enterprise").unwrap();
    assert_eq!(licensed.accept, None);
    let kind = &licensed.secrets[0].keys["license.pem"];
    assert!(matches!(kind, SecretKey::Site { .. }), "{kind:?}");
    let both = ["teleport", "teleport-enterprise"].map(str::to_owned);
    let lock = full_lock(&catalog);
    let problems = resolve(&catalog, &lock, "enterprise", &both, "linux/amd64").unwrap_err();
    let text: String = problems.iter().map(ToString::to_string).collect();
    assert!(text.contains("cannot be chosen beside"), "{text}");
    // nobody gets it who did not ask for it
    let plain = resolved("enterprise", &[]);
    assert!(
        plain
            .components
            .keys()
            .all(|name| !name.contains("teleport"))
    );
}

#[test]
fn backstage_signs_in_with_keycloak_and_reads_no_examples() {
    let backstage = values(&[], "backstage", &json!({}));
    let config = &backstage["backstage"]["appConfig"];
    let oidc = &config["auth"]["providers"]["oidc"]["production"];
    assert_eq!(oidc["clientId"], "backstage");
    assert_eq!(
        oidc["metadataUrl"],
        "https://keycloak.platform.corp.example/realms/platform/.well-known/openid-configuration"
    );
    assert_eq!(config["catalog"]["locations"], json!([]));
    assert_eq!(config["techdocs"]["generator"]["runIn"], "local");
    // its passwords are texts that Backstage fills from its environment, which is Secrets
    assert_eq!(
        config["backend"]["database"]["connection"]["password"],
        "${POSTGRES_PASSWORD}"
    );
    for variable in backstage["backstage"]["extraEnvVars"].as_array().unwrap() {
        let secret = variable["valueFrom"]["secretKeyRef"]["name"].is_string();
        assert!(
            secret || variable["name"] == "NODE_EXTRA_CA_CERTS",
            "{variable}"
        );
    }
}

#[test]
fn the_data_services_are_one_add_on_without_demonstrations_or_reports() {
    let with = ["data"];
    let edition = resolved("standard", &with);
    for name in ["data-postgresql", "neo4j", "opensearch"] {
        assert!(edition.components.contains_key(name), "{name}");
    }
    let opensearch = values(&with, "opensearch", &json!({}));
    assert_eq!(
        opensearch["extraEnvs"],
        json!([{"name": "DISABLE_INSTALL_DEMO_CONFIG", "value": "true"}])
    );
    assert_eq!(opensearch["plugins"]["enabled"], false);
    assert_eq!(opensearch["persistence"]["enableInitChown"], false);
    let neo4j = values(&with, "neo4j", &json!({}));
    let text = neo4j.to_string();
    assert!(text.contains(r#"{"name":"NEO4J_dbms_usage__report_enabled","value":"false"}"#));
    assert!(!text.contains("NEO4J_PLUGINS"));
}
