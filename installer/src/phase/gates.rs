//! What the platform waits for: helm's installation of Argo CD, and every component of a wave.
//!
//! Invariant: nothing passes on a status that predates what is asked for now. What that means is [`health`]'s; here is only the waiting,
//! which tells what is missing as often as it changes, and ends when the time is up or the lock is lost.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    Error, InstallOptions, Limit, Report, Result, desired::Member, event::Event, health,
    kube::Kubectl, lock::Lock,
};

/// One wave, among how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wave<'w> {
    pub(crate) number: u64,
    pub(crate) of: u64,
    pub(crate) members: &'w [Member],
}

/// What waiting needs.
pub(crate) struct Gates<'w> {
    pub(crate) options: &'w InstallOptions,
    pub(crate) lock: &'w Lock,
    pub(crate) report: Report<'w>,
    /// The namespace of Argo CD's own objects.
    pub(crate) namespace: &'w str,
}

impl Gates<'_> {
    /// Waits until helm has installed Argo CD as its HelmChart is now, and its kinds are known.
    pub(crate) fn gitops(
        &self,
        kubectl: &mut Kubectl<'_>,
        release: &str,
        former_job: Option<&str>,
    ) -> Result<()> {
        let started = Instant::now();
        let mut shown = String::new();
        loop {
            self.lock.check()?;
            let Some(reason) = self.gitops_trouble(kubectl, release, former_job)? else {
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

    fn gitops_trouble(
        &self,
        kubectl: &mut Kubectl<'_>,
        release: &str,
        former_job: Option<&str>,
    ) -> Result<Option<String>> {
        let Some(jobs) = helm_jobs(kubectl)? else {
            return Ok(Some("the API server does not answer".to_owned()));
        };
        if let Some(trouble) = health::helm_trouble(&health::helm_job(release), &jobs, former_job) {
            return Ok(Some(trouble));
        }
        let sets = kubectl.list("applicationsets.argoproj.io", &["-n", self.namespace])?;
        Ok(sets
            .is_none()
            .then(|| "its kinds are not known yet".to_owned()))
    }

    /// Waits until every component of a wave is at what is asked for now, and well there.
    pub(crate) fn wave(&self, kubectl: &mut Kubectl<'_>, wave: Wave<'_>) -> Result<()> {
        let started = Instant::now();
        let mut shown: Option<Vec<String>> = None;
        loop {
            self.lock.check()?;
            let applications = kubectl
                .list("applications.argoproj.io", &["-n", self.namespace])?
                .unwrap_or_default();
            let unmet = |member: &Member| {
                let application = applications
                    .iter()
                    .find(|found| found["metadata"]["name"] == member.name.as_str());
                let reason = health::unmet(application, &member.spec, member.gate)?;
                Some((member.name.clone(), reason))
            };
            let troubles: Vec<(String, String)> = wave.members.iter().filter_map(unmet).collect();
            let waiting: Vec<String> = troubles
                .iter()
                .map(|(name, reason)| format!("{name}: {reason}"))
                .collect();
            if shown.as_ref() != Some(&waiting) {
                let total = wave.members.len() as u64;
                (self.report)(Event::Wave {
                    wave: wave.number,
                    of: wave.of,
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
                    wave: wave.number,
                    waited: started.elapsed(),
                    components: troubles,
                });
            }
            std::thread::sleep(self.options.poll.max(Duration::from_millis(50)));
        }
    }
}

/// Lists the jobs of kube-system, where helm's are; `None` when the API server does not answer.
pub(crate) fn helm_jobs(kubectl: &mut Kubectl<'_>) -> Result<Option<Vec<Value>>> {
    kubectl.list("jobs.batch", &["-n", "kube-system"])
}
