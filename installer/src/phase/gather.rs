//! gather: ask every host what it is, once, and find out which server the others join.
//!
//! Which server is the seed is observed, never configured: a first server that was re-imaged must join the cluster it once founded, not
//! found a second one. So nothing is founded while any server cannot be asked, or while anything answers at the cluster's address.

mod entry;
mod seed;

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    ConnectionError, Error, Facts, FactsQuery, Finding, Result, Severity,
    desired::Desired,
    facts::{self, RegistryQuery},
    for_each_host,
    host::Host,
    install::Connector,
    inventory::Inventory,
    kube::ClusterState,
    machine::{Counting, Machine, NODE_PASSWORD},
    plan::Seed,
    record::{RECORD_PATH, Record},
    render::{CA_PATH, CONFIG_PATH, REGISTRIES_PATH, TOKEN_PATH},
    status,
};

pub(crate) use entry::entry;
use seed::{find_seed, refuse_foreign, refuse_unknown_cluster};

/// What hosts and cluster said.
pub(crate) struct Gathered<'a> {
    pub(crate) machines: Vec<Machine<'a>>,
    pub(crate) seed: Seed,
    pub(crate) cluster: Option<ClusterState>,
    pub(crate) record: Option<Record>,
}

impl<'a> Gathered<'a> {
    /// Returns the machine of that name.
    pub(crate) fn machine(&mut self, name: &str) -> Result<&mut Machine<'a>> {
        self.machines
            .iter_mut()
            .find(|machine| machine.host.name == name)
            .ok_or_else(|| Error::Cluster {
                what: format!("host {name} is not among the hosts that were asked"),
                remedy: "run the command again".to_owned(),
            })
    }

    /// Returns the seed's machine.
    pub(crate) fn seed_machine(&mut self) -> Result<&mut Machine<'a>> {
        let name = self.seed.host().to_owned();
        self.machine(&name)
    }
}

/// What is asked of every host besides its nature, where only the cluster's state is of interest.
pub(crate) fn brief_query() -> FactsQuery {
    FactsQuery {
        states: vec![Utf8PathBuf::from(NODE_PASSWORD)],
        contents: [RECORD_PATH, CONFIG_PATH].map(Utf8PathBuf::from).to_vec(),
        ..FactsQuery::default()
    }
}

/// What is asked of every host besides its nature.
pub(crate) fn query(desired: &Desired<'_>) -> FactsQuery {
    let inventory = desired.inventory;
    let mut states: Vec<Utf8PathBuf> = [
        CONFIG_PATH,
        REGISTRIES_PATH,
        CA_PATH,
        TOKEN_PATH,
        NODE_PASSWORD,
        "/etc/hosts",
    ]
    .map(Utf8PathBuf::from)
    .to_vec();
    states.push(desired.installed_mark());
    states.extend(
        desired
            .release_files
            .iter()
            .map(|(_, put)| put.path.clone()),
    );
    states.extend(desired.static_files.iter().map(|file| file.path.clone()));
    FactsQuery {
        states,
        contents: [RECORD_PATH, CONFIG_PATH, "/etc/hosts"]
            .map(Utf8PathBuf::from)
            .to_vec(),
        registry: Some(RegistryQuery {
            host: inventory.registry_address().0,
            port: inventory.registry_address().1,
            addresses: inventory
                .registry
                .addresses
                .iter()
                .map(ToString::to_string)
                .collect(),
            ca_pem: desired.ca_pem.clone(),
        }),
        resolve: inventory.endpoint().into_iter().collect(),
    }
}

/// Connects to every host and asks it; an unreachable one becomes a finding, so that all of them are named at once.
pub(crate) fn hosts<'a>(
    inventory: &'a Inventory,
    query: &FactsQuery,
    connect: &Connector<'_>,
) -> (Vec<Machine<'a>>, Vec<Finding>) {
    let mut hosts: Vec<&'a Host> = inventory.hosts.iter().collect();
    let results = for_each_host(inventory.options.parallel_hosts, &mut hosts, |host| {
        let mut connection = Counting::new(connect(host)?);
        let facts = facts::gather(&mut connection, query)?;
        Ok::<_, Error>(Machine {
            host,
            connection,
            facts,
        })
    });
    let mut machines = Vec::new();
    let mut findings = Vec::new();
    for (host, result) in hosts.into_iter().zip(results) {
        match result {
            Ok(machine) => machines.push(machine),
            Err(error) => findings.push(unreachable(host, &error)),
        }
    }
    (machines, findings)
}

