//! The stand-in's Argo CD and Helm controller: charts come with the access they were given, or not at all.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which end at the first surprise"
)]

use airgap_testkit::charts::Chart;
use airgap_testkit::cluster::{ClusterSpec, Node, REGISTRY};
use airgap_testkit::image::Image;
use base64::Engine as _;
use serde_json::json;

use crate::site::{PASSWORD, Site, possible};

/// A chart as `helm push` leaves it.
fn helm_artifact(chart: &Chart) -> Image {
    let config = serde_json::to_vec(&chart.metadata()).unwrap();
    Image::artifact(
        "",
        ("application/vnd.cncf.helm.config.v1+json", config.into()),
        vec![(
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            chart.tgz().into(),
        )],
        None,
    )
}

fn site_with_charts() -> Site {
    let site = Site::start(ClusterSpec::single());
    for image in [
        "quay.io/argoproj/argocd:v3.4.4",
        "quay.io/jetstack/cert-manager-controller:v1.20.0",
    ] {
        site.push(
            image,
            &Image::oci().layer(&[("name", image.as_bytes())]).build(),
        );
    }
    let argo = Chart::new("argo-cd", "10.1.1")
        .deployment("argocd-server", "quay.io/argoproj/argocd:v3.4.4");
    let good = Chart::new("cert-manager", "1.20.0").deployment(
        "cert-manager",
        "quay.io/jetstack/cert-manager-controller:v1.20.0",
    );
    let lost = Chart::new("lost", "1.0.0").deployment("lost", "quay.io/never/pushed:v1");
    for (name, chart) in [
        ("argo-cd:10.1.1", &argo),
        ("cert-manager:1.20.0", &good),
        ("lost:1.0.0", &lost),
    ] {
        site.push(&format!("charts/{name}"), &helm_artifact(chart));
    }
    let node = site.cluster.node("solo");
    site.prepare(node, &format!("{}cni: [cilium]\n", site.config()));
    Site::start_unit(node, "rke2-server");
    Site::await_node(node, "solo");
    site
}

#[test]
fn argo_cd_pulls_charts_with_its_own_credentials_and_says_what_fails() {
    if !possible() {
        return;
    }
    let site = site_with_charts();
    let node = site.cluster.node("solo");
    let missing = apply(node, &application_set(&["cert-manager"], "{}"));
    assert!(
        missing.1.contains("no matches for kind \"ApplicationSet\""),
        "{missing:?}"
    );
    let typo = apply(
        node,
        &helm_chart().replace("targetNamespace", "targetNameSpace"),
    );
    assert!(
        typo.1.contains("unknown field \"spec.targetNameSpace\""),
        "{typo:?}"
    );

    Site::kubectl(node, "create namespace argocd");
    let auth =
        base64::engine::general_purpose::STANDARD.encode(format!("robot$airgap+pull:{PASSWORD}"));
    let docker = json!({"auths": {REGISTRY: {"auth": auth}}}).to_string();
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull", "namespace": "kube-system"}, "type": "kubernetes.io/dockerconfigjson",
         "stringData": {".dockerconfigjson": docker}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca", "namespace": "kube-system"}, "data": {"ca.crt": "not a certificate"}}]});
    assert_eq!(apply(node, &objects.to_string()).0, 0);
    assert_eq!(apply(node, &helm_chart()).0, 0);
    // a wrong CA keeps the chart away, and the HelmChart says so
    Site::until("the job fails", 30, || {
        Site::kubectl(
            node,
            "get helmchart argo-cd -n kube-system -o 'jsonpath={.status.conditions[?(@.type==\"Failed\")].status}'",
        ) == "True"
    });
    let ca = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca", "namespace": "kube-system"}, "data": {"ca.crt": site.ca.pem()}});
    assert_eq!(apply(node, &ca.to_string()).0, 0);
    Site::until("Argo CD runs", 60, || {
        Site::kubectl(
            node,
            "get deploy -n argocd -o jsonpath={.items[*].status.readyReplicas}",
        ) == "1"
    });

    applications(&site, node);
}

