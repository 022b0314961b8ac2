//! Which server is the seed: found out from what the servers hold and run, never configured.

use std::time::Duration;

use super::{entry::present_entry, record_of};
use crate::{
    Command, Connection, Error, Result, for_each_host,
    host::Role,
    inventory::Inventory,
    machine::Machine,
    plan::Seed,
    render::config::{Entry, bracketed},
};

/// Refuses hosts that belong to another cluster, or to several.
pub(super) fn refuse_foreign(inventory: &Inventory, machines: &[Machine<'_>]) -> Result<()> {
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

/// Chooses the seed: the first server that is up, else the first that is starting with the cluster's data, else the first that holds its
/// data, else one that has begun to found the cluster, else the first listed one.
///
/// A server that is starting without data waits for the others: it has nothing to tell.
pub(super) fn find_seed(inventory: &Inventory, machines: &[Machine<'_>]) -> Result<Seed> {
    let servers = || {
        machines
            .iter()
            .filter(|machine| machine.host.role == Role::Server)
    };
    let runs = |machine: &Machine<'_>| Seed::Runs {
        host: machine.host.name.clone(),
    };
    let running = servers()
        .find(|machine| machine.facts.rke2.is_up)
        .or_else(|| {
            servers().find(|machine| machine.facts.rke2.active && machine.facts.rke2.has_etcd_data)
        });
    if let Some(running) = running {
        return Ok(runs(running));
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
    if let Some(founding) = servers()
        .find(|machine| machine.facts.rke2.active && present_entry(machine) == Some(Entry::Founds))
    {
        return Ok(runs(founding));
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
pub(super) fn refuse_unknown_cluster(
    inventory: &Inventory,
    machines: &mut [Machine<'_>],
) -> Result<()> {
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
  answer=$(curl -ks --noproxy '*' --max-time 8 \"https://$2:9345/ping\")
elif command -v openssl >/dev/null 2>&1; then
  answer=$(printf 'GET /ping HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n' \"$1\" | timeout 8 openssl s_client -quiet -connect \"$2:9345\" 2>/dev/null | tail -n 1)
elif timeout 8 bash -c 'exec 3<>\"/dev/tcp/$1/9345\"' ping \"$1\" 2>/dev/null; then
  answer=pong
fi
case $answer in *pong*) echo pong ;; *) echo silent ;; esac
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Facts,
        machine::fake::{inventory, machines},
        record::{RECORD_PATH, Record},
        render::CONFIG_PATH,
    };
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
    fn a_server_that_is_up_is_asked_before_one_that_is_still_joining() {
        let inventory = inventory();
        let hosts = machines(&inventory, |name, facts| {
            facts.rke2.active = true;
            facts.rke2.is_up = name == "cp3";
            facts.rke2.has_etcd_data = name != "cp1";
        });
        assert_eq!(
            find_seed(&inventory, &hosts).expect("a seed"),
            Seed::Runs { host: "cp3".into() }
        );
        let none_up = machines(&inventory, |name, facts| {
            facts.rke2.active = name != "cp3";
            facts.rke2.has_etcd_data = name != "cp1";
        });
        assert_eq!(
            find_seed(&inventory, &none_up).expect("a seed"),
            Seed::Runs { host: "cp2".into() }
        );
        let stopped = machines(&inventory, |name, facts| {
            facts.rke2.active = name == "cp1";
            facts.rke2.has_etcd_data = name != "cp1";
        });
        assert!(matches!(
            find_seed(&inventory, &stopped).expect("a seed"),
            Seed::Restarts { host, .. } if host == "cp2"
        ));
    }

    #[test]
    fn a_server_that_has_begun_to_found_the_cluster_goes_on_and_one_that_joins_nobody_does_not_run_it()
     {
        let inventory = inventory();
        let starting = |config: &'static str| {
            machines(&inventory, move |name, facts| {
                if name == "cp2" {
                    facts.rke2.active = true;
                    facts
                        .contents
                        .insert(CONFIG_PATH.into(), config.as_bytes().to_vec());
                }
            })
        };
        assert_eq!(
            find_seed(&inventory, &starting("runtime-image: x\n")).expect("a seed"),
            Seed::Runs { host: "cp2".into() }
        );
        let joining = starting("runtime-image: x\nserver: https://10.0.0.1:9345\n");
        assert_eq!(
            find_seed(&inventory, &joining).expect("a seed"),
            Seed::Founds { host: "cp1".into() }
        );
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
}
