//! The installer: what it is given, and the phases in order.
//!
//! All methods block: hosts are worked on by threads, and the registry by a runtime of this crate's own, so call them from a thread that
//! is not itself driving asynchronous work (`spawn_blocking`).

mod finish;
mod options;
mod planning;
mod preflighting;
mod work;

use airgap_archive::{Role as Carried, VerifiedArchive};
use airgap_manifests::{EDITION_MEDIA_TYPE, ResolvedEdition};
use jiff::Timestamp;
use tokio::runtime::Runtime;

use crate::{
    Connection, ConnectionError, Error, Finding, Host, InstallPlan, InstallReport, Inventory,
    Report, Result, Secrets,
    desired::Desired,
    event::Event,
    lock::Lock,
    machine::Machine,
    phase::{
        Phase,
        gather::{self, Gathered},
        look,
        nodes::Work,
        preflight,
        registry::{self, Reached},
    },
    push::PushSummary,
    random, record,
};

pub use options::InstallOptions;
pub use preflighting::Preflight;

/// Opens a connection to a host of the inventory.
pub type Connector<'a> = dyn Fn(&Host) -> Result<Box<dyn Connection>, ConnectionError> + Sync + 'a;

/// One bundle, one site.
pub struct Installer<'a> {
    inventory: &'a Inventory,
    secrets: &'a Secrets<'a>,
    archive: &'a VerifiedArchive,
    edition: ResolvedEdition,
    connect: &'a Connector<'a>,
    options: InstallOptions,
}

impl std::fmt::Debug for Installer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installer")
            .field("cluster", &self.inventory.name)
            .field("edition", &self.edition.edition)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What hosts and registry said, each by itself.
struct Survey<'a> {
    machines: Vec<Machine<'a>>,
    /// No host was silent.
    all_asked: bool,
    findings: Vec<Finding>,
    reached: Result<Reached>,
}

impl Survey<'_> {
    /// Returns what there is to push, as far as the registry said.
    fn push(&self) -> PushSummary {
        let plan = self.reached.as_ref().map(|reached| &reached.plan.summary);
        plan.cloned().unwrap_or_default()
    }
}

/// What was seen, and what follows from it.
struct Look<'a> {
    gathered: Gathered<'a>,
    plan: InstallPlan,
}

impl<'a> Installer<'a> {
    /// Reads the bundle's edition; touches neither hosts nor registry.
    pub fn new(
        inventory: &'a Inventory,
        secrets: &'a Secrets<'a>,
        archive: &'a VerifiedArchive,
        connect: &'a Connector<'a>,
        options: InstallOptions,
    ) -> Result<Self> {
        let edition = read_edition(archive)?;
        Ok(Self {
            inventory,
            secrets,
            archive,
            edition,
            connect,
            options,
        })
    }

    /// Returns the bundle's edition.
    #[must_use]
    pub fn edition(&self) -> &ResolvedEdition {
        &self.edition
    }

    /// Says what [`Installer::install`] would do; changes nothing.
    pub fn plan(&self, report: Report<'_>) -> Result<InstallPlan> {
        let desired = self.desired()?;
        let runtime = runtime()?;
        Ok(self.look(&desired, &runtime, report)?.0.plan)
    }

    /// Installs, or goes on with an installation that was interrupted, or finds that there is nothing to do.
    pub fn install(&self, report: Report<'_>) -> Result<InstallReport> {
        let desired = self.desired()?;
        let runtime = runtime()?;
        let (mut look, reached) = self.look(&desired, &runtime, report)?;
        preflight::refuse(&look.plan.findings, report)?;
        let reached = reached?;
        let mut changed = false;
        if !look.plan.is_empty() {
            let held = self.lock(&look.gathered, report)?;
            look = self.look_again(&desired, look.plan, report)?;
            let work = Work {
                desired: &desired,
                options: &self.options,
                lock: &held,
                report,
            };
            self.work(&work, &mut look, &reached, &runtime)?;
            changed = true;
        }
        self.finish(&desired, look, &reached, changed, report)
    }

