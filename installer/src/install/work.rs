//! registry to platform: everything of an installation that changes something.

use std::sync::atomic::{AtomicU64, Ordering};

use airgap_archive::Event as Verification;
use jiff::Timestamp;
use tokio::runtime::Runtime;

use super::{Installer, Look, done, started};
use crate::{
    Connection, Error, Put, Report, Result, Role,
    desired::Desired,
    event::Event,
    for_each_host,
    kube::{ClusterState, Kubectl},
    phase::{
        Phase,
        gather::Gathered,
        look,
        nodes::Work,
        registry::{self, Reached},
        stage,
    },
    record::{self, RECORD_PATH, Record},
};

impl Installer<'_> {
    /// registry to platform: everything that changes something.
    pub(super) fn work(
        &self,
        work: &Work<'_, '_>,
        look: &mut Look<'_>,
        reached: &Reached,
        runtime: &Runtime,
    ) -> Result<()> {
        let (desired, report) = (work.desired, work.report);
        let offer = desired.offer.release.clone();
        let installed = look
            .gathered
            .record
            .as_ref()
            .and_then(|record| record.installed.clone());
        let begun = Record {
            target: Some(offer.clone()),
            ..self.record_of(desired, &look.gathered, installed)
        };
        if self.options.verify_first {
            self.verify(report)?;
        }
        self.write_record(work, &mut look.gathered, &begun)?;
        started(report, Phase::Registry);
        runtime.block_on(registry::fill(
            desired,
            self.archive,
            reached,
            self.jobs(),
            report,
        ))?;
        done(report, Phase::Registry, reached.plan.summary.missing);
        work.lock.check()?;

        started(report, Phase::Stage);
        let staged = stage::run(
            desired,
            self.archive,
            &mut look.gathered,
            &look.plan.hosts,
            report,
        )?;
        done(report, Phase::Stage, staged);
        work.lock.check()?;

        started(report, Phase::Seed);
        let (state, changes) = work.seed(&mut look.gathered, &look.plan.hosts)?;
        done(report, Phase::Seed, changes);
        let token = state.token.clone().ok_or(Error::Answer {
            host: look.gathered.seed.host().to_owned(),
            what: "the cluster's token",
        })?;

        started(report, Phase::Servers);
        let changes = work.servers(&mut look.gathered, &look.plan.hosts, &token)?;
        done(report, Phase::Servers, changes);
        started(report, Phase::Agents);
        let changes = work.agents(&mut look.gathered, &look.plan.hosts, &token)?;
        done(report, Phase::Agents, changes);

        started(report, Phase::Platform);
        let changes = work.platform(look.gathered.seed_machine()?, &state)?;
        done(report, Phase::Platform, changes);
        let record = Record {
            target: Some(offer.clone()),
            ..self.record_of(desired, &look.gathered, Some(offer))
        };
        Kubectl::on(&mut look.gathered.seed_machine()?.connection)
            .apply(&[look::record_secret(&record)])?;
        self.write_record(work, &mut look.gathered, &record)?;
        let seed = look.gathered.seed_machine()?;
        look.gathered.cluster = Some(ClusterState::observe(&mut seed.connection)?);
        Ok(())
    }

    pub(super) fn record_of(
        &self,
        desired: &Desired<'_>,
        gathered: &Gathered<'_>,
        installed: Option<record::Release>,
    ) -> Record {
        Record {
            cluster: self.inventory.name.clone(),
            installed,
            target: None,
            last_seen: record::clock(gathered.record.as_ref(), &desired.offer, Timestamp::now()),
        }
    }

    /// Puts the record on every server: before the first byte is pushed, and after the last component is well.
    pub(super) fn write_record(
        &self,
        work: &Work<'_, '_>,
        gathered: &mut Gathered<'_>,
        record: &Record,
    ) -> Result<()> {
        work.lock.check()?;
        let content = record.to_line();
        let file = Put::of(RECORD_PATH, 0o600, content.as_bytes());
        let results = for_each_host(
            self.inventory.options.parallel_hosts,
            &mut gathered.machines,
            |machine| {
                if machine.host.role == Role::Server {
                    machine.connection.put(&file, &mut content.as_bytes())?;
                }
                Ok(())
            },
        );
        stage::all(&gathered.machines, results)?;
        Ok(())
    }

    pub(super) fn verify(&self, report: Report<'_>) -> Result<()> {
        let total = AtomicU64::new(0);
        let findings = self.archive.verify_all(self.jobs(), &|event| match event {
            Verification::Started { total: bytes } => {
                total.store(bytes, Ordering::Relaxed);
            }
            Verification::Advanced { bytes } => report(Event::Verified {
                bytes,
                total: total.load(Ordering::Relaxed),
            }),
            _ => {}
        })?;
        match findings.first() {
            None => Ok(()),
            Some(first) => Err(Error::Damaged {
                count: findings.len(),
                first: format!("{} ({})", first.problem, first.volume),
            }),
        }
    }
}
