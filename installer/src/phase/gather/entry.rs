//! How a host enters the cluster: it founds it, or joins it at an address.

use camino::Utf8Path;

use crate::{
    host::Role,
    inventory::Inventory,
    machine::Machine,
    plan::Seed,
    render::{
        CONFIG_PATH,
        config::{Entry, entry_of},
    },
};

/// Returns how a host's present configuration makes it enter; `None` where it has none of ours.
pub(super) fn present_entry(machine: &Machine<'_>) -> Option<Entry> {
    let content = machine.facts.contents.get(Utf8Path::new(CONFIG_PATH))?;
    entry_of(content)
}

/// Returns how a host should enter the cluster.
pub(crate) fn entry(
    inventory: &Inventory,
    machine: &Machine<'_>,
    seed: &Seed,
    seed_address: Option<&str>,
) -> Entry {
    let present = present_entry(machine);
    let founds = matches!(seed, Seed::Founds { host } if *host == machine.host.name);
    // a seed that an interrupted run has started is founding still, before there is any data
    let founded = present == Some(Entry::Founds)
        && (machine.facts.rke2.has_etcd_data || seed.host() == machine.host.name);
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
    use crate::{
        Facts,
        machine::fake::{inventory, machines},
    };

    fn config(facts: &mut Facts, text: &str) {
        facts.contents.insert(
            CONFIG_PATH.into(),
            format!("runtime-image: x\n{text}").into(),
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
        let seed = Seed::Runs { host: "cp3".into() };
        assert_eq!(
            entry(&inventory, &with_data[0], &seed, Some("10.0.0.3")),
            Entry::Founds
        );
        assert_eq!(
            entry(&inventory, &with_data[1], &seed, Some("10.0.0.3")),
            Entry::Joins("10.0.0.3".into())
        );
    }

    #[test]
    fn a_founder_that_has_no_data_yet_does_not_join_itself() {
        let inventory = inventory();
        let starting = machines(&inventory, |name, facts| {
            if name == "cp1" {
                config(facts, "");
                facts.rke2.active = true;
            }
        });
        let seed = Seed::Runs { host: "cp1".into() };
        let entered = entry(&inventory, &starting[0], &seed, Some("10.0.0.1"));
        assert_eq!(entered, Entry::Founds);
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
}
