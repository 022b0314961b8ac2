//! The stand-in RKE2 on real systemd nodes.

use std::time::Instant;

use airgap_testkit::charts::Chart;
use airgap_testkit::cluster::{ClusterSpec, REGISTRY};
use airgap_testkit::image::Image;
use base64::Engine as _;

use crate::site::{PASSWORD, Site, possible};

#[test]
fn a_single_node_comes_up_from_the_registry_alone() {
    if !possible() {
        return;
    }
    let start = Instant::now();
    let site = Site::start(ClusterSpec::single());
    eprintln!("site up after {:?}", start.elapsed());
    let node = site.cluster.node("solo");
    site.prepare(node, &format!("{}cni: [cilium]\n", site.config()));
    Site::start_unit(node, "rke2-server");
    eprintln!("READY after {:?}", start.elapsed());
    Site::kubectl(node, "wait --for=condition=Ready node/solo --timeout=60s");
    eprintln!("node Ready after {:?}", start.elapsed());
    assert!(Site::kubectl(node, "get --raw /readyz").contains("ok"));
    assert!(Site::kubectl(node, "get nodes").contains("solo\tReady\tv1.36.4+rke2r1"));
    assert_eq!(
        node.sh("stat -c %a /etc/rancher/rke2/rke2.yaml")
            .unwrap()
            .stdout,
        "600"
    );
    assert!(
        node.sh("rke2 --version")
            .unwrap()
            .stdout
            .contains("stand-in")
    );
    let pulled = node
        .sh("/var/lib/rancher/rke2/bin/crictl images")
        .unwrap()
        .stdout;
    assert!(
        pulled.contains("docker.io/rancher/mirrored-cilium-cilium:v1.19.6"),
        "{pulled}"
    );
    assert_eq!(site.cluster.escapes(), Vec::<String>::new());
}

#[test]
fn three_servers_and_two_agents_outlive_their_seed() {
    if !possible() {
        return;
    }
    let start = Instant::now();
    let mut site = Site::start(ClusterSpec::of(3, 2));
    eprintln!("site up after {:?}", start.elapsed());
    let seed = site.cluster.node("cp1");
    let address = seed.address();
    site.prepare(seed, &format!("{}cni: [cilium]\n", site.config()));
    Site::start_unit(seed, "rke2-server");
    let token = seed
        .sh("cat /var/lib/rancher/rke2/server/token")
        .unwrap()
        .stdout;
    assert!(token.starts_with("K10") && token.contains("::server:"));
    for (name, unit) in [
        ("cp2", "rke2-server"),
        ("cp3", "rke2-server"),
        ("w1", "rke2-agent"),
        ("w2", "rke2-agent"),
    ] {
        let node = site.cluster.node(name);
        join(&site, node, unit, &address.to_string(), &token);
        Site::start_unit(node, unit);
    }
    eprintln!("all READY after {:?}", start.elapsed());
    let other = site.cluster.node("cp2");
    Site::kubectl(
        other,
        "wait --for=condition=Ready nodes --timeout=60s cp1 cp2 cp3 w1 w2",
    );
    eprintln!("all Ready after {:?}", start.elapsed());
    Site::kubectl(seed, "create namespace kept");

    site.cluster.reimage("cp1").unwrap();
    assert!(
        Site::kubectl(site.cluster.node("cp2"), "get namespace kept -o name")
            .contains("namespace/kept")
    );
    let seed = site.cluster.node("cp1");
    join(&site, seed, "rke2-server", &other_address(&site), &token);
    seed.sh("systemctl start --no-block rke2-server").unwrap();
    Site::until("the password of the old machine is remembered", 30, || {
        Site::journal(seed, "rke2-server").contains("Node password rejected")
    });
    Site::kubectl(
        site.cluster.node("cp2"),
        "delete secret -n kube-system cp1.node-password.rke2",
    );
    Site::until("the stale member is remembered", 30, || {
        Site::journal(seed, "rke2-server").contains("duplicate node name found")
    });
    Site::kubectl(site.cluster.node("cp2"), "delete node cp1");
    Site::until("it rejoins", 60, || {
        seed.sh("systemctl is-active rke2-server").unwrap().stdout == "active"
    });
    assert!(Site::kubectl(seed, "get namespace kept -o name").contains("namespace/kept"));
    eprintln!("rejoined after {:?}", start.elapsed());

    let worker = site.cluster.node("w1");
    let pulled = worker
        .sh("/var/lib/rancher/rke2/bin/crictl pull docker.io/rancher/mirrored-pause:3.10.2")
        .unwrap();
    assert_eq!(pulled.code, 0, "{pulled:?}");
    site.harbor.leave();
    let refused = worker
        .sh("/var/lib/rancher/rke2/bin/crictl pull docker.io/rancher/mirrored-pause:3.10.2")
        .unwrap();
    assert_ne!(refused.code, 0);
    assert_eq!(site.cluster.escapes(), Vec::<String>::new());
    // without the key, the next start makes the same pull go to docker.io, and the site sees it
    worker
        .sh("sed -i /disable-default/d /etc/rancher/rke2/config.yaml; systemctl restart rke2-agent")
        .unwrap();
    worker
        .sh("/var/lib/rancher/rke2/bin/crictl pull docker.io/rancher/mirrored-pause:3.10.2")
        .unwrap();
    let escapes = site.cluster.escapes();
    assert!(
        escapes
            .iter()
            .any(|line| line.contains("registry-1.docker.io")),
        "{escapes:?}"
    );
    eprintln!("done after {:?}", start.elapsed());
}

