//! The Helm controller: a job per HelmChart that fetches the chart with exactly the access it was given.

mod job;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base64::Engine as _;
use serde_json::{Value, json};

use self::job::Job;
use super::api::{self, merge};
use super::argocd::CHART_LABEL;
use super::chart::{Access, Chart};
use super::fail::{Context as _, Fail, Result};
use super::kinds::{self, Kind};
use super::server::Server;
use super::store::State;
use super::{custom, dns, log, workloads, yaml};

/// What was done for each chart, by key: the hash it was done for, the one that was seen last, or when to try again.
#[derive(Debug, Default)]
pub(crate) struct Charts {
    done: BTreeMap<String, String>,
    seen: BTreeMap<String, String>,
    retry: BTreeMap<String, (i64, u32)>,
}

fn kind(name: &str) -> Result<Kind> {
    kinds::by_kind(name).context(format!("no kind {name}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Charts {
    /// One pass over all HelmCharts.
    pub(crate) async fn tick(&mut self, server: &Server) -> Result<()> {
        let charts: Vec<Value> = server
            .peers
            .read(|state| state.under("helm.cattle.io/helmcharts/").cloned().collect());
        let now = jiff::Timestamp::now().as_second();
        for chart in &charts {
            let (namespace, name) = (
                text(&chart["metadata"]["namespace"]),
                text(&chart["metadata"]["name"]),
            );
            let key = format!("{namespace}/{name}");
            let config = server
                .get(&kind("HelmChartConfig")?, namespace, name)
                .unwrap_or_default();
            let hash = job::hash(chart, &config);
            if self.done.get(&key) == Some(&hash) {
                continue;
            }
            match server.peers.read(|state| job::find(state, chart, &hash))? {
                // another server's, while it was leader
                Job::Complete => {
                    self.done.insert(key, hash);
                    continue;
                }
                // the real one takes its time as well: whoever does not look whose job it is sees a complete one
                Job::Former if self.seen.get(&key) != Some(&hash) => {
                    self.seen.insert(key, hash);
                    continue;
                }
                Job::Former | Job::Missing => {
                    server
                        .peers
                        .commit(|state| job::replace(state, chart, &hash))
                        .await?;
                    self.retry.remove(&key);
                }
                Job::Runs => {}
            }
            if self.retry.get(&key).is_some_and(|(when, _)| *when > now) {
                continue;
            }
            let error = match install(server, chart, &config).await {
                Ok(()) => {
                    log::info(format!("helm: {key} deployed"));
                    self.done.insert(key.clone(), hash);
                    self.retry.remove(&key);
                    None
                }
                Err(error) => {
                    let tries = self.retry.get(&key).map_or(0, |(_, tries)| *tries) + 1;
                    self.retry
                        .insert(key.clone(), (now + i64::from(tries.min(8)), tries));
                    log::error(format!(
                        "helm: job helm-install-{name} in {namespace} failed: {error}"
                    ));
                    Some(error.0)
                }
            };
            server
                .peers
                .commit(|state| job::report(state, chart, error.as_deref()))
                .await?;
        }
        self.uninstall(server, &charts).await
    }

    async fn uninstall(&mut self, server: &Server, charts: &[Value]) -> Result<()> {
        let there: Vec<String> = charts
            .iter()
            .map(|chart| {
                format!(
                    "{}/{}",
                    text(&chart["metadata"]["namespace"]),
                    text(&chart["metadata"]["name"])
                )
            })
            .collect();
        let gone: Vec<String> = self
            .done
            .keys()
            .filter(|key| !there.contains(key))
            .cloned()
            .collect();
        for key in gone {
            self.done.remove(&key);
            let releases: Vec<(String, String)> = server.peers.read(|state| {
                let mine = state.under("/secrets/").filter(|secret| {
                    secret["metadata"]["annotations"]["standin.airgap/helmchart"] == key.as_str()
                });
                mine.map(|secret| {
                    (
                        text(&secret["metadata"]["namespace"]).to_owned(),
                        text(&secret["metadata"]["labels"]["name"]).to_owned(),
                    )
                })
                .collect()
            });
            for (namespace, name) in releases {
                server
                    .peers
                    .commit(|state| {
                        state.objects.remove(&format!(
                            "/secrets/{namespace}/sh.helm.release.v1.{name}.v1"
                        ));
                        workloads::remove(state, &name, &namespace)
                    })
                    .await?;
            }
        }
        Ok(())
    }
}

/// Runs helm for a chart.
async fn install(server: &Server, chart: &Value, config: &Value) -> Result<()> {
    let (namespace, name) = (
        text(&chart["metadata"]["namespace"]),
        text(&chart["metadata"]["name"]),
    );
    let spec = &chart["spec"];
    let bootstrap = spec["bootstrap"] == true;
    let image = spec["jobImage"]
        .as_str()
        .or(server.config.get("helm-job-image"))
        .unwrap_or(&server.release.klipper_helm);
    if !bootstrap
        && !server
            .peers
            .read(|state| state.under("/nodes/").any(super::nodes::ready))
    {
        return Err(Fail::new(
            "0/1 nodes are available: the helm job's pod is Pending until a node is Ready",
        ));
    }
    run_job_pod(server, namespace, name, image).await?;
    let values = values(server, namespace, spec, &config["spec"])?;
    let opened = if let Some(content) = spec["chartContent"].as_str() {
        Chart::inline(content)?
    } else {
        let reference = text(&spec["chart"]);
        if !spec["repo"].is_null() {
            return Err(Fail::new(format!(
                "looks like {} is not a valid chart repository or cannot be reached from here",
                spec["repo"]
            )));
        }
        let access = access(server, namespace, spec, reference, bootstrap).await?;
        Chart::pull(reference, text(&spec["version"]), &access).await?
    };
    let target = spec["targetNamespace"]
        .as_str()
        .unwrap_or(namespace)
        .to_owned();
    let work = opened.workloads(name, &target, &values, &server.release.chart_images)?;
    let cni = ["canal", "cilium", "calico", "flannel"]
        .iter()
        .any(|cni| opened.name == format!("rke2-{cni}"));
    let argo = opened.name == "argo-cd";
    let certificates = match values.pointer("/configs/tls/certificates") {
        Some(Value::Object(certificates)) => json!(certificates),
        _ => json!({}),
    };
    let mark = format!("{namespace}/{name}");
    let create = spec["createNamespace"] == true;
    server
        .peers
        .commit(|state| {
            if !state.objects.contains_key(&format!("/namespaces//{target}")) {
                if !create {
                    return Err(Fail::new(format!("INSTALLATION FAILED: create: failed to create: namespaces {target:?} not found")));
                }
                put(state, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": target}}))?;
            }
            put(
                state,
                json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1", "metadata": {"name": format!("sh.helm.release.v1.{name}.v1"),
                    "namespace": target, "annotations": {"standin.airgap/helmchart": mark},
                    "labels": {"name": name, CHART_LABEL: opened.name, "owner": "helm", "status": "deployed", "version": "1"}}, "data": {}}),
            )?;
            if argo {
                put(state, json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "applicationsets.argoproj.io"}}))?;
                // the chart's template of that name: the authorities that its values give
                put(state, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-tls-certs-cm", "namespace": target},
                    "data": certificates}))?;
            }
            custom::brought_by(state, &opened.name, &values)?;
            workloads::put(state, name, &target, &work, cni)
        })
        .await
}

