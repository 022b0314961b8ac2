//! What each host and the cluster lack, compared with what the site should be: the plan, without doing any of it.

use airgap_manifests::{SecretSpec, SiteKind};
use camino::Utf8Path;
use serde_json::{Value, json};

use super::{
    gather::{self, Gathered},
    nodes::unsettled,
};
use crate::{
    Error, Result,
    desired::Desired,
    health,
    host::Role,
    kube::{ClusterState, NodeView, labelled, name_of},
    machine::{Machine, put_of},
    plan::{HostPlan, Seed, Service, WavePlan},
    record::{RECORD_SECRET, Record},
    render::{NodeFile, argocd, config::Entry, covers},
};

/// Keys that a running cluster cannot change, and why.
const FIXED_KEYS: [(&str, &str); 5] = [
    (
        "cni",
        "another CNI would cut every pod off; back up, rebuild the cluster, restore",
    ),
    (
        "cluster-cidr",
        "pods keep their addresses for the cluster's life",
    ),
    (
        "service-cidr",
        "services keep their addresses for the cluster's life",
    ),
    (
        "cluster-domain",
        "every certificate and service name contains it",
    ),
    (
        "disable-kube-proxy",
        "the CNI and kube-proxy would both, or neither, route services",
    ),
];

/// Returns a host's files as they should be now.
pub(crate) fn node_files(
    desired: &Desired<'_>,
    machine: &Machine<'_>,
    entry: &Entry,
) -> Result<Vec<NodeFile>> {
    let hosts_file = machine
        .facts
        .contents
        .get(Utf8Path::new("/etc/hosts"))
        .map(|content| String::from_utf8_lossy(content).into_owned())
        .unwrap_or_default();
    desired.node_files(machine.host, entry, &hosts_file)
}

/// Says what a host needs.
pub(crate) fn host(
    desired: &Desired<'_>,
    gathered: &Gathered<'_>,
    machine: &Machine<'_>,
) -> Result<HostPlan> {
    let entry = gather::entry(
        desired.inventory,
        machine,
        &gathered.seed,
        seed_address(gathered).as_deref(),
    );
    refuse_other_version(desired, machine)?;
    refuse_fixed_keys(desired, machine, &entry)?;
    let wrong: Vec<NodeFile> = node_files(desired, machine, &entry)?
        .into_iter()
        .filter(|file| !machine.has(&put_of(file)))
        .collect();
    let install = machine.facts.rke2.version.as_deref()
        != Some(desired.edition.rke2.version.as_str())
        || !machine.facts.files.contains_key(&desired.installed_mark());
    Ok(HostPlan {
        host: machine.host.name.clone(),
        role: machine.host.role,
        install,
        service: service(
            machine,
            &gathered.seed,
            &entry,
            &wrong,
            is_settled(desired, gathered, machine),
        ),
        stale: stale(desired.inventory.site, gathered, machine),
        files: wrong
            .into_iter()
            .map(|file| file.path.into_string())
            .collect(),
    })
}

/// Tells whether RKE2 is up on a host and its node is in the cluster for good.
fn is_settled(desired: &Desired<'_>, gathered: &Gathered<'_>, machine: &Machine<'_>) -> bool {
    let nodes = gathered
        .cluster
        .as_ref()
        .and_then(|cluster| cluster.nodes.as_deref());
    let node = nodes.and_then(|nodes| node_of(desired.inventory.site, machine, nodes));
    let (role, on_cloud) = (machine.host.role, desired.needs_provider());
    machine.facts.rke2.is_up && unsettled(nodes.is_some(), node.as_ref(), role, on_cloud).is_none()
}

fn service(
    machine: &Machine<'_>,
    seed: &Seed,
    entry: &Entry,
    wrong: &[NodeFile],
    is_settled: bool,
) -> Service {
    if machine.facts.rke2.active {
        // the manifests folder and /etc/hosts are read while RKE2 runs
        let read_at_start = |file: &NodeFile| file.path.starts_with(crate::render::RKE2_FOLDER);
        let restart = wrong.iter().any(read_at_start) || is_older_than_its_files(machine);
        return match (restart, is_settled) {
            (true, _) => Service::Restart,
            (false, true) => Service::Leave,
            (false, false) => Service::Wait,
        };
    }
    match seed {
        Seed::Founds { host } if *host == machine.host.name => Service::Found,
        _ if machine.was_node() || *entry == Entry::Founds => Service::Start,
        _ => Service::Join,
    }
}

