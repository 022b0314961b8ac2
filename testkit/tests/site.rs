//! A site with a registry that holds a whole stand-in release, and nodes prepared by hand as an installer would.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests, which end at the first surprise"
)]

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use airgap_testkit::cluster::{Cluster, ClusterSpec, Node, REGISTRY, missing};
use airgap_testkit::harbor::{Account, HarborConfig, HarborEmulation, Project};
use airgap_testkit::image::{Image, digest_of};
use airgap_testkit::release::{Release, ReleaseSpec, standin_binary};
use airgap_testkit::require_tool;
use airgap_testkit::tls::TestCa;
use reqwest::{Client, Url};

pub(crate) const PASSWORD: &str = "canary-Pull-5e1f";

pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) harbor: HarborEmulation,
    pub(crate) ca: TestCa,
    pub(crate) release: Release,
    /// Sites are heavy: one at a time.
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other site of this process is up.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a site can be set up here; in CI it has to be.
pub(crate) fn possible() -> bool {
    let missing = missing();
    if missing.is_empty() && require_tool("docker-registry") {
        return true;
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "CI skips nothing, and this machine lacks {missing:?}"
    );
    eprintln!("SKIPPED: a site needs {missing:?}");
    false
}

impl Site {
    pub(crate) fn start(spec: ClusterSpec) -> Self {
        let turn = turn();
        let release_spec = ReleaseSpec::stock();
        let release = release_spec
            .make(
                &standin_binary().expect("cargo build -p airgap-testkit --bins"),
                "amd64",
            )
            .unwrap();
        let cluster = Cluster::start(spec).unwrap();
        let ca = TestCa::new("site CA");
        let harbor = HarborEmulation::start(HarborConfig {
            listen: SocketAddr::from((cluster.gateway(), 443)),
            tls: Some(ca.server(&[REGISTRY])),
            accounts: vec![
                Account::admin("admin", "Admin-1"),
                Account::puller("airgap", PASSWORD),
            ],
            projects: vec![Project::named("airgap")],
            ..HarborConfig::default()
        });
        let site = Self {
            cluster,
            harbor,
            ca,
            release,
            _turn: turn,
        };
        for name in &release_spec.images {
            let image = if *name == site.release.runtime_name {
                site.release.runtime.clone()
            } else {
                Image::oci().layer(&[("name", name.as_bytes())]).build()
            };
            site.push(name, &image);
        }
        site
    }

