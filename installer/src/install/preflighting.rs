//! `airgap preflight`: everything that speaks against an install, all that install itself would refuse included.
//!
//! Nothing is written anywhere: what is asked of hosts, registry and cluster is what a plan asks of them.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::{Installer, Survey, done, runtime};
use crate::{
    Error, Finding, Report, Result, Severity,
    phase::{Phase, gather, preflight},
    record::{self, Refusal},
};

/// What preflight found.
#[derive(Clone, Debug, Default)]
pub struct Preflight {
    /// Every finding, the worst first.
    pub findings: Vec<Finding>,
    /// Why this bundle may not follow what the site has, whatever else was found.
    pub refused: Option<Refusal>,
}

impl Installer<'_> {
    /// Finds every reason to fail; changes nothing.
    pub fn preflight(&self, report: Report<'_>) -> Result<Preflight> {
        let desired = self.desired()?;
        let survey = self.survey(&desired, &runtime()?, report)?;
        let push = survey.push();
        let Survey {
            machines,
            all_asked,
            mut findings,
            reached,
        } = survey;
        let mut refused = None;
        // what the hosts are together cannot be said while one of them is silent
        if all_asked {
            let planned = gather::cluster(self.inventory, machines).and_then(|gathered| {
                refused = record::check(
                    gathered.record.as_ref(),
                    &desired.offer,
                    Timestamp::now(),
                    self.options.allow_downgrade,
                )
                .err();
                self.plan_for(&desired, &gathered, Vec::new(), push)
            });
            match planned {
                Ok(plan) => preflight::spare_what_stays(&mut findings, &plan, reached.is_ok()),
                Err(error) => findings.push(contradiction(error)?),
            }
        }
        findings.sort_by_key(|finding| Reverse(finding.severity));
        done(report, Phase::Preflight, 0);
        Ok(Preflight { findings, refused })
    }
}

/// Says as a finding that hosts, inventory and bundle contradict each other; any other error is that nothing could be found out.
fn contradiction(error: Error) -> Result<Finding> {
    match error {
        Error::Cluster { what, remedy } => Ok(Finding {
            id: "site.cluster",
            severity: Severity::Error,
            host: None,
            seen: what,
            why:
                "an install goes on only where hosts, inventory and bundle agree about the cluster"
                    .to_owned(),
            remedy,
        }),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_install_refuses_is_a_finding_with_its_remedy() {
        let refused = Error::Cluster {
            what: "host cp1 belongs to cluster other, not to prod".to_owned(),
            remedy: "check `metadata.name`".to_owned(),
        };
        let finding = contradiction(refused).expect("a finding");
        assert_eq!(
            (finding.id, finding.severity),
            ("site.cluster", Severity::Error)
        );
        assert_eq!(
            finding.seen,
            "host cp1 belongs to cluster other, not to prod"
        );
        assert_eq!(finding.remedy, "check `metadata.name`");
    }

    #[test]
    fn what_could_not_be_asked_stays_an_error() {
        let unread = Error::Answer {
            host: "cp1".to_owned(),
            what: "the cluster's state",
        };
        assert!(matches!(contradiction(unread), Err(Error::Answer { .. })));
    }
}