/// Tells whether a file that RKE2 reads at its start was written after it: an earlier run was interrupted before the restart.
fn is_older_than_its_files(machine: &Machine<'_>) -> bool {
    // both times are whole seconds, and the start is computed from the uptime
    const BLUR: i64 = 1;
    let Some(started) = machine.facts.rke2.started else {
        return false;
    };
    let paths = [
        crate::render::CONFIG_PATH,
        crate::render::REGISTRIES_PATH,
        crate::render::CA_PATH,
    ];
    paths
        .iter()
        .filter_map(|path| machine.facts.files.get(Utf8Path::new(path)))
        .any(|file| file.modified > started + BLUR)
}

/// Says what the cluster still remembers of a host that has forgotten the cluster.
fn stale(site: SiteKind, gathered: &Gathered<'_>, machine: &Machine<'_>) -> Option<String> {
    if machine.was_node() {
        return None;
    }
    let node = node_of(site, machine, gathered.cluster.as_ref()?.nodes.as_deref()?)?;
    let what = if machine.host.role == Role::Server {
        "its Node, its node password and its etcd member are removed"
    } else {
        "its Node and its node password are removed"
    };
    Some(format!(
        "the cluster knows node {} from an earlier installation of this host, which would keep it from joining: {what}",
        node.name()
    ))
}

/// Returns the Node of a host: by its name, or by its address where the cloud names the nodes.
pub(crate) fn node_of<'n>(
    site: SiteKind,
    machine: &Machine<'_>,
    nodes: &'n [Value],
) -> Option<NodeView<'n>> {
    let mut views = nodes.iter().map(NodeView::new);
    if site != SiteKind::Aws {
        return views.find(|node| node.name() == machine.host.name);
    }
    let own = machine.host.node_ip.map(|ip| ip.to_string());
    let is_own = |ip: &str| {
        own.as_deref() == Some(ip) || machine.facts.addresses.iter().any(|own| own == ip)
    };
    views.find(|node| node.internal_ips().any(is_own))
}

pub(crate) fn seed_address(gathered: &Gathered<'_>) -> Option<String> {
    let seed = gathered
        .machines
        .iter()
        .find(|machine| machine.host.name == gathered.seed.host())?;
    seed.host.node_address().or_else(|| {
        seed.facts
            .addresses
            .first()
            .and_then(|address| address.split('/').next())
            .map(str::to_owned)
    })
}