    fn desired(&self) -> Result<Desired<'_>> {
        let desired = Desired::of(self.inventory, &self.edition, self.archive, self.secrets)?;
        look::secrets(&desired).iter().try_for_each(|(_, spec)| {
            random::check(spec)?;
            desired.site_secrets.check(spec)
        })?;
        Ok(desired)
    }

    fn jobs(&self) -> usize {
        self.options
            .jobs
            .unwrap_or(self.inventory.options.parallel_uploads)
            .max(1)
    }

    /// Asks hosts and registry, and finds what speaks against going on without knowing what the hosts are together.
    fn survey<'d>(
        &'d self,
        desired: &Desired<'d>,
        runtime: &Runtime,
        report: Report<'_>,
    ) -> Result<Survey<'d>> {
        started(report, Phase::Gather);
        let (mut machines, unreachable) =
            gather::hosts(self.inventory, &gather::query(desired), self.connect);
        done(report, Phase::Gather, 0);
        started(report, Phase::Preflight);
        let reached = runtime.block_on(registry::reach(desired, self.archive, self.jobs(), report));
        let demands = preflight::demands(desired, self.archive, self.options.allow_small)?;
        let all_asked = unreachable.is_empty();
        let mut findings = unreachable;
        findings.extend(preflight::findings(
            desired,
            &demands,
            &mut machines,
            &reached,
        )?);
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Ok(Survey {
            machines,
            all_asked,
            findings,
            reached,
        })
    }

    /// gather and preflight: asks hosts, cluster and registry, and finds everything that speaks against going on.
    fn look<'d>(
        &'d self,
        desired: &Desired<'d>,
        runtime: &Runtime,
        report: Report<'_>,
    ) -> Result<(Look<'d>, Result<Reached>)> {
        let survey = self.survey(desired, runtime, report)?;
        let push = survey.push();
        let Survey {
            machines,
            all_asked,
            mut findings,
            reached,
        } = survey;
        if !all_asked {
            return Err(Error::Preflight { findings });
        }
        let judged = self.judge(desired, machines, Vec::new(), push);
        let mut look = match judged {
            Ok(look) => look,
            // what preflight says of a host tells more than that the hosts make no sense together
            Err(Error::Cluster { .. }) if preflight::forbids(&findings) => {
                return Err(Error::Preflight { findings });
            }
            Err(error) => return Err(error),
        };
        preflight::spare_what_stays(&mut findings, &look.plan, reached.is_ok());
        look.plan.findings = findings;
        done(report, Phase::Preflight, 0);
        Ok((look, reached))
    }

    /// Asks every host again, once the lock is ours: what was seen before may have been another installation's doing.
    fn look_again<'d>(
        &'d self,
        desired: &Desired<'d>,
        before: InstallPlan,
        report: Report<'_>,
    ) -> Result<Look<'d>> {
        report(Event::Notice {
            message: "asking every host again, now that nobody else may change it".to_owned(),
        });
        let (machines, unreachable) =
            gather::hosts(self.inventory, &gather::query(desired), self.connect);
        if !unreachable.is_empty() {
            return Err(Error::Preflight {
                findings: unreachable,
            });
        }
        self.judge(desired, machines, before.findings, before.registry)
    }

    /// Asks the cluster, if there is one; refuses hosts that contradict each other, and a bundle that may not follow what the site has.
    fn judge<'d>(
        &'d self,
        desired: &Desired<'d>,
        machines: Vec<Machine<'d>>,
        findings: Vec<Finding>,
        push: PushSummary,
    ) -> Result<Look<'d>> {
        let gathered = gather::cluster(self.inventory, machines)?;
        record::check(
            gathered.record.as_ref(),
            &desired.offer,
            Timestamp::now(),
            self.options.allow_downgrade,
        )?;
        let plan = self.plan_for(desired, &gathered, findings, push)?;
        Ok(Look { gathered, plan })
    }

    fn lock(&self, gathered: &Gathered<'_>, report: Report<'_>) -> Result<Lock> {
        let seed = self
            .inventory
            .hosts
            .iter()
            .find(|host| host.name == gathered.seed.host());
        let seed = seed.ok_or_else(|| Error::Cluster {
            what: "the seed is not in the inventory".to_owned(),
            remedy: "run the command again".to_owned(),
        })?;
        Lock::acquire((self.connect)(seed)?, &self.options.operator, report)
    }
}

/// Reads the edition's description, a layer of the one artifact with that role.
fn read_edition(archive: &VerifiedArchive) -> Result<ResolvedEdition> {
    const LIMIT: u64 = 16 << 20;
    let missing = |what: &str| Error::Bundle {
        what: format!("it has no {what}"),
    };
    let entry = archive
        .entries()
        .iter()
        .find(|entry| entry.role == Carried::Edition)
        .ok_or_else(|| missing("edition"))?;
    let layers = archive.references(entry.descriptor.digest())?;
    let layer = layers
        .iter()
        .find(|layer| layer.media_type().to_string() == EDITION_MEDIA_TYPE)
        .ok_or_else(|| missing("description of its edition"))?;
    ResolvedEdition::from_json(&archive.read(layer.digest(), LIMIT)?).map_err(Error::Edition)
}

fn runtime() -> Result<Runtime> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    built.map_err(|source| Error::System {
        what: "start the threads that speak with the registry",
        source,
    })
}

fn started(report: Report<'_>, phase: Phase) {
    report(Event::PhaseStarted { phase });
}

fn done(report: Report<'_>, phase: Phase, changes: u64) {
    report(Event::PhaseDone { phase, changes });
}
