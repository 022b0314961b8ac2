//! The installer: what it is given, and the phases in order.
//!
//! All methods block: hosts are worked on by threads, and the registry by a runtime of this crate's own, so call them from a thread that
//! is not itself driving asynchronous work (`spawn_blocking`).

use std::time::Duration;

use airgap_archive::{Role as Carried, VerifiedArchive};
use airgap_manifests::{EDITION_MEDIA_TYPE, ResolvedEdition};
use camino::Utf8PathBuf;
use jiff::Timestamp;
use tokio::runtime::Runtime;

use crate::{
    Connection, ConnectionError, Error, Finding, Host, InstallPlan, InstallReport, Inventory,
    Report, Result, Role, Secrets, Status,
    desired::Desired,
    event::Event,
    for_each_host,
    kube::{ClusterState, Kubectl, kubeconfig_for, name_of},
    lock::Lock,
    machine::Machine,
    phase::{
        Phase,
        gather::{self, Gathered},
        look,
        nodes::Work,
        preflight,
        registry::{self, Reached},
        stage,
    },
    plan::Seed,
    push::PushSummary,
    random,
    record::{self, RECORD_PATH, Record},
    report::{self, ComponentReport},
    status as site_status,
};

/// Opens a connection to a host of the inventory.
pub type Connector<'a> = dyn Fn(&Host) -> Result<Box<dyn Connection>, ConnectionError> + Sync + 'a;

/// How an installation goes about its work.
#[derive(Clone, Debug)]
pub struct InstallOptions {
    /// Uploads at a time; the inventory's, where absent.
    pub jobs: Option<usize>,
    /// Reads and hashes the whole bundle before anything changes.
    pub verify_first: bool,
    /// Accepts a release that is older than the site's record.
    pub allow_downgrade: bool,
    /// Accepts fewer hosts than the edition is meant for.
    pub allow_small: bool,
    /// How long a node may take to start and become Ready.
    pub node_timeout: Duration,
    /// How long a wave of components may take to become healthy.
    pub wave_timeout: Duration,
    /// How often hosts and cluster are asked while something is waited for.
    pub poll: Duration,
    /// Where the folder `airgap-<cluster>` goes.
    pub report_parent: Utf8PathBuf,
    /// Who installs, for the cluster's lock: `user@machine`.
    pub operator: String,
}