/// The second half: credentials of Argo CD's own, and what it says of Applications.
fn applications(site: &Site, node: &Node) {
    let repository = |password: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "charts", "namespace": "argocd", "labels": {"argocd.argoproj.io/secret-type": "repository"}},
            "stringData": {"type": "helm", "enableOCI": "true", "url": format!("{REGISTRY}/airgap/charts"), "username": "robot$airgap+pull", "password": password}})
        .to_string()
    };
    let trust = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-tls-certs-cm", "namespace": "argocd"}, "data": {REGISTRY: site.ca.pem()}});
    assert_eq!(apply(node, &repository("wrong")).0, 0);
    assert_eq!(apply(node, &trust.to_string()).0, 0);
    assert_eq!(
        apply(node, &application_set(&["cert-manager", "lost"], "{}")).0,
        0
    );
    let condition = "get application cert-manager -n argocd --ignore-not-found -o jsonpath={.status.conditions[0].message}";
    Site::until("the wrong password is told", 30, || {
        !Site::kubectl(node, condition).is_empty()
    });
    let told = Site::kubectl(node, condition);
    assert!(
        told.contains("pull access denied") || told.contains("401"),
        "{told}"
    );
    assert_eq!(apply(node, &repository(PASSWORD)).0, 0);
    let health = |name: &str| {
        Site::kubectl(
            node,
            &format!(
                "get application {name} -n argocd -o jsonpath={{.status.sync.status}}/{{.status.health.status}}"
            ),
        )
    };
    Site::until("the good one is healthy", 60, || {
        health("cert-manager") == "Synced/Healthy"
    });
    Site::until("the lost one is not", 60, || {
        health("lost") == "Synced/Degraded"
    });
    let reason = Site::kubectl(
        node,
        "get application lost -n argocd -o jsonpath={.status.health.message}",
    );
    assert!(
        reason.contains("ImagePullBackOff") && reason.contains("quay.io/never/pushed:v1"),
        "{reason}"
    );
    changes(node);
    assert_eq!(site.cluster.escapes(), Vec::<String>::new());
}

/// The third part: what tells the status of a change from that of before it.
fn changes(node: &Node) {
    let compared = "get application cert-manager -n argocd -o 'jsonpath={.status.sync.status}/{.status.health.status}/{.status.sync.comparedTo.source.helm.values}'";
    assert_eq!(Site::kubectl(node, compared), "Synced/Healthy/{}");
    let set = application_set(&["cert-manager", "lost"], "replicaCount: 2");
    assert_eq!(apply(node, &set).0, 0);
    Site::until("the change is compared", 30, || {
        Site::kubectl(node, compared) == "Synced/Healthy/replicaCount: 2"
    });

    let job = "get job helm-install-argo-cd -n kube-system --ignore-not-found -o 'jsonpath={.metadata.uid} {.status.conditions[?(@.type==\"Complete\")].status}'";
    let former = Site::kubectl(node, job);
    let (uid, complete) = former.split_once(' ').unwrap();
    assert_eq!(complete, "True");
    let chart = helm_chart().replace("\"spec\":{", "\"spec\":{\"valuesContent\":\"a: 1\",");
    assert_eq!(apply(node, &chart).0, 0);
    Site::until("another job installs the changed chart", 30, || {
        let now = Site::kubectl(node, job);
        !now.contains(uid) && now.ends_with(" True")
    });
}

fn apply(node: &Node, objects: &str) -> (i32, String) {
    node.put("/tmp/objects", "600", objects.as_bytes()).unwrap();
    let output = Site::kubectl_raw(
        node,
        "apply --server-side --force-conflicts --field-manager=airgap -f - < /tmp/objects",
    );
    (output.code, output.stderr)
}

fn helm_chart() -> String {
    json!({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart", "metadata": {"name": "argo-cd", "namespace": "kube-system"},
        "spec": {"chart": format!("oci://{REGISTRY}/airgap/charts/argo-cd"), "version": "10.1.1", "targetNamespace": "argocd", "failurePolicy": "retry",
            "dockerRegistrySecret": {"name": "pull"}, "repoCAConfigMap": {"name": "ca"}}})
    .to_string()
}

fn application_set(names: &[&str], values: &str) -> String {
    let version = |name: &str| {
        if name == "cert-manager" {
            "1.20.0"
        } else {
            "1.0.0"
        }
    };
    let elements: Vec<_> = names
        .iter()
        .map(|name| json!({"name": name, "version": version(name), "values": values}))
        .collect();
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "metadata": {"name": "airgap", "namespace": "argocd"},
        "spec": {"goTemplate": true, "goTemplateOptions": ["missingkey=error"], "generators": [{"list": {"elements": elements}}],
            "syncPolicy": {"applicationsSync": "create-update", "preserveResourcesOnDeletion": true},
            "template": {"metadata": {"name": "{{ .name }}"}, "spec": {"project": "default",
                "destination": {"server": "https://kubernetes.default.svc", "namespace": "{{ .name }}"},
                "source": {"repoURL": format!("{REGISTRY}/airgap/charts"), "chart": "{{ .name }}", "targetRevision": "{{ .version }}",
                    "helm": {"releaseName": "{{ .name }}", "values": "{{ .values }}"}},
                "syncPolicy": {"automated": {"prune": true, "selfHeal": true}, "syncOptions": ["CreateNamespace=true"], "retry": {"limit": -1}}}}}})
    .to_string()
}
