//! seed, servers, agents: one after the other where the cluster must stay whole, together where it need not.
//!
//! A step is done when it is proven: RKE2's own readiness on the host, then a Ready node, and for a server its vote in etcd. The next server
//! is touched only after that. What the cluster remembers of a host that was re-imaged is removed first, after saying so.

use std::time::{Duration, Instant};

use secrecy::SecretString;

use super::{
    gather::{self, Gathered},
    look, stage,
};
use crate::{
    Error, InstallOptions, Limit, Report, Result,
    desired::Desired,
    event::Event,
    for_each_host,
    host::Role,
    kube::{ClusterState, Kubectl, NodeView},
    lock::Lock,
    machine::Machine,
    plan::{HostPlan, Service},
    render::config::Entry,
};

/// What every step needs.
pub(crate) struct Work<'w, 'a> {
    pub(crate) desired: &'w Desired<'a>,
    pub(crate) options: &'w InstallOptions,
    pub(crate) lock: &'w Lock,
    pub(crate) report: Report<'w>,
}

impl Work<'_, '_> {
    fn say(&self, host: &str, message: impl Into<String>) {
        (self.report)(Event::Host {
            host: host.to_owned(),
            message: message.into(),
        });
    }

    /// Starts the seed, or finds it running as it should; proves it and returns the cluster's state with the joiners' token.
    pub(crate) fn seed(
        &self,
        gathered: &mut Gathered<'_>,
        plans: &[HostPlan],
    ) -> Result<(ClusterState, u64)> {
        let name = gathered.seed.host().to_owned();
        let plan = plan_of(plans, &name)?;
        let mut changes = 0;
        if let crate::plan::Seed::Restarts { members, .. } = gathered.seed.clone() {
            // etcd needs a majority of them before the first can become ready
            for member in members.iter().filter(|member| **member != name) {
                self.say(member, "starting RKE2, which holds the cluster's data");
                gathered.machine(member)?.start("start")?;
            }
        }
        if plan.service != Service::Leave {
            changes += self.start(gathered, plan, None)?;
            self.node_ready(gathered, &name)?;
        }
        Ok((self.answering(gathered)?, changes))
    }

    /// Asks the seed for the cluster's state until its API server answers.
    fn answering(&self, gathered: &mut Gathered<'_>) -> Result<ClusterState> {
        let started = Instant::now();
        loop {
            let machine = gathered.seed_machine()?;
            let state = ClusterState::observe(&mut machine.connection)?;
            if state.answers() && state.token.is_some() {
                return Ok(state);
            }
            if started.elapsed() >= self.options.node_timeout {
                return Err(Error::Gate {
                    host: machine.host.name.clone(),
                    what: "an answer of the API server",
                    waited: started.elapsed(),
                    reason: "kubectl gets none; a majority of the servers may be down".to_owned(),
                    limit: Some(Limit::Node),
                });
            }
            std::thread::sleep(self.options.poll);
        }
    }

    /// Joins, starts or restarts the other servers, or waits for them, one at a time.
    pub(crate) fn servers(
        &self,
        gathered: &mut Gathered<'_>,
        plans: &[HostPlan],
        token: &SecretString,
    ) -> Result<u64> {
        let mut changes = 0;
        let seed = gathered.seed.host().to_owned();
        for plan in plans.iter().filter(|plan| {
            plan.role == Role::Server && plan.host != seed && plan.service != Service::Leave
        }) {
            self.lock.check()?;
            if plan.service == Service::Join {
                self.forget(gathered, plan)?;
            }
            changes += self.start(gathered, plan, Some(token))?;
            self.node_ready(gathered, &plan.host)?;
        }
        Ok(changes)
    }

