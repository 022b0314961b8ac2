//! The cluster's API, asked and told through kubectl on the seed.
//!
//! Nothing listens for us and no credential leaves the node: RKE2's own kubectl runs there with RKE2's own kubeconfig, objects go over
//! stdin, and answers come back as JSON. One script reads everything a run needs to know, so that a run that changes nothing asks once.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::{Command, Connection, Error, Output, Result};

const KUBECTL: &str = "/var/lib/rancher/rke2/bin/kubectl";
const KUBECONFIG: &str = "/etc/rancher/rke2/rke2.yaml";
/// The field manager of everything the installer applies.
const MANAGER: &str = "airgap";
/// The label of everything the installer applies or makes.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "airgap");
/// The namespace Argo CD's own objects are in, unless the edition says otherwise.
pub const ARGOCD_NAMESPACE: &str = "argocd";
/// The ApplicationSet.
pub const APPLICATION_SET: &str = "airgap";

/// Prints everything a run needs to know of the cluster, in sections; a section that fails says so.
const OBSERVE: &str = "\
# reads the cluster's state
k() { /var/lib/rancher/rke2/bin/kubectl --kubeconfig /etc/rancher/rke2/rke2.yaml \"$@\" 2>/dev/null || echo @@failed; }
part() { printf '\\n@@part %s\\n' \"$1\"; }
part nodes; k get nodes -o json
part namespaces; k get namespaces -o json
part secrets; k get secrets -A -l app.kubernetes.io/managed-by=airgap -o json
part configmaps; k get configmaps -A -l app.kubernetes.io/managed-by=airgap -o json
part helmcharts; k get helmcharts.helm.cattle.io -n kube-system -o json
part helmchartconfigs; k get helmchartconfigs.helm.cattle.io -n kube-system -o json
part applicationsets; k get applicationsets.argoproj.io -A -o json
part applications; k get applications.argoproj.io -A -o json
part kubeconfig; cat /etc/rancher/rke2/rke2.yaml 2>/dev/null || echo @@failed
part token; cat /var/lib/rancher/rke2/server/token 2>/dev/null || echo @@failed
for f in /var/lib/rancher/rke2/server/tls/*.crt; do
  if [ -f \"$f\" ]; then part \"certificate ${f##*/}\"; cat \"$f\"; fi
done
part end
";

/// What the seed told of the cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterState {
    /// Node objects; `None` when the API server did not answer.
    pub nodes: Option<Vec<Value>>,
    /// Names of namespaces with their labels.
    pub namespaces: Vec<Value>,
    /// Secrets with our label.
    pub secrets: Vec<Value>,
    /// ConfigMaps with our label.
    pub configmaps: Vec<Value>,
    /// HelmCharts of kube-system.
    pub helmcharts: Vec<Value>,
    /// HelmChartConfigs of kube-system.
    pub helmchartconfigs: Vec<Value>,
    /// ApplicationSets.
    pub applicationsets: Vec<Value>,
    /// Applications.
    pub applications: Vec<Value>,
    /// RKE2's own kubeconfig.
    pub kubeconfig: Option<SecretString>,
    /// The full token of the cluster.
    pub token: Option<SecretString>,
    /// Certificates of the seed by file name, PEM.
    pub certificates: Vec<(String, String)>,
}

impl ClusterState {
    /// Reads the cluster's state on the seed, with one command.
    pub fn observe(connection: &mut dyn Connection) -> Result<Self> {
        let output = connection.check(
            &Command::script(OBSERVE)
                .as_root()
                .timeout(Duration::from_mins(3)),
        )?;
        Self::parse(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| Error::Answer {
            host: connection.host().to_owned(),
            what: "the cluster's state",
        })
    }

