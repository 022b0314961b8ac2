//! platform: namespaces, secrets, Argo CD, then the components, wave by wave.
//!
//! Everything goes over stdin to kubectl on the seed. A wave is handed to Argo CD only when the one before is synced and healthy, so a
//! component never starts before what it needs; while a wave is waited for, what is unhealthy is shown with Argo CD's own reason.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{look, nodes::Work};
use crate::{
    Error, Limit, Result,
    desired::{GitOps, Member},
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
            let wrong = look::differing(Some(state), vec![gitops.chart.clone()]);
            changes += self.apply(&mut kubectl, &wrong)?;
            self.gitops_ready(&mut kubectl, gitops)?;
            changes += self.waves(&mut kubectl, state)?;
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

    /// Waits until the helm job has installed Argo CD and its kinds are known.
    fn gitops_ready(&self, kubectl: &mut Kubectl<'_>, gitops: &GitOps) -> Result<()> {
        let started = Instant::now();
        let job = format!("helm-install-{}", gitops.release);
        let mut shown = String::new();
        loop {
            self.lock.check()?;
            let Some(reason) = self.gitops_trouble(kubectl, &job)? else {
                return Ok(());
            };
            if started.elapsed() >= self.options.wave_timeout {
                return Err(Error::Gate {
                    host: kubectl.host().to_owned(),
                    what: "the installation of Argo CD",
                    waited: started.elapsed(),
                    reason,
                    limit: Some(Limit::Wave),
                });
            }
            if reason != shown {
                (self.report)(Event::Notice {
                    message: format!("waiting for Argo CD: {reason}"),
                });
                shown = reason;
            }
            std::thread::sleep(self.options.poll);
        }
    }

    fn gitops_trouble(&self, kubectl: &mut Kubectl<'_>, job: &str) -> Result<Option<String>> {
        let Some(jobs) = kubectl.list("jobs.batch", &["-n", "kube-system"])? else {
            return Ok(Some("the API server does not answer".to_owned()));
        };
        let Some(job) = jobs.iter().find(|found| found["metadata"]["name"] == job) else {
            return Ok(Some(format!("job {job} has not been made yet")));
        };
        let conditions = job["status"]["conditions"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        if !conditions
            .iter()
            .any(|condition| condition["type"] == "Complete" && condition["status"] == "True")
        {
            let failed = job["status"]["failed"].as_u64().unwrap_or(0);
            let message = conditions
                .iter()
                .find_map(|condition| condition["message"].as_str())
                .unwrap_or("it runs");
            return Ok(Some(format!(
                "helm has not installed it yet ({failed} failed attempts): {message}"
            )));
        }
        let charts = kubectl.list(
            "applicationsets.argoproj.io",
            &["-n", self.desired.gitops_namespace()],
        )?;
        Ok(charts
            .is_none()
            .then(|| "its kinds are not known yet".to_owned()))
    }

    /// Extends the ApplicationSet wave by wave, each after the one before is well.
    fn waves(&self, kubectl: &mut Kubectl<'_>, state: &ClusterState) -> Result<u64> {
        let namespace = self.desired.gitops_namespace();
        let live = state.applicationsets.iter().find(|set| {
            set["metadata"]["name"] == APPLICATION_SET && set["metadata"]["namespace"] == namespace
        });
        let listed: Vec<String> = live
            .and_then(|live| live["spec"]["generators"][0]["list"]["elements"].as_array())
            .map(|elements| {
                elements
                    .iter()
                    .filter_map(|element| element["name"].as_str())
                    .map(str::to_owned)
                    .collect()
            })
            .unwrap_or_default();
        let mut present = live.cloned();
        let mut changes = 0;
        let total = self.desired.waves.len();
        for (index, wave) in self.desired.waves.iter().enumerate() {
            // what is listed already stays listed: the set only grows
            let mut applications = self.desired.applications(index + 1);
            let later = self
                .desired
                .waves
                .iter()
                .skip(index + 1)
                .flatten()
                .filter(|member| listed.contains(&member.name));
            applications.extend(later.map(|member| member.application.clone()));
            let wanted = argocd::application_set(namespace, &self.desired.registry, &applications)?;
            if !present
                .as_ref()
                .is_some_and(|present| covers(present, &wanted))
            {
                changes += self.apply(kubectl, std::slice::from_ref(&wanted))?;
                present = Some(wanted);
            }
            self.wave_well(kubectl, wave, index as u64 + 1, total as u64)?;
        }
        Ok(changes)
    }

    fn wave_well(
        &self,
        kubectl: &mut Kubectl<'_>,
        wave: &[Member],
        number: u64,
        of: u64,
    ) -> Result<()> {
        let started = Instant::now();
        let mut shown: Option<Vec<String>> = None;
        loop {
            self.lock.check()?;
            let applications = kubectl
                .list(
                    "applications.argoproj.io",
                    &["-n", self.desired.gitops_namespace()],
                )?
                .unwrap_or_default();
            let troubles: Vec<(String, String)> = wave
                .iter()
                .filter_map(|member| {
                    let application = applications
                        .iter()
                        .find(|found| found["metadata"]["name"] == member.name.as_str());
                    Some((
                        member.name.clone(),
                        health::trouble(application, member.gate)?,
                    ))
                })
                .collect();
            let waiting: Vec<String> = troubles
                .iter()
                .map(|(name, reason)| format!("{name}: {reason}"))
                .collect();
            if shown.as_ref() != Some(&waiting) {
                let total = wave.len() as u64;
                (self.report)(Event::Wave {
                    wave: number,
                    of,
                    healthy: total - troubles.len() as u64,
                    total,
                    waiting: waiting.clone(),
                });
                shown = Some(waiting);
            }
            if troubles.is_empty() {
                return Ok(());
            }
            if started.elapsed() >= self.options.wave_timeout {
                return Err(Error::Unhealthy {
                    wave: number,
                    waited: started.elapsed(),
                    components: troubles,
                });
            }
            std::thread::sleep(self.options.poll.max(Duration::from_millis(50)));
        }
    }
}