/// An RKE2 of another version is upgraded by `airgap upgrade`, with its own order and its own checks, not here.
fn refuse_other_version(desired: &Desired<'_>, machine: &Machine<'_>) -> Result<()> {
    let wanted = &desired.edition.rke2.version;
    match &machine.facts.rke2.version {
        Some(found) if found != wanted => Err(Error::Cluster {
            what: format!("host {} has RKE2 {found}, the bundle brings {wanted}", machine.host.name),
            remedy: "install brings up new nodes only; run `rke2-uninstall.sh` on the host if what it holds is not needed".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn refuse_fixed_keys(desired: &Desired<'_>, machine: &Machine<'_>, entry: &Entry) -> Result<()> {
    if machine.host.role != Role::Server || !machine.facts.rke2.has_etcd_data {
        return Ok(());
    }
    let Some(present) = machine
        .facts
        .contents
        .get(Utf8Path::new(crate::render::CONFIG_PATH))
    else {
        return Ok(());
    };
    let parse = |content: &[u8]| serde_saphyr::from_slice::<Value>(content).unwrap_or(Value::Null);
    let present = parse(present);
    if present.get("runtime-image").is_none() {
        return Ok(());
    }
    let files = desired.node_files(machine.host, entry, "")?;
    let Some(wanted) = files
        .iter()
        .find(|file| file.path == crate::render::CONFIG_PATH)
    else {
        return Ok(());
    };
    let wanted = parse(&wanted.content);
    for (key, why) in FIXED_KEYS {
        if present.get(key) != wanted.get(key) {
            let show = |value: Option<&Value>| {
                value.map_or_else(
                    || "RKE2's default".to_owned(),
                    |value| {
                        value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned)
                    },
                )
            };
            return Err(Error::Cluster {
                what: format!(
                    "`{key}` of the running cluster is {}, the bundle and the inventory want {}",
                    show(present.get(key)),
                    show(wanted.get(key))
                ),
                remedy: why.to_owned(),
            });
        }
    }
    Ok(())
}

/// Returns the objects that come before any component, as they should be.
pub(crate) fn base_objects(desired: &Desired<'_>) -> Vec<Value> {
    let mut namespaces: std::collections::BTreeMap<
        &str,
        std::collections::BTreeMap<String, String>,
    > = std::collections::BTreeMap::new();
    for (_, component) in desired.components() {
        namespaces
            .entry(&component.namespace)
            .or_default()
            .extend(component.namespace_labels.clone());
    }
    namespaces.remove("kube-system");
    let mut objects: Vec<Value> = namespaces
        .iter()
        .map(|(name, labels)| argocd::namespace(name, labels))
        .collect();
    objects.extend(desired.ca_pem.as_deref().map(argocd::ca_config));
    objects.extend(argocd::pull_secret(&desired.registry));
    if let Some(gitops) = &desired.gitops {
        objects.push(argocd::repository_secret(
            &gitops.namespace,
            &desired.registry,
        ));
    }
    objects
}

/// Returns those objects that the cluster lacks or has otherwise.
pub(crate) fn differing(state: Option<&ClusterState>, wanted: Vec<Value>) -> Vec<Value> {
    wanted
        .into_iter()
        .filter(|wanted| {
            !state
                .and_then(|state| state.find(wanted))
                .is_some_and(|found| covers(found, wanted))
        })
        .collect()
}

/// Returns Argo CD's HelmChart where the cluster has it otherwise, or helm has not installed it as it is now.
pub(crate) fn gitops(desired: &Desired<'_>, state: Option<&ClusterState>) -> Option<Value> {
    let gitops = desired.gitops.as_ref()?;
    let installed = state.is_some_and(|state| {
        state.find(&gitops.chart).is_some_and(|live| {
            let job = health::helm_job(&gitops.release);
            covers(live, &gitops.chart)
                && health::helm_trouble(&job, &state.jobs, argocd::former_job(live)).is_none()
        })
    });
    (!installed).then(|| gitops.chart.clone())
}

/// Returns the Secret that keeps the record in the cluster.
pub(crate) fn record_secret(record: &Record) -> Value {
    argocd::secret(
        "kube-system",
        RECORD_SECRET,
        "Opaque",
        &[("record", &record.to_line())],
    )
}

/// Returns the secrets to be made for the components, each with the namespaces that get it.
pub(crate) fn secrets<'a>(desired: &Desired<'a>) -> Vec<(Vec<String>, &'a SecretSpec)> {
    let mut found = Vec::new();
    for (_, component) in desired.components() {
        let wanted = component.secrets.iter();
        for spec in wanted
            .filter(|spec| spec.on(desired.inventory.site) && desired.site_secrets.wants(spec))
        {
            let sharing = desired
                .components()
                .filter(|(name, _)| spec.shared_with.contains(name))
                .map(|(_, component)| component.namespace.clone());
            let mut namespaces = vec![component.namespace.clone()];
            for namespace in sharing {
                if !namespaces.contains(&namespace) {
                    namespaces.push(namespace);
                }
            }
            found.push((namespaces, spec));
        }
    }
    found
}

/// Names the Secrets that are missing.
pub(crate) fn missing_secrets(desired: &Desired<'_>, state: Option<&ClusterState>) -> Vec<String> {
    let mut missing = Vec::new();
    for (namespaces, spec) in secrets(desired) {
        for namespace in namespaces {
            let object =
                json!({"kind": "Secret", "metadata": {"namespace": namespace, "name": spec.name}});
            if state.and_then(|state| state.find(&object)).is_none() {
                missing.push(name_of(&object));
            }
        }
    }
    missing
}

/// Compares the components with the ApplicationSet and the Applications of the cluster, wave by wave.
pub(crate) fn waves(desired: &Desired<'_>, state: Option<&ClusterState>) -> Result<Vec<WavePlan>> {
    let live = state.and_then(|state| state.find(&labelled(json!({"kind": "ApplicationSet", "metadata": {"name": crate::kube::APPLICATION_SET, "namespace": desired.gitops_namespace()}}))));
    let elements = live
        .map(|live| {
            live["spec"]["generators"][0]["list"]["elements"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        })
        .unwrap_or_default();
    // everything of the set but its list
    let frame = argocd::application_set(desired.gitops_namespace(), &desired.registry, &[])?;
    let frame_holds = live.is_some_and(|live| {
        let mut bare = live.clone();
        bare["spec"]["generators"][0]["list"]["elements"] = json!([]);
        covers(&bare, &frame)
    });
    let mut plans = Vec::new();
    for wave in &desired.waves {
        let mut pending = Vec::new();
        for member in wave {
            let set = argocd::application_set(
                desired.gitops_namespace(),
                &desired.registry,
                std::slice::from_ref(&member.application),
            )?;
            let wanted = &set["spec"]["generators"][0]["list"]["elements"][0];
            let listed = elements.iter().any(|element| element == wanted);
            let application = state.and_then(|state| {
                state
                    .applications
                    .iter()
                    .find(|found| found["metadata"]["name"] == member.name.as_str())
            });
            if !frame_holds
                || !listed
                || health::unmet(application, &member.spec, member.gate).is_some()
            {
                pending.push(member.name.clone());
            }
        }
        plans.push(WavePlan {
            components: wave.iter().map(|member| member.name.clone()).collect(),
            pending,
        });
    }
    Ok(plans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        facts::FileState,
        machine::fake::{inventory, machines},
        render::CONFIG_PATH,
    };

    fn state(modified: i64) -> FileState {
        FileState {
            sha256: String::new(),
            mode: 0o600,
            owner: "root:root".to_owned(),
            modified,
        }
    }

    #[test]
    fn a_file_written_after_the_start_means_a_restart_that_an_earlier_run_did_not_reach() {
        let inventory = inventory();
        for (modified, restart) in [(100, false), (101, false), (130, true)] {
            let seen = machines(&inventory, |_, facts| {
                facts.rke2.active = true;
                facts.rke2.started = Some(100);
                facts.files.insert(CONFIG_PATH.into(), state(modified));
            });
            assert_eq!(is_older_than_its_files(&seen[0]), restart, "{modified}");
        }
    }

    #[test]
    fn only_what_rke2_reads_at_its_start_restarts_it() {
        let inventory = inventory();
        let hosts = machines(&inventory, |_, facts| facts.rke2.active = true);
        let seed = Seed::Runs { host: "cp1".into() };
        let file = |path: &str| NodeFile {
            path: path.into(),
            mode: 0o600,
            content: Vec::new(),
        };
        let what = |files: &[NodeFile]| service(&hosts[0], &seed, &Entry::Founds, files, true);
        assert_eq!(what(&[]), Service::Leave);
        assert_eq!(what(&[file("/etc/hosts")]), Service::Leave);
        assert_eq!(
            what(&[file("/etc/rancher/rke2/registries.yaml")]),
            Service::Restart
        );
        let unsettled = |files| service(&hosts[0], &seed, &Entry::Founds, files, false);
        assert_eq!(unsettled(&[]), Service::Wait);
        assert_eq!(
            unsettled(&[file("/etc/rancher/rke2/registries.yaml")]),
            Service::Restart
        );
    }

    #[test]
    fn a_fresh_host_under_a_known_name_is_stale_and_a_member_is_not() {
        let inventory = inventory();
        let nodes = vec![
            json!({"metadata": {"name": "cp1"}}),
            json!({"metadata": {"name": "w1"}}),
        ];
        let gathered = |active: bool| Gathered {
            machines: machines(&inventory, |_, facts| facts.rke2.active = active),
            seed: Seed::Runs { host: "cp2".into() },
            cluster: Some(ClusterState {
                nodes: Some(nodes.clone()),
                ..ClusterState::default()
            }),
            record: None,
        };
        let fresh = gathered(false);
        let of = |index: usize| stale(SiteKind::Onprem, &fresh, &fresh.machines[index]);
        assert!(of(0).expect("stale").contains("etcd member"));
        assert!(!of(3).expect("stale").contains("etcd"));
        assert_eq!(of(1), None);
        let members = gathered(true);
        assert_eq!(
            stale(SiteKind::Onprem, &members, &members.machines[0]),
            None
        );
    }
}