    /// Reads the script's answer; `None` when it is cut short.
    fn parse(text: &str) -> Option<Self> {
        let mut state = Self::default();
        let mut complete = false;
        for part in text.split("\n@@part ").skip(1) {
            let (name, content) = part.split_once('\n').unwrap_or((part, ""));
            let failed = content.contains("@@failed");
            let list = || if failed { None } else { items(content) };
            match name.trim() {
                "nodes" => state.nodes = list(),
                "namespaces" => state.namespaces = list().unwrap_or_default(),
                "secrets" => state.secrets = list().unwrap_or_default(),
                "configmaps" => state.configmaps = list().unwrap_or_default(),
                "helmcharts" => state.helmcharts = list().unwrap_or_default(),
                "helmchartconfigs" => state.helmchartconfigs = list().unwrap_or_default(),
                "applicationsets" => state.applicationsets = list().unwrap_or_default(),
                "applications" => state.applications = list().unwrap_or_default(),
                "kubeconfig" => {
                    state.kubeconfig =
                        (!failed).then(|| SecretString::from(content.trim_start().to_owned()));
                }
                "token" => {
                    state.token = (!failed).then(|| SecretString::from(content.trim().to_owned()));
                }
                "end" => complete = true,
                other => {
                    state.certificates.extend(
                        other
                            .strip_prefix("certificate ")
                            .map(|file| (file.to_owned(), content.to_owned())),
                    );
                }
            }
        }
        complete.then_some(state)
    }

    /// Tells whether the API server answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.nodes.is_some()
    }

    /// Returns the object of that kind, namespace and name, if the cluster has it.
    #[must_use]
    pub fn find(&self, wanted: &Value) -> Option<&Value> {
        let among = match wanted["kind"].as_str()? {
            "Namespace" => &self.namespaces,
            "Secret" => &self.secrets,
            "ConfigMap" => &self.configmaps,
            "HelmChart" => &self.helmcharts,
            "HelmChartConfig" => &self.helmchartconfigs,
            "ApplicationSet" => &self.applicationsets,
            "Application" => &self.applications,
            _ => return None,
        };
        let same = |a: &Value, field: &str| {
            a["metadata"][field].as_str().unwrap_or_default()
                == wanted["metadata"][field].as_str().unwrap_or_default()
        };
        among
            .iter()
            .find(|object| same(object, "name") && same(object, "namespace"))
    }

    /// Returns a value of a Secret with our label, decoded.
    pub fn secret_value(&self, namespace: &str, name: &str, key: &str) -> Option<SecretString> {
        use base64::Engine;
        let secret = self
            .find(&json!({"kind": "Secret", "metadata": {"namespace": namespace, "name": name}}))?;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(secret["data"][key].as_str()?)
            .ok()?;
        String::from_utf8(bytes).ok().map(SecretString::from)
    }
}

fn items(text: &str) -> Option<Vec<Value>> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(value["items"].as_array().cloned().unwrap_or_default())
}

/// A node as the API server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView<'a>(&'a Value);

impl<'a> NodeView<'a> {
    /// Wraps a Node object.
    #[must_use]
    pub fn new(node: &'a Value) -> Self {
        Self(node)
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Tells whether its condition `kind` is "True".
    #[must_use]
    pub fn condition(&self, kind: &str) -> bool {
        self.condition_object(kind)
            .is_some_and(|condition| condition["status"] == "True")
    }

    /// Returns what the kubelet says of why the node is not Ready.
    #[must_use]
    pub fn reason(&self) -> String {
        self.condition_object("Ready")
            .and_then(|condition| condition["message"].as_str())
            .unwrap_or("the node has not reported yet")
            .to_owned()
    }

    /// Tells whether the node holds a vote in etcd.
    #[must_use]
    pub fn is_voter(&self) -> bool {
        self.condition("EtcdIsVoter")
    }

    /// Returns the kubelet's version: RKE2's own.
    #[must_use]
    pub fn version(&self) -> &'a str {
        self.0["status"]["nodeInfo"]["kubeletVersion"]
            .as_str()
            .unwrap_or_default()
    }

    /// Tells whether the node is a server.
    #[must_use]
    pub fn is_server(&self) -> bool {
        self.0["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] == "true"
    }

    /// Returns its provider id, which a cloud controller sets.
    #[must_use]
    pub fn provider_id(&self) -> Option<&'a str> {
        self.0["spec"]["providerID"]
            .as_str()
            .filter(|id| !id.is_empty())
    }

    /// Returns its internal addresses.
    pub fn internal_ips(&self) -> impl Iterator<Item = &'a str> {
        let addresses = self.0["status"]["addresses"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        addresses
            .iter()
            .filter(|address| address["type"] == "InternalIP")
            .filter_map(|address| address["address"].as_str())
    }

    fn condition_object(&self, kind: &str) -> Option<&'a Value> {
        self.0["status"]["conditions"]
            .as_array()?
            .iter()
            .find(|condition| condition["type"] == kind)
    }
}

/// kubectl on one server.
pub struct Kubectl<'a> {
    connection: &'a mut dyn Connection,
}