fn other_address(site: &Site) -> String {
    site.cluster.node("cp2").address().to_string()
}

fn join(site: &Site, node: &airgap_testkit::cluster::Node, unit: &str, address: &str, token: &str) {
    let role = if unit == "rke2-server" {
        "cni: [cilium]\n"
    } else {
        ""
    };
    site.prepare(
        node,
        &format!(
            "{}{role}server: https://{address}:9345\ntoken-file: /etc/rancher/rke2/join-token\n",
            site.config()
        ),
    );
    node.put("/etc/rancher/rke2/join-token", "600", token.as_bytes())
        .unwrap();
}

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

#[test]
fn argo_cd_pulls_charts_with_its_own_credentials_and_says_what_fails() {
    if !possible() {
        return;
    }
    let site = Site::start(ClusterSpec::single());
    let node = site.cluster.node("solo");
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
    site.prepare(node, &format!("{}cni: [cilium]\n", site.config()));
    Site::start_unit(node, "rke2-server");
    Site::kubectl(node, "wait --for=condition=Ready node/solo --timeout=60s");

    let missing = apply(node, &application_set(&["cert-manager"]));
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
    let docker = serde_json::json!({"auths": {REGISTRY: {"auth": auth}}}).to_string();
    let objects = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [
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
    let ca = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca", "namespace": "kube-system"}, "data": {"ca.crt": site.ca.pem()}});
    assert_eq!(apply(node, &ca.to_string()).0, 0);
    Site::until("Argo CD runs", 60, || {
        Site::kubectl(
            node,
            "get deploy -n argocd -o jsonpath={.items[*].status.readyReplicas}",
        ) == "1"
    });

    let repository = |password: &str| {
        serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "charts", "namespace": "argocd", "labels": {"argocd.argoproj.io/secret-type": "repository"}},
            "stringData": {"type": "helm", "enableOCI": "true", "url": format!("{REGISTRY}/airgap/charts"), "username": "robot$airgap+pull", "password": password}})
        .to_string()
    };
    let trust = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-tls-certs-cm", "namespace": "argocd"}, "data": {REGISTRY: site.ca.pem()}});
    assert_eq!(apply(node, &repository("wrong")).0, 0);
    assert_eq!(apply(node, &trust.to_string()).0, 0);
    assert_eq!(
        apply(node, &application_set(&["cert-manager", "lost"])).0,
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
    assert_eq!(site.cluster.escapes(), Vec::<String>::new());
}

fn apply(node: &airgap_testkit::cluster::Node, objects: &str) -> (i32, String) {
    node.put("/tmp/objects", "600", objects.as_bytes()).unwrap();
    let output = Site::kubectl_raw(
        node,
        "apply --server-side --force-conflicts --field-manager=airgap -f - < /tmp/objects",
    );
    (output.code, output.stderr)
}

fn helm_chart() -> String {
    serde_json::json!({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart", "metadata": {"name": "argo-cd", "namespace": "kube-system"},
        "spec": {"chart": format!("oci://{REGISTRY}/airgap/charts/argo-cd"), "version": "10.1.1", "targetNamespace": "argocd", "failurePolicy": "retry",
            "dockerRegistrySecret": {"name": "pull"}, "repoCAConfigMap": {"name": "ca"}}})
    .to_string()
}

fn application_set(names: &[&str]) -> String {
    let version = |name: &str| {
        if name == "cert-manager" {
            "1.20.0"
        } else {
            "1.0.0"
        }
    };
    let elements: Vec<_> = names
        .iter()
        .map(|name| serde_json::json!({"name": name, "version": version(name), "values": "{}"}))
        .collect();
    serde_json::json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "metadata": {"name": "airgap", "namespace": "argocd"},
        "spec": {"goTemplate": true, "goTemplateOptions": ["missingkey=error"], "generators": [{"list": {"elements": elements}}],
            "syncPolicy": {"applicationsSync": "create-update", "preserveResourcesOnDeletion": true},
            "template": {"metadata": {"name": "{{ .name }}"}, "spec": {"project": "default",
                "destination": {"server": "https://kubernetes.default.svc", "namespace": "{{ .name }}"},
                "source": {"repoURL": format!("{REGISTRY}/airgap/charts"), "chart": "{{ .name }}", "targetRevision": "{{ .version }}",
                    "helm": {"releaseName": "{{ .name }}", "values": "{{ .values }}"}},
                "syncPolicy": {"automated": {"prune": true, "selfHeal": true}, "syncOptions": ["CreateNamespace=true"], "retry": {"limit": -1}}}}}})
    .to_string()
}
