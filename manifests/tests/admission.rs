//! Admission as the enterprise edition has it: every object fits Kyverno's own schemas, and pods named as charts name them
//! get the registry's name.

mod jmes;
mod schema;

use airgap_manifests::{Catalog, SiteKind, render_values};
use serde_json::{Value, json};

use self::jmes::Policies;
use crate::publishers::Chart;
use crate::resolving::{facts, resolved};

const PREFIX: &str = "harbor.corp.example:8443/airgap/";

/// Returns the objects of Kyverno's rules as a site gets them.
fn rules() -> Vec<Value> {
    let edition = resolved("enterprise", &[]);
    let site = SiteKind::Onprem;
    let facts = edition.sites[&site].facts_with(&facts(site));
    let component = &edition.components["kyverno-rules"];
    let values = render_values(&edition, component, site, &facts, None).unwrap();
    values["objects"].as_array().unwrap().clone()
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap()
}

#[test]
fn every_object_fits_kyvernos_own_schemas() {
    let Some(chart) = Chart::find("kyverno-3.8.2.tgz") else {
        return;
    };
    let schemas = schema::Schemas::of(&chart);
    let objects = rules();
    assert_eq!(objects.len(), 5);
    for object in &objects {
        assert_eq!(schemas.problems(object), [] as [String; 0], "{object:#}");
    }
}

#[test]
fn what_kyverno_does_not_know_is_found() {
    let Some(chart) = Chart::find("kyverno-3.8.2.tgz") else {
        return;
    };
    let schemas = schema::Schemas::of(&chart);
    let mut policy = named(&rules(), "ClusterPolicy", "airgap-signatures").clone();
    let verify = &mut policy["spec"]["rules"][0]["verifyImages"][0];
    verify["imageReference"] = json!([]);
    verify["failureAction"] = json!("Refuse");
    verify["mutateDigest"] = json!("yes");
    assert_eq!(
        schemas.problems(&policy),
        [
            "spec.rules.0.verifyImages.0.failureAction: \"Refuse\" is none of [\"Audit\",\"Enforce\"]",
            "spec.rules.0.verifyImages.0.imageReference: is not known",
            "spec.rules.0.verifyImages.0.mutateDigest: \"yes\" is no boolean",
        ]
    );
}

#[test]
fn pods_named_as_charts_name_them_get_the_registrys_name() {
    let objects = rules();
    let policy = Policies::new(named(&objects, "ClusterPolicy", "airgap-registry"));
    for (image, expected) in [
        ("nginx", "docker.io/library/nginx"),
        ("busybox:1.37.0", "docker.io/library/busybox:1.37.0"),
        ("docker.io/traefik:v3", "docker.io/library/traefik:v3"),
        ("grafana/loki:3.7.6", "docker.io/grafana/loki:3.7.6"),
        (
            "index.docker.io/rancher/mirrored-pause:3.10.2",
            "docker.io/rancher/mirrored-pause:3.10.2",
        ),
        (
            "quay.io/argoproj/argocd:v3.4.4",
            "quay.io/argoproj/argocd:v3.4.4",
        ),
        (
            "ecr-public.aws.com/docker/library/redis:8.2.3-alpine",
            "ecr-public.aws.com/docker/library/redis:8.2.3-alpine",
        ),
        ("nginx@sha256:00aa", "docker.io/library/nginx@sha256:00aa"),
        (
            "quay.io/cilium/cilium:v1.19.6@sha256:00aa",
            "quay.io/cilium/cilium:v1.19.6@sha256:00aa",
        ),
        (
            "registry.k8s.io/a/b/c:v1@sha256:00aa",
            "registry.k8s.io/a/b/c:v1@sha256:00aa",
        ),
    ] {
        let pod = json!({"spec": {
            "containers": [{"name": "main", "image": image}, {"name": "side", "image": image}],
            "initContainers": [{"name": "init", "image": image}],
            "ephemeralContainers": [{"name": "debug", "image": image}],
        }});
        let expected = format!("{PREFIX}{expected}");
        let changed = policy.mutate(&pod);
        for place in [
            "/spec/containers/0",
            "/spec/containers/1",
            "/spec/initContainers/0",
            "/spec/ephemeralContainers/0",
        ] {
            assert_eq!(
                changed.pointer(place).unwrap()["image"],
                expected,
                "{image}"
            );
        }
        // what has the name has it, whoever makes the pod again
        assert_eq!(policy.mutate(&changed), changed);
    }
}

#[test]
fn what_runs_already_is_not_restarted_by_a_new_name() {
    let objects = rules();
    let policy = Policies::new(named(&objects, "ClusterPolicy", "airgap-registry"));
    let old = json!({"spec": {
        "containers": [{"name": "main", "image": "nginx"}],
        "ephemeralContainers": [{"name": "first", "image": "busybox"}],
    }});
    let mut new = old.clone();
    new["metadata"]["labels"]["new"] = json!("label");
    assert_eq!(policy.update(&old, &new), new);
    let debug = json!({"name": "second", "image": "alpine"});
    new["spec"]["ephemeralContainers"]
        .as_array_mut()
        .unwrap()
        .push(debug);
    let mut expected = new.clone();
    expected["spec"]["ephemeralContainers"][1]["image"] =
        json!(format!("{PREFIX}docker.io/library/alpine"));
    assert_eq!(policy.update(&old, &new), expected);
}

