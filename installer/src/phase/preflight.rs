//! preflight: every reason to fail, from what hosts, registry and inventory say. The judgement itself is in [`mod@crate::preflight`].

use airgap_archive::{Role, VerifiedArchive};

use super::registry::{self, Reached};
use crate::{
    Error, Finding, Report, Result, Severity,
    desired::Desired,
    event::Event,
    facts::{self, Probe},
    for_each_host,
    inventory::Inventory,
    machine::Machine,
    plan::InstallPlan,
    preflight::{self, Demands, Gathered, grouped},
};

/// Says what the bundle asks of the hosts.
pub(crate) fn demands(
    desired: &Desired<'_>,
    archive: &VerifiedArchive,
    allow_small: bool,
) -> Result<Demands> {
    let edition = desired.edition;
    let mut blobs = std::collections::HashMap::new();
    for entry in archive
        .entries()
        .iter()
        .filter(|entry| entry.role == Role::Image)
    {
        collect(archive, entry.descriptor.digest(), &mut blobs)?;
    }
    Ok(Demands {
        platform: edition.platform.clone(),
        rke2_version: edition.rke2.version.clone(),
        cni: edition.rke2.cni.clone(),
        image_bytes: blobs.values().sum(),
        release_bytes: desired.release_files.iter().map(|(_, put)| put.size).sum(),
        min_nodes: edition.min_nodes,
        allow_small,
        memory: desired
            .components()
            .filter_map(|(_, component)| component.requests.as_ref())
            .map(|requests| requests.memory.0)
            .sum(),
        longhorn: desired.components().any(|(name, _)| name == "longhorn"),
    })
}

fn collect(
    archive: &VerifiedArchive,
    digest: &oci_spec::image::Digest,
    blobs: &mut std::collections::HashMap<oci_spec::image::Digest, u64>,
) -> Result<()> {
    for reference in archive.references(digest)? {
        if blobs
            .insert(reference.digest().clone(), reference.size())
            .is_none()
            && archive.references(reference.digest()).is_ok()
        {
            collect(archive, reference.digest(), blobs)?;
        }
    }
    Ok(())
}

/// Finds everything. Hosts try each other's ports only while some of them do not run RKE2 yet.
pub(crate) fn findings(
    desired: &Desired<'_>,
    demands: &Demands,
    machines: &mut [Machine<'_>],
    reached: &Result<Reached>,
) -> Result<Vec<Finding>> {
    let probes = if machines.iter().all(|machine| machine.facts.rke2.active) {
        Vec::new()
    } else {
        probe(desired.inventory, machines, demands)?
    };
    let facts: Vec<_> = machines
        .iter()
        .map(|machine| machine.facts.clone())
        .collect();
    let mut found = preflight::preflight(
        desired.inventory,
        demands,
        Gathered {
            facts: &facts,
            probes: &probes,
        },
    );
    match reached {
        Ok(reached) => found.extend(registry::findings(desired, reached)),
        Err(error) => found.push(registry::unusable(error)),
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(found)
}

fn probe(
    inventory: &Inventory,
    machines: &mut [Machine<'_>],
    demands: &Demands,
) -> Result<Vec<(String, Vec<Probe>)>> {
    let results = for_each_host(inventory.options.parallel_hosts, machines, |machine| {
        let targets = preflight::probe_targets(inventory, &machine.host.name, demands);
        Ok::<_, Error>((
            machine.host.name.clone(),
            facts::probe(&mut machine.connection, &targets)?,
        ))
    });
    results.into_iter().collect()
}

/// A host that nothing is done to cannot fail for what is wrong with it: that is worth a warning, and no reason to refuse the others.
pub(crate) fn spare_what_stays(findings: &mut [Finding], plan: &InstallPlan, reached: bool) {
    let stays = |name: &str| {
        plan.hosts
            .iter()
            .any(|host| host.host == name && host.is_empty())
    };
    for finding in findings {
        // without the registry's answer nobody knows whether nothing is to be done
        if (reached && plan.is_empty()) || finding.host.as_deref().is_some_and(stays) {
            finding.severity = finding.severity.min(Severity::Warning);
        }
    }
}

/// Tells whether a finding is an error.
pub(crate) fn forbids(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.severity == Severity::Error)
}

/// Refuses to go on over an error; everything else is told.
pub(crate) fn refuse(findings: &[Finding], report: Report<'_>) -> Result<()> {
    if forbids(findings) {
        return Err(Error::Preflight {
            findings: findings.to_vec(),
        });
    }
    for (finding, hosts) in grouped(findings)
        .into_iter()
        .filter(|(finding, _)| finding.severity == Severity::Warning)
    {
        let place = if hosts.is_empty() {
            String::new()
        } else {
            format!("{}: ", hosts.join(", "))
        };
        report(Event::Warning {
            message: format!(
                "{place}{} ({}); {}",
                finding.seen, finding.why, finding.remedy
            ),
        });
    }
    Ok(())
}