fn unreachable(host: &Host, error: &Error) -> Finding {
    let mut seen = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        seen = format!("{seen}: {cause}");
        source = cause.source();
    }
    Finding {
        id: "host.unreachable",
        severity: Severity::Error,
        host: Some(host.name.clone()),
        seen,
        why: "every host is asked before anything changes: a server that is silent may be running this cluster".to_owned(),
        remedy: remedy(host, error),
    }
}

/// What to do about a host that could not be asked: it may well be reachable, and not let us in.
fn remedy(host: &Host, error: &Error) -> String {
    let name = &host.name;
    match error {
        Error::Connection(ConnectionError::LocalFile { .. } | ConnectionError::Secret { .. })
        | Error::Secret(_) => {
            format!("correct what the inventory names for {name}, or the file itself")
        }
        Error::Connection(error) if !error.remedies().is_empty() => error.remedies().join("; "),
        _ => format!("make {name} reachable, or take it out of the inventory"),
    }
}

/// Reads the record that a host keeps.
pub(crate) fn record_of(facts: &Facts) -> Option<Record> {
    Record::parse(std::str::from_utf8(facts.contents.get(Utf8Path::new(RECORD_PATH))?).ok()?)
}

/// Finds the seed and asks the cluster, if there is one. Every server of the inventory must be among `machines`.
pub(crate) fn cluster<'a>(
    inventory: &Inventory,
    mut machines: Vec<Machine<'a>>,
) -> Result<Gathered<'a>> {
    refuse_foreign(inventory, &machines)?;
    let seed = find_seed(inventory, &machines)?;
    let mut cluster = None;
    match &seed {
        Seed::Runs { host } => {
            if let Some(machine) = machines
                .iter_mut()
                .find(|machine| machine.host.name == *host)
            {
                cluster = Some(ClusterState::observe(&mut machine.connection)?);
            }
        }
        Seed::Founds { .. } => refuse_unknown_cluster(inventory, &mut machines)?,
        Seed::Restarts { .. } => {}
    }
    let copies = machines
        .iter()
        .filter_map(|machine| record_of(&machine.facts))
        .chain(cluster.as_ref().and_then(status::record_of));
    let record = Record::merge(copies);
    if record.is_none() && !matches!(seed, Seed::Founds { .. }) {
        return Err(Error::Cluster {
            what: format!("host {} runs RKE2, or holds its data, but nothing there says that it belongs to {}", seed.host(), inventory.name),
            remedy: "use hosts without RKE2, or run `rke2-uninstall.sh` on it if what it holds is not needed".to_owned(),
        });
    }
    Ok(Gathered {
        machines,
        seed,
        cluster,
        record,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        machine::fake::{inventory, machines},
        render::config::Entry,
    };

    #[test]
    fn a_first_server_that_was_set_up_anew_joins_the_one_that_runs() {
        let inventory = inventory();
        let hosts = machines(&inventory, |name, facts| {
            if name == "cp2" || name == "cp3" {
                facts.rke2.active = true;
                facts.rke2.has_etcd_data = true;
            }
        });
        let seed = find_seed(&inventory, &hosts).expect("a seed");
        assert_eq!(seed, Seed::Runs { host: "cp2".into() });
        let entered = entry(&inventory, &hosts[0], &seed, Some("10.0.0.2"));
        assert_eq!(entered, Entry::Joins("10.0.0.2".into()));
    }

    #[test]
    fn an_rke2_that_nobody_recorded_is_not_taken_over() {
        let inventory = inventory();
        let seen = machines(&inventory, |name, facts| {
            facts.rke2.has_etcd_data = name == "cp1";
        });
        let error = cluster(&inventory, seen).map(|_| ()).expect_err("not ours");
        assert!(
            error
                .to_string()
                .contains("nothing there says that it belongs to prod"),
            "{error}"
        );
    }
}