#[test]
fn images_of_the_customers_own_registries_keep_their_names() {
    let objects = rules();
    let policy = Policies::new(named(&objects, "ClusterPolicy", "airgap-registry"));
    for image in [
        "harbor.corp.example:8443/shop/web:1",
        "harbor.corp.example:8443/airgap/quay.io/argoproj/argocd:v3.4.4",
        "registry.shop.example/web@sha256:00aa",
        "build:5000/web",
        "localhost/web:1",
        // a host whose name merely begins like one that is mirrored
        "quay.io.shop.example/web:1",
    ] {
        // without init and ephemeral containers, as most pods are
        let pod = json!({"spec": {"containers": [{"name": "main", "image": image}]}});
        assert_eq!(policy.mutate(&pod), pod, "{image}");
    }
}

#[test]
fn every_image_of_the_bundle_is_found_under_the_name_that_pods_get() {
    let objects = rules();
    let policy = Policies::new(named(&objects, "ClusterPolicy", "airgap-registry"));
    for image in resolved("enterprise", &[]).images {
        let name = image.name.to_string();
        let pod = json!({"spec": {"containers": [{"name": "main", "image": name}]}});
        assert_eq!(
            policy.mutate(&pod)["spec"]["containers"][0]["image"],
            format!("{PREFIX}{name}")
        );
    }
    // an added host must be added there too
    let text = named(&objects, "ClusterPolicy", "airgap-registry").to_string();
    for host in Catalog::builtin().unwrap().mirror_hosts() {
        assert_eq!(
            text.matches(&host.replace('.', "[.]")).count(),
            // `docker.io` stands in three more places
            if host == "docker.io" { 9 } else { 3 },
            "{host}"
        );
    }
}

#[test]
fn signatures_are_asked_for_under_the_prefix_and_customers_are_only_told() {
    let objects = rules();
    let policy = named(&objects, "ClusterPolicy", "airgap-signatures");
    let rules = policy["spec"]["rules"].as_array().unwrap();
    let actions: Vec<_> = rules
        .iter()
        .map(|rule| {
            (
                rule["name"].as_str().unwrap(),
                rule["verifyImages"][0]["failureAction"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(actions, [("platform", "Enforce"), ("customers", "Audit")]);
    // whoever one rule leaves out is in the other
    let (platform, customers) = (&rules[0]["match"]["any"], &rules[1]["exclude"]["any"]);
    for (left, right) in platform
        .as_array()
        .unwrap()
        .iter()
        .zip(customers.as_array().unwrap())
    {
        for key in ["namespaces", "namespaceSelector"] {
            assert_eq!(left["resources"][key], right["resources"][key]);
        }
    }
    for rule in rules {
        let verify = &rule["verifyImages"][0];
        assert_eq!(verify["imageReferences"], json!([format!("{PREFIX}*")]));
        assert_eq!(
            verify["imageRegistryCredentials"]["secrets"],
            json!(["airgap-registry"])
        );
        let keys = &verify["attestors"][0]["entries"][0]["keys"];
        assert!(
            keys["publicKeys"]
                .as_str()
                .unwrap()
                .starts_with("-----BEGIN PUBLIC KEY-----")
        );
        assert_eq!(keys["rekor"], json!({"ignoreTlog": true}));
        assert_eq!(keys["ctlog"], json!({"ignoreSCT": true}));
    }
    // several trusted keys: one signature is enough
    assert_eq!(rules[0]["verifyImages"][0]["attestors"][0]["count"], 1);
}

#[test]
fn no_policy_writes_rules_for_what_makes_pods() {
    let objects = rules();
    for policy in objects
        .iter()
        .filter(|object| object["kind"] == "ClusterPolicy")
    {
        // rules for Deployments would change what Argo CD compares
        assert_eq!(
            policy["metadata"]["annotations"]["pod-policies.kyverno.io/autogen-controllers"],
            "none"
        );
        let text = policy.to_string();
        assert!(
            text.contains(r#""kinds":["Pod"]"#) && !text.contains("Deployment"),
            "{text}"
        );
    }
}

#[test]
fn exceptions_are_named_and_cover_every_rule() {
    let objects = rules();
    let exceptions: Vec<&Value> = objects
        .iter()
        .filter(|object| object["kind"] == "PolicyException")
        .collect();
    let names: Vec<_> = exceptions
        .iter()
        .map(|exception| exception["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["rke2-static-pods", "kyverno"]);
    let mut all = Vec::new();
    for policy in objects
        .iter()
        .filter(|object| object["kind"] == "ClusterPolicy")
    {
        let rules: Vec<&Value> = policy["spec"]["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| &rule["name"])
            .collect();
        all.push(json!({"policyName": policy["metadata"]["name"], "ruleNames": rules}));
    }
    for exception in &exceptions {
        assert_eq!(exception["spec"]["exceptions"], json!(all));
        assert_eq!(exception["metadata"]["namespace"], "kyverno");
    }
    let resources = |index: usize| &exceptions[index]["spec"]["match"]["any"][0]["resources"];
    // not the whole of kube-system
    assert!(
        resources(0)["names"]
            .as_array()
            .unwrap()
            .iter()
            .all(|name| name != "*")
    );
    assert_eq!(resources(0)["namespaces"], json!(["kube-system"]));
    assert_eq!(resources(1)["namespaces"], json!(["kyverno"]));
}

#[test]
fn a_pod_that_escapes_both_is_reported() {
    let objects = rules();
    let rule = &named(&objects, "ClusterPolicy", "airgap-escaped")["spec"]["rules"][0];
    assert_eq!(rule["validate"]["failureAction"], "Audit");
    let spec = &rule["validate"]["pattern"]["spec"];
    for list in ["containers", "=(initContainers)", "=(ephemeralContainers)"] {
        assert_eq!(spec[list], json!([{"image": format!("{PREFIX}*")}]));
    }
}
