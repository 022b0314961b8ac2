//! The cluster's state as one script on the seed reads it.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{Command, Connection, Error, Result};

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
part jobs; k get jobs.batch -n kube-system -o json
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
    /// Jobs of kube-system, among them those that install the HelmCharts.
    pub jobs: Vec<Value>,
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
                "jobs" => state.jobs = list().unwrap_or_default(),
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

pub(super) fn items(text: &str) -> Option<Vec<Value>> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(value["items"].as_array().cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::NodeView;
    use secrecy::ExposeSecret;

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
