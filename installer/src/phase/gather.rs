//! gather: ask every host what it is, once, and find out which server the others join.
//!
//! Which server is the seed is observed, never configured: a first server that was re-imaged must join the cluster it once founded, not
//! found a second one. So nothing is founded while any server cannot be asked, or while anything answers at the cluster's address.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    Command, Connection, Error, Facts, FactsQuery, Finding, Result, Severity,
    desired::Desired,
    facts::{self, RegistryQuery},
    for_each_host,
    host::{Host, Role},
    install::Connector,
    inventory::Inventory,
    kube::ClusterState,
    machine::{Counting, Machine, NODE_PASSWORD},
    plan::Seed,
    record::{RECORD_PATH, Record},
    render::{
        CA_PATH, CONFIG_PATH, REGISTRIES_PATH, TOKEN_PATH,
        config::{Entry, bracketed, entry_of},
    },
    status,
};

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
        remedy: format!("make {} reachable, or take it out of the inventory", host.name),
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

/// Refuses hosts that belong to another cluster, or to several.
fn refuse_foreign(inventory: &Inventory, machines: &[Machine<'_>]) -> Result<()> {
    for machine in machines {
        if let Some(record) =
            record_of(&machine.facts).filter(|record| record.cluster != inventory.name)
        {
            return Err(Error::Cluster {
                what: format!(
                    "host {} belongs to cluster {}, not to {}",
                    machine.host.name, record.cluster, inventory.name
                ),
                remedy: "check `metadata.name` and the hosts of the inventory".to_owned(),
            });
        }
    }
    let mut members = machines.iter().filter_map(|machine| {
        Some((
            machine.host.name.as_str(),
            machine.facts.rke2.cluster_ca.as_deref()?,
        ))
    });
    let Some((first, ca)) = members.next() else {
        return Ok(());
    };
    match members.find(|(_, other)| *other != ca) {
        None => Ok(()),
        Some((other, _)) => Err(Error::Cluster {
            what: format!("hosts {first} and {other} are nodes of different clusters"),
            remedy:
                "run `rke2-uninstall.sh` on the host whose data is not needed; nothing was changed"
                    .to_owned(),
        }),
    }
}

/// Chooses the seed: the first server that runs, else the first that holds the cluster's data, else the first listed one.
fn find_seed(inventory: &Inventory, machines: &[Machine<'_>]) -> Result<Seed> {
    let servers = || {
        machines
            .iter()
            .filter(|machine| machine.host.role == Role::Server)
    };
    if let Some(running) = servers().find(|machine| machine.facts.rke2.active) {
        return Ok(Seed::Runs {
            host: running.host.name.clone(),
        });
    }
    let members: Vec<String> = servers()
        .filter(|machine| machine.facts.rke2.has_etcd_data)
        .map(|machine| machine.host.name.clone())
        .collect();
    if let Some(first) = members.first() {
        return Ok(Seed::Restarts {
            host: first.clone(),
            members,
        });
    }
    let first = inventory.servers().next().ok_or_else(|| Error::Cluster {
        what: "the inventory has no server".to_owned(),
        remedy: "list at least one host with `role: server`".to_owned(),
    })?;
    Ok(Seed::Founds {
        host: first.name.clone(),
    })
}

/// Asks every server whether a cluster answers at the registration address, though no server of the inventory runs one.
fn refuse_unknown_cluster(inventory: &Inventory, machines: &mut [Machine<'_>]) -> Result<()> {
    let Some(endpoint) = inventory.endpoint() else {
        return Ok(());
    };
    let address = bracketed(&endpoint);
    let mut servers: Vec<&mut Machine<'_>> = machines
        .iter_mut()
        .filter(|machine| machine.host.role == Role::Server)
        .collect();
    let answers = for_each_host(inventory.options.parallel_hosts, &mut servers, |machine| {
        let output = machine.connection.check(
            &Command::script(PING)
                .arg(&endpoint)
                .arg(&address)
                .timeout(Duration::from_secs(40)),
        )?;
        Ok::<_, Error>((output.text() == "pong").then(|| machine.host.name.clone()))
    });
    for answer in answers {
        if let Some(from) = answer? {
            return Err(Error::Cluster {
                what: format!("a cluster answers at https://{address}:9345, seen from {from}, but no server of the inventory runs it"),
                remedy: "add the servers that run it to the inventory, or give the new cluster another `cluster.endpoint`".to_owned(),
            });
        }
    }
    Ok(())
}

/// Asks for the supervisor's ping with whatever the host has. The certificate is the cluster's own and cannot be checked yet; a port that
/// is open where nothing can speak TLS counts as a cluster.
const PING: &str = "\
# asks whether a cluster answers
answer=
if command -v curl >/dev/null 2>&1; then
  answer=$(curl -ks --max-time 8 \"https://$2:9345/ping\")
elif command -v openssl >/dev/null 2>&1; then
  answer=$(printf 'GET /ping HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n' \"$1\" | timeout 8 openssl s_client -quiet -connect \"$2:9345\" 2>/dev/null | tail -n 1)
elif timeout 8 bash -c 'exec 3<>\"/dev/tcp/$1/9345\"' ping \"$1\" 2>/dev/null; then
  answer=pong
fi
case $answer in *pong*) echo pong ;; *) echo silent ;; esac
";

/// Returns how a host should enter the cluster.
pub(crate) fn entry(
    inventory: &Inventory,
    machine: &Machine<'_>,
    seed: &Seed,
    seed_address: Option<&str>,
) -> Entry {
    let present = machine
        .facts
        .contents
        .get(Utf8Path::new(CONFIG_PATH))
        .and_then(|content| entry_of(content));
    let founds = matches!(seed, Seed::Founds { host } if *host == machine.host.name);
    let founded = machine.facts.rke2.has_etcd_data && present == Some(Entry::Founds);
    if machine.host.role == Role::Server && (founds || founded) {
        return Entry::Founds;
    }
    let fixed = inventory
        .cluster
        .endpoint
        .clone()
        .or_else(|| inventory.network.api_vip.map(|vip| vip.to_string()));
    // a node that has registered does not ask again: what it has stays, as long as it names a server of this cluster
    if let Some(Entry::Joins(address)) = present
        && fixed.is_none()
        && machine.was_node()
        && machine.host.node_address().as_ref() != Some(&address)
        && inventory
            .servers()
            .any(|server| server.node_address().as_ref() == Some(&address))
    {
        return Entry::Joins(address);
    }
    Entry::Joins(
        fixed
            .or_else(|| seed_address.map(str::to_owned))
            .or_else(|| inventory.endpoint())
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::{inventory, machines};
    use jiff::Timestamp;

    fn record(facts: &mut Facts, cluster: &str) {
        let record = Record {
            cluster: cluster.to_owned(),
            installed: None,
            target: None,
            last_seen: Timestamp::UNIX_EPOCH,
        };
        facts
            .contents
            .insert(RECORD_PATH.into(), record.to_line().into_bytes());
    }

    fn config(facts: &mut Facts, text: &str) {
        facts.contents.insert(
            CONFIG_PATH.into(),
            format!("runtime-image: x\n{text}").into(),
        );
    }

    #[test]
    fn the_first_listed_server_founds_only_where_no_server_knows_of_the_cluster() {
        let inventory = inventory();
        let fresh = machines(&inventory, |_, _| {});
        assert_eq!(
            find_seed(&inventory, &fresh).expect("a seed"),
            Seed::Founds { host: "cp1".into() }
        );
    }

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
    fn a_stopped_cluster_is_started_by_those_who_hold_its_data_and_never_founded_again() {
        let inventory = inventory();
        let hosts = machines(&inventory, |name, facts| {
            facts.rke2.has_etcd_data = name == "cp2" || name == "cp3";
        });
        let seed = find_seed(&inventory, &hosts).expect("a seed");
        assert_eq!(
            seed,
            Seed::Restarts {
                host: "cp2".into(),
                members: vec!["cp2".into(), "cp3".into()]
            }
        );
    }

    #[test]
    fn a_founder_stays_one_while_it_has_its_data_and_joins_without() {
        let inventory = inventory();
        let with_data = machines(&inventory, |name, facts| {
            config(facts, "");
            facts.rke2.has_etcd_data = name == "cp1";
            facts.rke2.active = name != "w1";
        });
        let seed = Seed::Runs { host: "cp2".into() };
        assert_eq!(
            entry(&inventory, &with_data[0], &seed, Some("10.0.0.2")),
            Entry::Founds
        );
        assert_eq!(
            entry(&inventory, &with_data[1], &seed, Some("10.0.0.2")),
            Entry::Joins("10.0.0.2".into())
        );
    }

    #[test]
    fn a_member_keeps_the_server_it_registered_with_as_long_as_that_is_in_the_cluster() {
        let inventory = inventory();
        let hosts = machines(&inventory, |name, facts| {
            facts.rke2.active = true;
            config(
                facts,
                match name {
                    "cp2" => "server: https://10.0.0.1:9345\n",
                    "cp3" => "server: https://10.9.9.9:9345\n",
                    _ => "server: https://10.0.0.3:9345\n",
                },
            );
        });
        let seed = Seed::Runs { host: "cp1".into() };
        let joins = |index: usize| entry(&inventory, &hosts[index], &seed, Some("10.0.0.1"));
        assert_eq!(joins(1), Entry::Joins("10.0.0.1".into()));
        assert_eq!(
            joins(2),
            Entry::Joins("10.0.0.1".into()),
            "a server that left"
        );
        assert_eq!(joins(3), Entry::Joins("10.0.0.3".into()));
    }

    #[test]
    fn hosts_of_another_cluster_and_of_two_clusters_are_refused() {
        let inventory = inventory();
        let other = machines(&inventory, |name, facts| {
            if name == "w1" {
                record(facts, "test");
            }
        });
        let error = refuse_foreign(&inventory, &other).expect_err("foreign");
        assert_eq!(
            error.to_string(),
            "host w1 belongs to cluster test, not to prod"
        );
        let two = machines(&inventory, |name, facts| {
            facts.rke2.cluster_ca = Some(if name == "cp3" { "b" } else { "a" }.to_owned());
        });
        let error = refuse_foreign(&inventory, &two).expect_err("two clusters");
        assert_eq!(
            error.to_string(),
            "hosts cp1 and cp3 are nodes of different clusters"
        );
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
