//! Asks a site how it is: its hosts once, and one running server for the cluster.

use jiff::Timestamp;

use super::{Status, certificates, unhealthy};
use crate::{
    Inventory, Result, Role,
    install::Connector,
    kube::NodeView,
    phase::{gather, look},
    plan::Seed,
    record::Record,
};

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
                    .map(NodeView::new)
                    .find(|node| node.name() == host.name)
            });
        super::node(&host.name, host.role.to_string(), node.as_ref())
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
        unhealthy: unhealthy(&state),
        applications: state.applications.len(),
        certificates: certificates(&state, now),
        problems,
    })
}