impl std::fmt::Debug for Kubectl<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubectl")
            .field("host", &self.connection.host())
            .finish()
    }
}

impl<'a> Kubectl<'a> {
    /// Speaks through this server.
    pub fn on(connection: &'a mut dyn Connection) -> Self {
        Self { connection }
    }

    /// Names the server.
    #[must_use]
    pub fn host(&self) -> &str {
        self.connection.host()
    }

    fn command() -> Command {
        Command::new(KUBECTL)
            .arg("--kubeconfig")
            .arg(KUBECONFIG)
            .as_root()
    }

    /// Tells whether the API server says it is ready.
    pub fn is_ready(&mut self) -> Result<bool> {
        let output = self.connection.run(
            &Self::command()
                .args(["get", "--raw", "/readyz"])
                .timeout(Duration::from_secs(30)),
        )?;
        Ok(output.success() && output.text() == "ok")
    }

    /// Lists objects; empty when the kind is not known yet, `None` when the API server does not answer.
    pub fn list(&mut self, kind: &str, scope: &[&str]) -> Result<Option<Vec<Value>>> {
        let output =
            self.connection
                .run(&Self::command().arg("get").arg(kind).args(scope).args([
                    "--ignore-not-found",
                    "-o",
                    "json",
                ]))?;
        if output.success() {
            if output.stdout.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(Vec::new()));
            }
            return match items(&String::from_utf8_lossy(&output.stdout)) {
                Some(items) => Ok(Some(items)),
                None => Err(Error::Answer {
                    host: self.connection.host().to_owned(),
                    what: "kubectl get",
                }),
            };
        }
        let unknown_kind = output
            .error_text()
            .contains("the server doesn't have a resource type");
        Ok(unknown_kind.then(Vec::new))
    }

    /// Applies objects server-side; fields that others have taken are taken back.
    pub fn apply(&mut self, objects: &[Value]) -> Result<()> {
        let command = Self::command()
            .args(["apply", "--server-side", "--force-conflicts"])
            .arg(format!("--field-manager={MANAGER}"))
            .args(["-f", "-"]);
        let output = self.connection.run(&command.stdin(list_of(objects)))?;
        self.succeeded(&output, "apply", objects)
    }

    /// Creates an object unless it exists; tells whether it was created.
    pub fn create(&mut self, object: &Value) -> Result<bool> {
        let output = self.connection.run(
            &Self::command()
                .args(["create", "-f", "-"])
                .stdin(object.to_string()),
        )?;
        if !output.success() && output.error_text().contains("AlreadyExists") {
            return Ok(false);
        }
        self.succeeded(&output, "create", std::slice::from_ref(object))?;
        Ok(true)
    }

    /// Deletes an object if it is there.
    pub fn delete(&mut self, words: &[&str]) -> Result<()> {
        let command = Self::command()
            .arg("delete")
            .args(words)
            .args(["--ignore-not-found", "--timeout=60s"]);
        self.connection.check(&command)?;
        Ok(())
    }

    /// Lists etcd's members as (id, name), asked of the etcd of `node`.
    pub fn etcd_members(&mut self, node: &str) -> Result<Vec<(u64, String)>> {
        let output = self
            .connection
            .check(&etcdctl(node, &["member", "list", "-w", "json"]))?;
        let answer: Value = serde_json::from_slice(&output.stdout).map_err(|_| Error::Answer {
            host: self.connection.host().to_owned(),
            what: "etcd's members",
        })?;
        let members = answer["members"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        Ok(members
            .iter()
            .filter_map(|member| {
                Some((member["ID"].as_u64()?, member["name"].as_str()?.to_owned()))
            })
            .collect())
    }

    /// Removes a member of etcd, told to the etcd of `node`.
    pub fn remove_etcd_member(&mut self, node: &str, id: u64) -> Result<()> {
        self.connection
            .check(&etcdctl(node, &["member", "remove", &format!("{id:x}")]))?;
        Ok(())
    }

    fn succeeded(&self, output: &Output, verb: &'static str, objects: &[Value]) -> Result<()> {
        if output.success() {
            return Ok(());
        }
        // kubectl's messages name objects and fields, never values of Secrets
        Err(Error::Kubernetes {
            host: self.connection.host().to_owned(),
            operation: verb,
            objects: objects.iter().map(name_of).collect::<Vec<_>>().join(", "),
            message: output.error_text(),
        })
    }
}

