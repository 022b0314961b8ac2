//! platform: namespaces, secrets, Argo CD, then the components, wave by wave.
//!
//! Everything goes over stdin to kubectl on the seed. A wave is handed to Argo CD only when the one before is synced and healthy as it is
//! asked for now, so a component never starts before what it needs. The waiting is in [`gates`].

use serde_json::{Value, json};

use super::{
    gates::{self, Gates, Wave},
    look,
    nodes::Work,
};
use crate::{
    Error, Result,
    desired::GitOps,
    event::Event,
    health,
    kube::{APPLICATION_SET, ClusterState, Kubectl, name_of, secret_values},
    machine::Machine,
    random,
    render::{argocd, covers},
};

impl Work<'_, '_> {
    /// Brings the platform to what the bundle wants; returns how many objects were written.
    pub(crate) fn platform(&self, machine: &mut Machine<'_>, state: &ClusterState) -> Result<u64> {
        let mut kubectl = Kubectl::on(&mut machine.connection);
        let mut changes = self.apply(
            &mut kubectl,
            &look::differing(Some(state), look::base_objects(self.desired)),
        )?;
        changes += self.make_secrets(&mut kubectl, state)?;
        if let Some(gitops) = &self.desired.gitops {
            let gates = Gates {
                options: self.options,
                lock: self.lock,
                report: self.report,
                namespace: &gitops.namespace,
            };
            let (written, former_job) = self.gitops_chart(&mut kubectl, state, gitops)?;
            changes += written;
            gates.gitops(&mut kubectl, &gitops.release, former_job.as_deref())?;
            changes += self.waves(&mut kubectl, state, &gates)?;
        }
        Ok(changes)
    }

    fn apply(&self, kubectl: &mut Kubectl<'_>, objects: &[Value]) -> Result<u64> {
        if objects.is_empty() {
            return Ok(0);
        }
        self.lock.check()?;
        (self.report)(Event::Notice {
            message: format!(
                "applying {}",
                objects.iter().map(name_of).collect::<Vec<_>>().join(", ")
            ),
        });
        kubectl.apply(objects)?;
        Ok(objects.len() as u64)
    }

    /// Makes the declared secrets that are missing; what is there stays, whoever made it.
    fn make_secrets(&self, kubectl: &mut Kubectl<'_>, state: &ClusterState) -> Result<u64> {
        let mut made = 0;
        let declared = look::secrets(self.desired);
        let brought = self.desired.site_secrets.complete(&declared, state)?;
        for name in self.desired.site_secrets.differing(&declared, state) {
            (self.report)(Event::Warning {
                message: format!(
                    "Secret {name} does not hold what hosts.yaml names, and stays as it is; to have it made anew, delete it and run this again"
                ),
            });
        }
        for (namespaces, spec) in &declared {
            let found = |namespace: &str| {
                state.find(&json!({"kind": "Secret", "metadata": {"namespace": namespace, "name": spec.name}}))
            };
            if namespaces
                .iter()
                .all(|namespace| found(namespace).is_some())
            {
                continue;
            }
            // a copy has the values of the one that is there already
            let values = match namespaces.iter().find_map(|namespace| found(namespace)) {
                Some(present) => secret_values(present),
                None => random::make(spec, &brought)?,
            };
            for namespace in namespaces
                .iter()
                .filter(|namespace| found(namespace).is_none())
            {
                self.lock.check()?;
                made += u64::from(kubectl.create(&argocd::made_secret(namespace, spec, &values))?);
            }
        }
        Ok(made)
    }

    /// Applies Argo CD's HelmChart where it differs. Returns how many objects that wrote, and which job of helm's is of before the change.
    fn gitops_chart(
        &self,
        kubectl: &mut Kubectl<'_>,
        state: &ClusterState,
        wanted: &GitOps,
    ) -> Result<(u64, Option<String>)> {
        let live = state.find(&wanted.chart);
        let mut former = live.and_then(argocd::former_job).map(str::to_owned);
        if live.is_some_and(|live| covers(live, &wanted.chart)) {
            return Ok((0, former));
        }
        if !live.is_some_and(|live| covers(&live["spec"], &wanted.chart["spec"])) {
            let jobs = gates::helm_jobs(kubectl)?.ok_or_else(|| Error::Answer {
                host: kubectl.host().to_owned(),
                what: "the jobs of helm",
            })?;
            let name = health::helm_job(&wanted.release);
            let job = jobs.iter().find(|job| job["metadata"]["name"] == *name);
            former = job
                .and_then(|job| job["metadata"]["uid"].as_str())
                .map(str::to_owned);
        }
        let chart = wanted.chart.clone();
        let chart = match &former {
            Some(uid) => argocd::with_former_job(chart, uid),
            None => chart,
        };
        Ok((self.apply(kubectl, &[chart])?, former))
    }

    /// Brings the ApplicationSet to what it should be wave by wave, each after the one before is well.
    fn waves(
        &self,
        kubectl: &mut Kubectl<'_>,
        state: &ClusterState,
        gates: &Gates<'_>,
    ) -> Result<u64> {
        let namespace = self.desired.gitops_namespace();
        let live = state.applicationsets.iter().find(|set| {
            set["metadata"]["name"] == APPLICATION_SET && set["metadata"]["namespace"] == namespace
        });
        let listed = live
            .and_then(|live| live["spec"]["generators"][0]["list"]["elements"].as_array())
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut present = live.cloned();
        let mut changes = 0;
        let total = self.desired.waves.len();
        for (index, members) in self.desired.waves.iter().enumerate() {
            let mut elements = Vec::new();
            for (of, wave) in self.desired.waves.iter().enumerate() {
                for member in wave {
                    let wanted = argocd::element(&member.application)?;
                    let live = listed.iter().find(|live| live["name"] == wanted["name"]);
                    match live {
                        _ if of <= index => elements.push(wanted),
                        Some(live) => elements.push(until_its_wave(live, wanted)),
                        None => {}
                    }
                }
            }
            let wanted = argocd::set_of(namespace, &self.desired.registry, &elements);
            if !present
                .as_ref()
                .is_some_and(|present| covers(present, &wanted))
            {
                changes += self.apply(kubectl, std::slice::from_ref(&wanted))?;
                present = Some(wanted);
            }
            let wave = Wave {
                number: index as u64 + 1,
                of: total as u64,
                members,
            };
            gates.wave(kubectl, wave)?;
        }
        Ok(changes)
    }
}

/// Returns what the set says of a component that is installed, before its wave has come: what it says now, so that a release changes
/// nothing before what that needs. A set of another installer may be of another form; then there is only the wanted one.
fn until_its_wave(listed: &Value, wanted: Value) -> Value {
    let keys = |element: &Value| {
        element
            .as_object()
            .map(|object| object.keys().cloned().collect::<Vec<_>>())
    };
    if keys(listed) == keys(&wanted) {
        listed.clone()
    } else {
        wanted
    }
}

#[cfg(test)]
mod tests;