    /// Pushes an image under its mapped name.
    pub(crate) fn push(&self, name: &str, image: &Image) {
        let (repository, tag) = name.rsplit_once(':').unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let address = SocketAddr::from((self.cluster.gateway(), 443));
        let client = Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(self.ca.pem().as_bytes()).unwrap()])
            .resolve(REGISTRY, address)
            .no_proxy()
            .build()
            .unwrap();
        let base = format!("https://{REGISTRY}/v2/airgap/{repository}");
        runtime.block_on(async {
            for blob in &image.blobs {
                let start = client
                    .post(format!("{base}/blobs/uploads/"))
                    .basic_auth("admin", Some("Admin-1"))
                    .send()
                    .await
                    .unwrap();
                assert!(start.status().is_success(), "{}", start.status());
                let mut url = Url::parse(&base)
                    .unwrap()
                    .join(start.headers()["location"].to_str().unwrap())
                    .unwrap();
                url.query_pairs_mut()
                    .append_pair("digest", digest_of(blob).as_ref());
                let put = client
                    .put(url)
                    .basic_auth("admin", Some("Admin-1"))
                    .body(blob.clone())
                    .send()
                    .await
                    .unwrap();
                assert!(put.status().is_success(), "{}", put.status());
            }
            let url = format!("{base}/manifests/{tag}");
            let put = client
                .put(url)
                .basic_auth("admin", Some("Admin-1"))
                .header("content-type", &image.media_type)
                .body(image.manifest.clone());
            let put = put.send().await.unwrap();
            assert!(put.status().is_success(), "{}", put.status());
        });
    }

    pub(crate) fn registries() -> String {
        let mirror = |host: &str| {
            let rewrite = format!("{{\"^(.*)$\": \"airgap/{host}/$1\"}}");
            format!("  {host}: {{endpoint: [\"https://{REGISTRY}\"], rewrite: {rewrite}}}\n")
        };
        let mirrors = mirror("docker.io") + &mirror("quay.io");
        let auth = format!("{{username: \"robot$airgap+pull\", password: \"{PASSWORD}\"}}");
        format!(
            "mirrors:\n{mirrors}configs:\n  {REGISTRY}: {{auth: {auth}, tls: {{ca_file: /etc/rancher/rke2/ca.crt}}}}\n"
        )
    }

    /// What every node's config.yaml begins with.
    pub(crate) fn config(&self) -> String {
        let (repository, _) = self.release.runtime_name.rsplit_once(':').unwrap();
        format!(
            "runtime-image: {REGISTRY}/airgap/{repository}@{}\ndisable-default-registry-endpoint: true\n",
            self.release.runtime.digest()
        )
    }

    /// Stages the release and the configuration; nothing is started.
    pub(crate) fn prepare(&self, node: &Node, config: &str) {
        for (name, bytes) in &self.release.files {
            if !name.contains("images") {
                node.put(&format!("/opt/airgap/{name}"), "600", bytes)
                    .unwrap();
            }
        }
        node.put("/etc/rancher/rke2/ca.crt", "644", self.ca.pem().as_bytes())
            .unwrap();
        node.put(
            "/etc/rancher/rke2/registries.yaml",
            "600",
            Self::registries().as_bytes(),
        )
        .unwrap();
        node.put("/etc/rancher/rke2/config.yaml", "600", config.as_bytes())
            .unwrap();
        let installed = node
            .sh("INSTALL_RKE2_ARTIFACT_PATH=/opt/airgap sh /opt/airgap/install.sh")
            .unwrap();
        assert_eq!(installed.code, 0, "{installed:?}");
    }

    pub(crate) fn kubectl(node: &Node, line: &str) -> String {
        let output = Self::kubectl_raw(node, line);
        assert_eq!(output.code, 0, "kubectl {line}: {output:?}");
        output.stdout
    }

    pub(crate) fn kubectl_raw(node: &Node, line: &str) -> airgap_testkit::cluster::Output {
        node.sh(&format!(
            "/var/lib/rancher/rke2/bin/kubectl --kubeconfig /etc/rancher/rke2/rke2.yaml {line}"
        ))
        .unwrap()
    }

    /// Starts a unit; panics with its journal where it does not come up.
    pub(crate) fn start_unit(node: &Node, unit: &str) {
        let started = node
            .sh(&format!("timeout 300 systemctl start {unit}"))
            .unwrap();
        assert_eq!(
            started.code,
            0,
            "{unit} on {}: {}",
            node.name(),
            Self::journal(node, unit)
        );
    }

    /// Waits until a node has registered, and is Ready.
    pub(crate) fn await_node(on: &Node, name: &str) {
        Self::until("the node has registered", 120, || {
            !Self::kubectl(on, &format!("get node {name} --ignore-not-found -o name")).is_empty()
        });
        Self::kubectl(
            on,
            &format!("wait --for=condition=Ready node/{name} --timeout=120s"),
        );
    }

    pub(crate) fn journal(node: &Node, unit: &str) -> String {
        node.sh(&format!("journalctl --no-pager -o cat -n 60 -u {unit}"))
            .unwrap()
            .stdout
    }

    /// Waits until `look` is true.
    pub(crate) fn until(what: &str, seconds: u64, mut look: impl FnMut() -> bool) {
        let start = Instant::now();
        while !look() {
            assert!(
                start.elapsed() < Duration::from_secs(seconds),
                "timed out: {what}"
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}