impl Default for InstallOptions {
    fn default() -> Self {
        Self {
            jobs: None,
            verify_first: false,
            allow_downgrade: false,
            allow_small: false,
            node_timeout: Duration::from_mins(20),
            wave_timeout: Duration::from_mins(30),
            poll: Duration::from_secs(2),
            report_parent: Utf8PathBuf::from("."),
            operator: "unknown".to_owned(),
        }
    }
}

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

    /// Finds every reason to fail; changes nothing.
    pub fn preflight(&self, report: Report<'_>) -> Result<Vec<Finding>> {
        let desired = self.desired()?;
        let runtime = runtime()?;
        started(report, Phase::Gather);
        let (mut machines, unreachable) =
            gather::hosts(self.inventory, &gather::query(&desired), self.connect);
        done(report, Phase::Gather, 0);
        started(report, Phase::Preflight);
        let reached =
            runtime.block_on(registry::reach(&desired, self.archive, self.jobs(), report));
        let mut findings = unreachable;
        findings.extend(preflight::findings(
            &desired,
            &preflight::demands(&desired, self.archive, self.options.allow_small)?,
            &mut machines,
            &reached,
        )?);
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        done(report, Phase::Preflight, 0);
        Ok(findings)
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
        look::secrets(&desired)
            .iter()
            .try_for_each(|(_, spec)| random::check(spec))?;
        Ok(desired)
    }

    fn jobs(&self) -> usize {
        self.options
            .jobs
            .unwrap_or(self.inventory.options.parallel_uploads)
            .max(1)
    }

    /// gather and preflight: asks hosts, cluster and registry, and finds everything that speaks against going on.
    fn look<'d>(
        &'d self,
        desired: &Desired<'d>,
        runtime: &Runtime,
        report: Report<'_>,
    ) -> Result<(Look<'d>, Result<Reached>)> {
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
        if !all_asked {
            return Err(Error::Preflight { findings });
        }
        let push = reached
            .as_ref()
            .map(|reached| reached.plan.summary.clone())
            .unwrap_or_default();
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

    fn plan_for(
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
        let chart = desired
            .gitops
            .iter()
            .map(|gitops| gitops.chart.clone())
            .collect();
        objects.extend(look::differing(state, chart).iter().map(name_of));
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
    fn record_holds(desired: &Desired<'_>, gathered: &Gathered<'_>) -> bool {
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

    /// registry to platform: everything that changes something.
    fn work(
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
        self.write_record(work, &mut look.gathered, &begun)?;
        if self.options.verify_first {
            self.verify(report)?;
        }
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

    fn record_of(
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
    fn write_record(
        &self,
        work: &Work<'_, '_>,
        gathered: &mut Gathered<'_>,
        record: &Record,
    ) -> Result<()> {
        work.lock.check()?;
        let content = record.to_line();
        let file = crate::Put::of(RECORD_PATH, 0o600, content.as_bytes());
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

    fn verify(&self, report: Report<'_>) -> Result<()> {
        let total = std::sync::atomic::AtomicU64::new(0);
        let findings = self.archive.verify_all(self.jobs(), &|event| match event {
            airgap_archive::Event::Started { total: bytes } => {
                total.store(bytes, std::sync::atomic::Ordering::Relaxed);
            }
            airgap_archive::Event::Advanced { bytes } => report(Event::Verified {
                bytes,
                total: total.load(std::sync::atomic::Ordering::Relaxed),
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

    /// report: what the operator keeps.
    fn finish(
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
        report::write(&folder, &outcome, kubeconfig.as_ref(), state.token.as_ref())?;
        done(report, Phase::Report, 0);
        Ok(outcome)
    }
}

/// Asks a site how it is; changes nothing.
pub fn status(inventory: &Inventory, connect: &Connector<'_>) -> Result<Status> {
    let (machines, unreachable) = gather::hosts(inventory, &gather::brief_query(), connect);
    let mut problems: Vec<String> = unreachable
        .iter()
        .map(|finding| finding.seen.clone())
        .collect();
    let now = Timestamp::now();
    let running = machines
        .iter()
        .any(|machine| machine.host.role == Role::Server && machine.facts.rke2.active);
    let (machines, cluster, record, asked) = if running {
        let gathered = gather::cluster(inventory, machines)?;
        let asked = match &gathered.seed {
            Seed::Runs { host } => Some(host.clone()),
            _ => None,
        };
        (gathered.machines, gathered.cluster, gathered.record, asked)
    } else {
        problems.push(format!(
            "no server of the inventory that could be asked runs cluster {}",
            inventory.name
        ));
        let record = Record::merge(
            machines
                .iter()
                .filter_map(|machine| gather::record_of(&machine.facts)),
        );
        (machines, None, record, None)
    };
    let state = cluster.unwrap_or_default();
    if asked.is_some() && !state.answers() {
        problems.push("the API server does not answer".to_owned());
    }
    let nodes = state.nodes.clone().unwrap_or_default();
    let views = inventory.hosts.iter().map(|host| {
        let machine = machines
            .iter()
            .find(|machine| machine.host.name == host.name);
        let node = machine
            .and_then(|machine| look::node_of(inventory.site, machine, &nodes))
            .or_else(|| {
                nodes
                    .iter()
                    .map(crate::kube::NodeView::new)
                    .find(|node| node.name() == host.name)
            });
        site_status::node(&host.name, host.role.to_string(), node.as_ref())
    });
    let begun = record.as_ref().and_then(|record| {
        record
            .target
            .clone()
            .filter(|target| record.installed.as_ref() != Some(target))
    });
    Ok(Status {
        cluster: inventory.name.clone(),
        asked,
        installed: record.and_then(|record| record.installed),
        begun,
        nodes: views.collect(),
        unhealthy: site_status::unhealthy(&state),
        applications: state.applications.len(),
        certificates: site_status::certificates(&state, now),
        problems,
    })
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