    /// Joins the agents together, then waits for the nodes of all that are not in the cluster yet.
    pub(crate) fn agents(
        &self,
        gathered: &mut Gathered<'_>,
        plans: &[HostPlan],
        token: &SecretString,
    ) -> Result<u64> {
        let waiting: Vec<&HostPlan> = plans
            .iter()
            .filter(|plan| plan.role == Role::Agent && plan.service != Service::Leave)
            .collect();
        for plan in waiting.iter().filter(|plan| plan.service == Service::Join) {
            self.lock.check()?;
            self.forget(gathered, plan)?;
        }
        let (seed, address) = (gathered.seed.clone(), look::seed_address(gathered));
        let results = for_each_host(
            self.desired.inventory.options.parallel_hosts,
            &mut gathered.machines,
            |machine| {
                let Some(plan) = waiting.iter().find(|plan| plan.host == machine.host.name) else {
                    return Ok(0);
                };
                let entry =
                    gather::entry(self.desired.inventory, machine, &seed, address.as_deref());
                self.start_on(machine, plan, &entry, Some(token))
            },
        );
        let changes = stage::all(&gathered.machines, results)?.into_iter().sum();
        for plan in waiting {
            self.node_ready(gathered, &plan.host)?;
        }
        Ok(changes)
    }

    /// Starts or restarts one server, or waits for it, without the proof through the cluster.
    fn start(
        &self,
        gathered: &mut Gathered<'_>,
        plan: &HostPlan,
        token: Option<&SecretString>,
    ) -> Result<u64> {
        let (seed, address) = (gathered.seed.clone(), look::seed_address(gathered));
        let machine = gathered.machine(&plan.host)?;
        let entry = gather::entry(self.desired.inventory, machine, &seed, address.as_deref());
        self.start_on(machine, plan, &entry, token)
    }

    fn start_on(
        &self,
        machine: &mut Machine<'_>,
        plan: &HostPlan,
        entry: &Entry,
        token: Option<&SecretString>,
    ) -> Result<u64> {
        let (verb, message) = match plan.service {
            Service::Wait => {
                self.say(&plan.host, "RKE2 has been started; waiting for it");
                self.wait_active(machine, None)?;
                return Ok(0);
            }
            Service::Found => ("start", "starting RKE2; it founds the cluster"),
            Service::Join => ("start", "starting RKE2; it joins the cluster"),
            Service::Start | Service::Leave => ("start", "starting RKE2"),
            Service::Restart => ("restart", "restarting RKE2 with its new configuration"),
        };
        let changes = stage::write_files(self.desired, machine, entry)?;
        if let (Entry::Joins(_), Some(token)) = (entry, token) {
            machine.put_token(token)?;
        }
        self.say(&plan.host, message);
        let ended = machine.start(verb)?;
        self.wait_active(machine, ended.as_deref())?;
        Ok(changes + 1)
    }

    fn wait_active(&self, machine: &mut Machine<'_>, ended: Option<&str>) -> Result<()> {
        let (limit, poll) = (self.options.node_timeout, self.options.poll);
        machine.wait_active(ended, limit, poll, self.report)
    }

    /// Waits until the cluster says that a host's node is Ready, initialised, and, for a server, that it votes in etcd.
    fn node_ready(&self, gathered: &mut Gathered<'_>, host: &str) -> Result<()> {
        let started = Instant::now();
        let needs_provider = self.desired.needs_provider();
        let mut shown = String::new();
        loop {
            self.lock.check()?;
            let nodes = Kubectl::on(&mut gathered.seed_machine()?.connection).list("nodes", &[])?;
            let machine = gathered.machine(host)?;
            let node = nodes
                .as_deref()
                .and_then(|nodes| look::node_of(self.desired.inventory.site, machine, nodes));
            let Some(reason) = unsettled(
                nodes.is_some(),
                node.as_ref(),
                machine.host.role,
                needs_provider,
            ) else {
                self.say(host, "Ready");
                return Ok(());
            };
            if started.elapsed() >= self.options.node_timeout {
                return Err(Error::Gate {
                    host: host.to_owned(),
                    what: "a Ready node",
                    waited: started.elapsed(),
                    reason,
                    limit: Some(Limit::Node),
                });
            }
            if reason != shown {
                self.say(host, format!("waiting: {reason}"));
                shown = reason;
            }
            std::thread::sleep(self.options.poll);
        }
    }