/// Stores one object of a release.
fn put(state: &mut State, object: Value) -> Result<()> {
    let kind = kind(text(&object["kind"]))?;
    let key = kind.key(
        text(&object["metadata"]["namespace"]),
        text(&object["metadata"]["name"]),
    );
    api::store(state, &kind, &key, object);
    Ok(())
}

/// The job's own pod: its image has to be pulled on a node before helm can run.
async fn run_job_pod(server: &Server, namespace: &str, name: &str, image: &str) -> Result<()> {
    let pod = format!("helm-install-{name}");
    let node = server.host.name.clone();
    server
        .peers
        .commit(|state| {
            super::nodes::upsert_pod(
                state,
                namespace,
                &pod,
                &node,
                &[image.to_owned()],
                &serde_json::Map::new(),
            )
        })
        .await?;
    let pods = kind("Pod")?;
    for _ in 0..20 {
        let status = server.get(&pods, namespace, &pod).unwrap_or_default();
        if status["status"]["phase"] == "Running" {
            return Ok(());
        }
        if let Some(message) =
            status["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str()
        {
            return Err(Fail::new(message));
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    Err(Fail::new(format!("pod {pod} is still Pending")))
}

/// Values, lowest first: the chart's content, values and secrets, then the HelmChartConfig's, then `set`.
fn values(server: &Server, namespace: &str, spec: &Value, config: &Value) -> Result<Value> {
    let mut all = json!({});
    for source in [spec, config] {
        if let Some(content) = source["valuesContent"].as_str() {
            let parsed = yaml::one(content).context("valuesContent")?;
            if !parsed.is_null() {
                merge(&mut all, &parsed);
            }
        }
        if source["values"].is_object() {
            merge(&mut all, &source["values"]);
        }
        for reference in source["valuesSecrets"].as_array().into_iter().flatten() {
            let secret = secret(server, namespace, text(&reference["name"]))?;
            for key in reference["keys"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                let data = secret
                    .get(key)
                    .context(format!("values secret has no key {key}"))?;
                merge(&mut all, &yaml::one(data)?);
            }
        }
    }
    for (path, value) in spec["set"].as_object().into_iter().flatten() {
        let mut nested = value.clone();
        for part in path.split('.').rev() {
            nested = json!({ part: nested });
        }
        merge(&mut all, &nested);
    }
    Ok(all)
}

/// A Secret's data, decoded.
pub(crate) fn secret(
    server: &Server,
    namespace: &str,
    name: &str,
) -> Result<BTreeMap<String, String>> {
    let found = server
        .get(&kind("Secret")?, namespace, name)
        .context(format!("secrets {name:?} not found in {namespace}"))?;
    Ok(decode(&found))
}

pub(crate) fn decode(secret: &Value) -> BTreeMap<String, String> {
    let data = secret["data"].as_object().into_iter().flatten();
    data.filter_map(|(key, value)| {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(value.as_str()?)
            .ok()?;
        Some((key.clone(), String::from_utf8(bytes).ok()?))
    })
    .collect()
}

async fn access(
    server: &Server,
    namespace: &str,
    spec: &Value,
    reference: &str,
    bootstrap: bool,
) -> Result<Access> {
    let host = reference
        .trim_start_matches("oci://")
        .split('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    let mut access = Access {
        plain_http: spec["plainHTTP"] == true,
        insecure: spec["insecureSkipTLSVerify"] == true,
        ..Access::default()
    };
    if let Some(name) = spec["dockerRegistrySecret"]["name"].as_str() {
        let data = secret(server, namespace, name)?;
        let config = data
            .get(".dockerconfigjson")
            .context(format!("secret {name} has no .dockerconfigjson"))?;
        let config: Value = serde_json::from_str(config).context(format!("secret {name}"))?;
        let entry = &config["auths"][&host];
        access.username = entry["username"].as_str().map(str::to_owned);
        access.password = entry["password"].as_str().map(str::to_owned);
        if let Some(encoded) = entry["auth"].as_str() {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(encoded)
                .map_err(|error| Fail::new(format!("secret {name}: {error}")))?;
            let pair = String::from_utf8_lossy(&bytes).into_owned();
            let (user, password) = pair
                .split_once(':')
                .context(format!("secret {name}: auth is not user:password"))?;
            (access.username, access.password) = (Some(user.to_owned()), Some(password.to_owned()));
        }
    }
    if let Some(name) = spec["repoCAConfigMap"]["name"].as_str() {
        let map = server
            .get(&kind("ConfigMap")?, namespace, name)
            .context(format!("configmaps {name:?} not found in {namespace}"))?;
        let pems: Vec<&str> = map["data"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(_, value)| value.as_str())
            .collect();
        access.ca_pem = Some(pems.join("\n"));
    }
    if let Some(pem) = spec["repoCA"].as_str() {
        access.ca_pem = Some(pem.to_owned());
    }
    let port = if access.plain_http { 80 } else { 443 };
    access.address = pod_address(server, &host, port, bootstrap).await?;
    Ok(access)
}

/// Resolves a registry as a pod does: the cluster's DNS, or the node's resolver for a bootstrap job on the host network.
pub(crate) async fn pod_address(
    server: &Server,
    host: &str,
    port: u16,
    host_network: bool,
) -> Result<Option<SocketAddr>> {
    if host_network {
        return Ok(None);
    }
    let (name, port) = host
        .rsplit_once(':')
        .and_then(|(name, port)| Some((name, port.parse().ok()?)))
        .unwrap_or((host, port));
    let config = server
        .get(&kind("HelmChartConfig")?, "kube-system", "rke2-coredns")
        .unwrap_or_default();
    let address = dns::cluster(name, &config["spec"])
        .await
        .context(format!("dial tcp: lookup {name} on 10.43.0.10:53"))?;
    Ok(Some(SocketAddr::new(address, port)))
}
