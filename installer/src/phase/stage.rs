//! stage: RKE2's release and what it reads at its first start, on every host that does not run it yet.
//!
//! The release's files are read from the archive once, whole and verified, and go to the hosts from memory; each host hashes what it got
//! before it gets its name. Then RKE2's own installer runs, from those files and nothing else. What a running node reads is not touched
//! here: it changes just before that node's restart.

use std::time::Duration;

use airgap_archive::VerifiedArchive;

use super::{gather, look};
use crate::{
    Command, Connection, Error, Put, Report, Result,
    desired::Desired,
    event::Event,
    for_each_host,
    machine::Machine,
    plan::{HostPlan, Service},
    render::{MANIFESTS_FOLDER, config::Entry},
};

/// A release file in memory, verified.
struct Loaded {
    put: Put,
    content: Vec<u8>,
}

/// Stages every host that the plan names; returns how many were changed.
pub(crate) fn run(
    desired: &Desired<'_>,
    archive: &VerifiedArchive,
    gathered: &mut gather::Gathered<'_>,
    plans: &[HostPlan],
    report: Report<'_>,
) -> Result<u64> {
    let files = if plans.iter().any(|plan| plan.install) {
        load(desired, archive)?
    } else {
        Vec::new()
    };
    let seed = gathered.seed.clone();
    let address = look::seed_address(gathered);
    let results = for_each_host(
        desired.inventory.options.parallel_hosts,
        &mut gathered.machines,
        |machine| {
            let Some(plan) = plans.iter().find(|plan| plan.host == machine.host.name) else {
                return Ok(0);
            };
            let mut changes = 0;
            if plan.install {
                install(desired, machine, &files, report)?;
                changes += 1;
            }
            if plan.service != Service::Restart && !plan.files.is_empty() {
                let entry = gather::entry(desired.inventory, machine, &seed, address.as_deref());
                changes += write_files(desired, machine, &entry)?;
            }
            Ok(changes)
        },
    );
    all(&gathered.machines, results).map(|changes| changes.into_iter().sum())
}

/// Gathers what became of every host; several failures are told together.
pub(crate) fn all<T>(machines: &[Machine<'_>], results: Vec<Result<T>>) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let mut failures = Vec::new();
    for (machine, result) in machines.iter().zip(results) {
        match result {
            Ok(value) => values.push(value),
            Err(error) => failures.push((machine.host.name.clone(), error)),
        }
    }
    match failures.len() {
        0 => Ok(values),
        1 => Err(failures.swap_remove(0).1),
        _ => Err(Error::Hosts { failures }),
    }
}

fn load(desired: &Desired<'_>, archive: &VerifiedArchive) -> Result<Vec<Loaded>> {
    let files = desired.release_files.iter();
    files
        .map(|(digest, put)| {
            Ok(Loaded {
                content: archive.read(digest, put.size)?,
                put: put.clone(),
            })
        })
        .collect()
}

fn install(
    desired: &Desired<'_>,
    machine: &mut Machine<'_>,
    files: &[Loaded],
    report: Report<'_>,
) -> Result<()> {
    let version = &desired.edition.rke2.version;
    let name = machine.host.name.clone();
    for file in files {
        if machine.has(&file.put) {
            continue;
        }
        machine
            .connection
            .put(&file.put, &mut file.content.as_slice())?;
    }
    report(Event::Host {
        host: name.clone(),
        message: format!("installing RKE2 {version}"),
    });
    let folder = desired.release_folder();
    let command = Command::new("env")
        .arg(format!("INSTALL_RKE2_ARTIFACT_PATH={folder}"))
        .args(["sh", folder.join("install.sh").as_str()])
        .as_root()
        .timeout(Duration::from_mins(10));
    machine.connection.check(&command)?;
    let mark = format!("{version}\n");
    machine.connection.put(
        &Put::of(desired.installed_mark(), 0o644, mark.as_bytes()),
        &mut mark.as_bytes(),
    )?;
    Ok(())
}

/// Writes what RKE2 reads at its start; returns how many files changed.
pub(crate) fn write_files(
    desired: &Desired<'_>,
    machine: &mut Machine<'_>,
    entry: &Entry,
) -> Result<u64> {
    let files = look::node_files(desired, machine, entry)?;
    if files
        .iter()
        .any(|file| file.path.starts_with(MANIFESTS_FOLDER))
    {
        // as RKE2 itself makes it; a folder made for a file would be open to all
        let make = Command::new("install").args(["-d", "-m", "0700", MANIFESTS_FOLDER]);
        machine.connection.check(&make.as_root())?;
    }
    let mut changes = 0;
    for file in files {
        changes += u64::from(machine.put(&file)?);
    }
    Ok(changes)
}