    /// Removes what would keep a fresh host from joining under its old name.
    fn forget(&self, gathered: &mut Gathered<'_>, plan: &HostPlan) -> Result<()> {
        let Some(nodes) = gathered
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.nodes.clone())
        else {
            return Ok(());
        };
        let name_in = |machine: &Machine<'_>| {
            look::node_of(self.desired.inventory.site, machine, &nodes)
                .map_or_else(|| machine.host.name.clone(), |node| node.name().to_owned())
        };
        let node = name_in(gathered.machine(&plan.host)?);
        let seed = gathered.seed_machine()?;
        let seed_node = name_in(seed);
        let mut kubectl = Kubectl::on(&mut seed.connection);
        if let Some(stale) = &plan.stale {
            self.say(&plan.host, stale.clone());
            kubectl.delete(&["node", &node])?;
        }
        kubectl.delete(&[
            "secret",
            "-n",
            "kube-system",
            &format!("{node}.node-password.rke2"),
        ])?;
        if plan.role == Role::Server {
            self.forget_member(&mut kubectl, &plan.host, &seed_node, &node)?;
        }
        Ok(())
    }

    /// Waits until etcd has dropped the member of a deleted node, which RKE2 does by itself; removes it where the node never got that far.
    fn forget_member(
        &self,
        kubectl: &mut Kubectl<'_>,
        host: &str,
        seed_node: &str,
        node: &str,
    ) -> Result<()> {
        let patience = Instant::now();
        loop {
            let members = kubectl.etcd_members(seed_node)?;
            let Some((id, name)) = members
                .into_iter()
                .find(|(_, name)| is_member_of(name, node))
            else {
                return Ok(());
            };
            if patience.elapsed() >= MEMBER_PATIENCE {
                self.say(host, format!("removing etcd member {name}, which a former installation of this host left behind"));
                kubectl.remove_etcd_member(seed_node, id)?;
                return Ok(());
            }
            std::thread::sleep(self.options.poll);
        }
    }
}

/// How long RKE2's own controller gets to remove the etcd member of a deleted node.
const MEMBER_PATIENCE: Duration = Duration::from_secs(20);

/// RKE2 names an etcd member after its node, with eight hex digits of its own.
fn is_member_of(member: &str, node: &str) -> bool {
    member
        .strip_prefix(node)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Says what a node lacks; `None` when it is in the cluster for good.
pub(super) fn unsettled(
    answers: bool,
    node: Option<&NodeView<'_>>,
    role: Role,
    needs_provider: bool,
) -> Option<String> {
    if !answers {
        return Some("the API server does not answer".to_owned());
    }
    let Some(node) = node else {
        return Some("the node has not registered".to_owned());
    };
    if needs_provider && node.provider_id().is_none() {
        return Some("the cloud controller has not initialised the node".to_owned());
    }
    if !node.condition("Ready") {
        return Some(format!("the node is not Ready: {}", node.reason()));
    }
    if role == Role::Server && !node.is_voter() {
        return Some("the server has no vote in etcd yet".to_owned());
    }
    None
}

fn plan_of<'p>(plans: &'p [HostPlan], host: &str) -> Result<&'p HostPlan> {
    plans
        .iter()
        .find(|plan| plan.host == host)
        .ok_or_else(|| Error::Cluster {
            what: format!("host {host} has no plan"),
            remedy: "run the command again".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_member_is_known_by_its_nodes_name_and_eight_digits() {
        assert!(is_member_of("cp1-59ac628d", "cp1"));
        assert!(!is_member_of("cp10-59ac628d", "cp1"));
        assert!(!is_member_of("cp1-x-59ac628d", "cp1"));
        assert!(is_member_of("cp1-x-59ac628d", "cp1-x"));
    }

    #[test]
    fn a_server_is_settled_only_with_its_vote_and_on_a_cloud_with_its_id() {
        let mut node = json!({"metadata": {"name": "cp1"}, "spec": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(
            unsettled(true, Some(&NodeView::new(&node)), Role::Agent, false),
            None
        );
        assert!(
            unsettled(true, Some(&NodeView::new(&node)), Role::Server, false)
                .expect("a reason")
                .contains("vote")
        );
        assert!(
            unsettled(true, Some(&NodeView::new(&node)), Role::Agent, true)
                .expect("a reason")
                .contains("cloud")
        );
        node["status"]["conditions"][0]["status"] = json!("False");
        node["status"]["conditions"][0]["message"] = json!("cni plugin not initialized");
        assert_eq!(
            unsettled(true, Some(&NodeView::new(&node)), Role::Agent, false).expect("a reason"),
            "the node is not Ready: cni plugin not initialized"
        );
        assert!(unsettled(false, None, Role::Agent, false).is_some());
    }
}
