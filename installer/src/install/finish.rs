//! report: what the operator keeps of an installation.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::json;

use super::{Installer, Look, done, started};
use crate::{
    Error, InstallReport, Report, Result,
    desired::Desired,
    kube::{ClusterState, kubeconfig_for, secret_values},
    phase::{Phase, look, registry::Reached},
    report::{self, ComponentReport},
};

impl Installer<'_> {
    /// report: what the operator keeps.
    pub(super) fn finish(
        &self,
        desired: &Desired<'_>,
        look: Look<'_>,
        reached: &Reached,
        changed: bool,
        report: Report<'_>,
    ) -> Result<InstallReport> {
        started(report, Phase::Report);
        let folder = self
            .options
            .report_parent
            .join(format!("airgap-{}", self.inventory.name));
        let state = look.gathered.cluster.unwrap_or_default();
        let traffic = reached.registry.stats();
        let mut outcome = InstallReport {
            cluster: self.inventory.name.clone(),
            release: desired.offer.release.clone(),
            signed_by: self
                .archive
                .signed_by()
                .iter()
                .map(ToString::to_string)
                .collect(),
            changed,
            registry_writes: traffic.writes,
            registry_heads: traffic.heads,
            pushed: reached.plan.summary.clone(),
            nodes: report::nodes_of(state.nodes.as_deref().unwrap_or_default()),
            components: Vec::new(),
            recovery: Vec::new(),
            manual_steps: Vec::new(),
            notices: desired.notices.clone(),
            commands: look
                .gathered
                .machines
                .iter()
                .map(|machine| (machine.host.name.clone(), machine.connection.counts().0))
                .collect(),
            files_written: look
                .gathered
                .machines
                .iter()
                .map(|machine| (machine.host.name.clone(), machine.connection.counts().1))
                .collect(),
            folder: folder.clone(),
        };
        for (_, component) in desired.components() {
            let url = component
                .url_with(&desired.facts)
                .map_err(|error| Error::Render {
                    source: Box::new(error.into()),
                })?;
            let admin = component.admin.as_ref().map(|admin| {
                let line = format!(
                    "kubectl -n {} get secret {} -o jsonpath='{{.data.{}}}' | base64 -d",
                    component.namespace,
                    admin.secret,
                    admin.key.replace('.', "\\.")
                );
                (admin.username.clone(), line)
            });
            outcome.components.push(ComponentReport {
                title: component.title.clone(),
                version: component.version.clone(),
                url,
                admin,
            });
            outcome
                .manual_steps
                .extend(component.manual_steps.iter().cloned());
        }
        let endpoint = self.inventory.endpoint().or_else(|| {
            look.gathered
                .machines
                .first()?
                .facts
                .addresses
                .first()
                .cloned()
        });
        let kubeconfig = state.kubeconfig.as_ref().map(|text| {
            kubeconfig_for(
                text,
                endpoint.as_deref().unwrap_or("127.0.0.1"),
                &self.inventory.name,
            )
        });
        let mut recovery = recovery_of(desired, &state);
        outcome.recovery = recovery.keys().cloned().collect();
        recovery.extend(
            state
                .token
                .clone()
                .map(|token| ("server-token".to_owned(), token)),
        );
        report::write(&folder, &outcome, kubeconfig.as_ref(), &recovery)?;
        done(report, Phase::Report, 0);
        Ok(outcome)
    }
}

/// Collects the secrets that would be lost with the cluster, by the file that keeps each.
fn recovery_of(desired: &Desired<'_>, state: &ClusterState) -> BTreeMap<String, SecretString> {
    let mut files = BTreeMap::new();
    for (namespaces, spec) in look::secrets(desired) {
        if !spec.recovery {
            continue;
        }
        let found = namespaces.iter().find_map(|namespace| {
            state.find(
                &json!({"kind": "Secret", "metadata": {"namespace": namespace, "name": spec.name}}),
            )
        });
        let values = found.map(secret_values).unwrap_or_default();
        files.extend(
            values
                .into_iter()
                .map(|(key, value)| (format!("{}-{key}", spec.name), value)),
        );
    }
    files
}