fn etcdctl(node: &str, words: &[&str]) -> Command {
    const TLS: &str = "/var/lib/rancher/rke2/server/tls/etcd";
    Kubectl::command()
        .args(["exec", "-n", "kube-system"])
        .arg(format!("etcd-{node}"))
        .args(["--", "etcdctl", "--cacert"])
        .arg(format!("{TLS}/server-ca.crt"))
        .arg("--cert")
        .arg(format!("{TLS}/server-client.crt"))
        .arg("--key")
        .arg(format!("{TLS}/server-client.key"))
        .args(["--endpoints", "https://127.0.0.1:2379"])
        .args(words)
}

fn list_of(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// Names an object for people: `Secret argocd/airgap-charts`.
#[must_use]
pub fn name_of(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let namespace = object["metadata"]["namespace"]
        .as_str()
        .map(|namespace| format!("{namespace}/"))
        .unwrap_or_default();
    format!(
        "{} {namespace}{}",
        word(&object["kind"]),
        word(&object["metadata"]["name"])
    )
}

/// Adds our label to an object.
#[must_use]
pub fn labelled(mut object: Value) -> Value {
    object["metadata"]["labels"][MANAGED_BY.0] = json!(MANAGED_BY.1);
    object
}

/// Replaces the address in RKE2's kubeconfig by the cluster's endpoint, and the names `default` by the cluster's.
#[must_use]
pub fn kubeconfig_for(text: &SecretString, endpoint: &str, cluster: &str) -> SecretString {
    let endpoint = crate::render::config::bracketed(endpoint);
    let text = text.expose_secret().replace(
        "https://127.0.0.1:6443",
        &format!("https://{endpoint}:6443"),
    );
    SecretString::from(
        text.lines()
            .map(|line| rename(line, cluster))
            .collect::<Vec<_>>()
            .join("\n")
            + "\n",
    )
}

fn rename(line: &str, cluster: &str) -> String {
    for key in ["name: ", "cluster: ", "user: ", "current-context: "] {
        if let Some(indent) = line
            .strip_suffix("default")
            .and_then(|line| line.strip_suffix(key))
        {
            return format!("{indent}{key}{cluster}");
        }
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_read_and_a_failed_part_is_nothing() {
        let text = "\n@@part nodes\n{\"items\":[{\"metadata\":{\"name\":\"cp1\"}}]}\n\n@@part applications\n@@failed\n\n@@part token\nK10abc::server:pw\n\n@@part end\n";
        let state = ClusterState::parse(text).expect("complete");
        assert_eq!(
            NodeView::new(&state.nodes.as_ref().expect("nodes")[0]).name(),
            "cp1"
        );
        assert!(state.applications.is_empty());
        assert_eq!(
            state.token.expect("token").expose_secret(),
            "K10abc::server:pw"
        );
    }

    #[test]
    fn an_answer_that_is_cut_short_is_refused_and_one_without_an_api_server_is_not() {
        assert!(ClusterState::parse("\n@@part nodes\n{\"items\":[]}").is_none());
        assert!(
            !ClusterState::parse("\n@@part nodes\n@@failed\n\n@@part end\n")
                .expect("complete")
                .answers()
        );
    }

    #[test]
    fn the_kubeconfig_gets_the_endpoint_and_the_clusters_name() {
        let text = "clusters:\n- cluster:\n    server: https://127.0.0.1:6443\n  name: default\ncontexts:\n- context:\n    cluster: default\n    user: default\n  name: default\ncurrent-context: default\n";
        let text = kubeconfig_for(&text.to_owned().into(), "fd00::1", "prod");
        assert_eq!(
            text.expose_secret(),
            "clusters:\n- cluster:\n    server: https://[fd00::1]:6443\n  name: prod\ncontexts:\n- context:\n    cluster: prod\n    user: prod\n  name: prod\ncurrent-context: prod\n"
        );
    }

    #[test]
    fn objects_are_found_by_kind_namespace_and_name() {
        let secret = json!({"kind": "Secret", "metadata": {"name": "a", "namespace": "n"}, "data": {"k": "djE="}});
        let state = ClusterState {
            secrets: vec![secret],
            ..ClusterState::default()
        };
        assert_eq!(
            state
                .secret_value("n", "a", "k")
                .expect("a value")
                .expose_secret(),
            "v1"
        );
        assert!(state.secret_value("other", "a", "k").is_none());
    }
}
