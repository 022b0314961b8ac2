//! What is to be done, put together from what was seen.

use crate::{
    Finding, InstallPlan, Result, Role,
    desired::Desired,
    kube::name_of,
    phase::{gather, gather::Gathered, look},
    push::PushSummary,
    record::Record,
    status as site_status,
};

use super::Installer;

impl Installer<'_> {
    pub(super) fn plan_for(
        &self,
        desired: &Desired<'_>,
        gathered: &Gathered<'_>,
        findings: Vec<Finding>,
        push: PushSummary,
    ) -> Result<InstallPlan> {
        let hosts = gathered
            .machines
            .iter()
            .map(|machine| look::host(desired, gathered, machine))
            .collect::<Result<Vec<_>>>()?;
        let state = gathered.cluster.as_ref();
        let mut objects = look::differing(state, look::base_objects(desired))
            .iter()
            .map(name_of)
            .collect::<Vec<_>>();
        objects.extend(look::missing_secrets(desired, state));
        objects.extend(look::gitops(desired, state).iter().map(name_of));
        Ok(InstallPlan {
            cluster: self.inventory.name.clone(),
            release: desired.offer.release.clone(),
            installed: gathered
                .record
                .as_ref()
                .and_then(|record| record.installed.clone()),
            seed: gathered.seed.clone(),
            registry: push,
            hosts,
            objects,
            waves: look::waves(desired, state)?,
            record: !Self::record_holds(desired, gathered),
            findings,
            notices: desired.notices.clone(),
        })
    }

    /// Tells whether every copy of the record says that this release is installed.
    pub(super) fn record_holds(desired: &Desired<'_>, gathered: &Gathered<'_>) -> bool {
        let holds = |record: Option<Record>| {
            record.is_some_and(|record| {
                record.installed.as_ref() == Some(&desired.offer.release)
                    && record.target.as_ref() == Some(&desired.offer.release)
            })
        };
        gathered
            .machines
            .iter()
            .filter(|machine| machine.host.role == Role::Server)
            .all(|machine| holds(gather::record_of(&machine.facts)))
            && gathered
                .cluster
                .as_ref()
                .is_some_and(|state| holds(site_status::record_of(state)))
    }
}
