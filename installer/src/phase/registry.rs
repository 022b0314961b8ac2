//! registry: the site's registry is reached, looked at, and filled.

use airgap_archive::{DeltaBase, VerifiedArchive};
use airgap_registry::{Access, ProjectName, ProjectState, RetryPolicy, SiteConfig, SiteRegistry};
use secrecy::SecretString;

use crate::{
    Error, Finding, Report, Result, Severity,
    desired::Desired,
    event::Event,
    push::{self, PushPlan},
};

/// How a Harbor takes writes again.
const WRITABLE: &str =
    "switch read-only mode off under Administration, Configuration, System Settings";

/// The registry as it answered.
pub(crate) struct Reached {
    pub(crate) registry: SiteRegistry,
    /// What the push account may do; not asked where nothing is missing.
    pub(crate) access: Option<Access>,
    pub(crate) plan: PushPlan,
    /// What the bundle builds on, where it is a delta.
    pub(crate) base: Option<DeltaBase>,
}

/// Connects with the push account and asks for every tag; probes its rights only if something is missing. Changes nothing.
pub(crate) async fn reach(
    desired: &Desired<'_>,
    archive: &VerifiedArchive,
    jobs: usize,
    report: Report<'_>,
) -> Result<Reached> {
    let registry = SiteRegistry::connect(config(desired, Some(desired.push.clone()))?).await?;
    let plan = push::plan(&registry, archive, jobs, report).await;
    if plan.as_ref().is_ok_and(PushPlan::is_empty) {
        return Ok(Reached {
            registry,
            access: None,
            plan: plan?,
            base: archive.info().delta.clone(),
        });
    }
    // a project that is missing refuses every question; the probe says so
    let access = registry.probe().await?;
    let plan = if access.project == ProjectState::Missing {
        push::plan_for_empty(archive)?
    } else {
        plan?
    };
    Ok(Reached {
        registry,
        access: Some(access),
        plan,
        base: archive.info().delta.clone(),
    })
}

fn config(desired: &Desired<'_>, login: Option<(String, SecretString)>) -> Result<SiteConfig> {
    let registry = &desired.inventory.registry;
    Ok(SiteConfig {
        endpoint: registry.endpoint.clone(),
        project: ProjectName::parse(&registry.project)?,
        addresses: registry.addresses.clone(),
        ca_pem: desired.ca_pem.clone(),
        login,
        retry: RetryPolicy::default(),
    })
}

/// Says what is wrong with the registry for this bundle.
pub(crate) fn findings(desired: &Desired<'_>, reached: &Reached) -> Vec<Finding> {
    let registry = &desired.inventory.registry;
    let needed = reached.plan.summary.bytes;
    let mut findings: Vec<Finding> = without_base(&registry.project, reached)
        .into_iter()
        .collect();
    let Some(access) = &reached.access else {
        return findings;
    };
    let mut add = |id, severity, seen: String, why: &str, remedy: String| {
        findings.push(Finding {
            id,
            severity,
            host: None,
            seen,
            why: why.to_owned(),
            remedy,
        });
    };
    if let Some(said) = lacks_right(access) {
        add(
            "registry.push",
            Severity::Error,
            format!(
                "account {} may not push to project {} at {}{said}",
                desired.push.0, registry.project, registry.endpoint
            ),
            "every image and chart goes there before a node is touched",
            format!(
                "give the account the role developer in project {}, or a robot account with `repository: push` and `pull`",
                registry.project
            ),
        );
    }
    if access.read_only {
        add(
            "registry.read-only",
            Severity::Error,
            format!("{} is in read-only mode", registry.endpoint),
            "nothing can be pushed",
            WRITABLE.to_owned(),
        );
    }
    match access.quota {
        Some(quota) => {
            let free = quota.free();
            let limit = quota.limit.unwrap_or(u64::MAX);
            if needed > limit {
                add(
                    "registry.quota",
                    Severity::Error,
                    format!(
                        "project {} may hold {limit} bytes, the bundle needs up to {needed}",
                        registry.project
                    ),
                    "the push would stop when the quota is full",
                    format!(
                        "raise the quota of project {} to at least {needed} bytes",
                        registry.project
                    ),
                );
            } else if free.is_some_and(|free| needed > free) {
                add(
                    "registry.quota",
                    Severity::Warning,
                    format!(
                        "project {} has {} bytes left, the bundle needs up to {needed}, less what is there already",
                        registry.project,
                        free.unwrap_or(0)
                    ),
                    "the push stops when the quota is full; nothing is lost then, and the next run goes on from there",
                    format!("raise the quota of project {}", registry.project),
                );
            }
        }
        None => add(
            "registry.quota",
            Severity::Notice,
            format!(
                "the quota of project {} cannot be read with this account; up to {needed} bytes are needed",
                registry.project
            ),
            "the push stops when a quota is full; nothing is lost then",
            "make sure that there is room".to_owned(),
        ),
    }
    findings
}

/// Returns what the registry says of a right to push that is missing. Without a project, or in read-only mode, nothing is known of it.
fn lacks_right(access: &Access) -> Option<String> {
    let known = access.project != ProjectState::Missing && !access.read_only;
    (known && !access.push).then(|| {
        let said = access.refusal.as_ref();
        said.map(|words| format!(": {words}")).unwrap_or_default()
    })
}

/// Says which release a delta needs whose base is not there.
fn without_base(project: &str, reached: &Reached) -> Option<Finding> {
    let base = reached.base.as_ref()?;
    let unproven = reached.plan.summary.unproven;
    (unproven > 0).then(|| Finding {
        id: "registry.delta",
        severity: Severity::Error,
        host: None,
        seen: format!("{unproven} layers that this delta leaves out are not in project {project}"),
        why: "a delta carries only what its base does not, and the nodes need everything".to_owned(),
        remedy: format!(
            "install the bundle of version {} (release {}) first, or use the whole bundle in place of the delta",
            base.version, base.release
        ),
    })
}

/// Turns a registry that cannot be used into a finding, so that preflight names it beside everything else.
pub(crate) fn unusable(error: &Error) -> Finding {
    let mut seen = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        seen = format!("{seen}: {cause}");
        source = cause.source();
    }
    let remedy = match error {
        Error::Registry(airgap_registry::Error::CertificateUntrusted { .. }) => {
            "set `registry.caFile` to the CA that signed the registry's certificate"
        }
        Error::Registry(airgap_registry::Error::Unauthorized { .. }) => {
            "check `registry.push`: the user name (a robot's begins with `robot$`) and its password"
        }
        Error::Registry(airgap_registry::Error::NameUnresolved { .. }) => {
            "correct `registry.endpoint`, or give `registry.addresses` where no DNS knows the name"
        }
        Error::Registry(airgap_registry::Error::ProjectMissing { .. }) => {
            "create the project, or give the push account the right to create it"
        }
        Error::Registry(airgap_registry::Error::Forbidden { .. }) => {
            "give the push account `repository: push` and `pull` in the project"
        }
        Error::Registry(airgap_registry::Error::Policy { .. }) => {
            "exempt the project from the registry's policy: in Harbor under its Configuration, Deployment security"
        }
        Error::Registry(airgap_registry::Error::ReadOnly { .. }) => WRITABLE,
        Error::Registry(airgap_registry::Error::RateLimited { .. }) => {
            "raise the registry's limit of requests for this machine, or try again later with fewer `--jobs`"
        }
        _ => "make the registry reachable from this machine",
    };
    Finding {
        id: "registry.unusable",
        severity: Severity::Error,
        host: None,
        seen,
        why: "the registry serves every image of the cluster, for as long as it lives".to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// Makes the project if need be, sends what is missing, and proves that the pull account can read.
pub(crate) async fn fill(
    desired: &Desired<'_>,
    archive: &VerifiedArchive,
    reached: &Reached,
    jobs: usize,
    report: Report<'_>,
) -> Result<()> {
    if reached
        .access
        .as_ref()
        .is_some_and(|access| access.project == ProjectState::Missing)
    {
        reached.registry.ensure_project().await?;
        report(Event::Notice {
            message: format!("project {} was created", desired.inventory.registry.project),
        });
    }
    let summary = &reached.plan.summary;
    report(Event::PushPlanned {
        tags: summary.missing,
        present: summary.present,
        blobs: summary.blobs,
        bytes: summary.bytes,
    });
    reached
        .plan
        .run(&reached.registry, archive, jobs, report)
        .await?;
    prove_pull(desired).await
}

/// Reads as the nodes will: with the pull account.
pub(crate) async fn prove_pull(desired: &Desired<'_>) -> Result<()> {
    let reader = SiteRegistry::connect(config(desired, desired.registry.pull.clone())?).await?;
    Ok(reader.probe_pull().await?)
}

#[cfg(test)]
mod tests {
    use airgap_registry::Flavour;

    use super::*;

    #[test]
    fn read_only_mode_is_no_missing_right() {
        let access = |push, read_only, refusal: Option<&str>| Access {
            flavour: Flavour::Plain,
            project: ProjectState::Exists,
            push,
            refusal: refusal.map(str::to_owned),
            read_only,
            quota: None,
        };
        assert_eq!(lacks_right(&access(true, false, None)), None);
        assert_eq!(lacks_right(&access(false, true, None)), None);
        assert_eq!(
            lacks_right(&access(false, false, None)),
            Some(String::new())
        );
        let words = "DENIED: can not push artifact to a proxy project";
        let said = lacks_right(&access(false, false, Some(words)));
        assert_eq!(said, Some(format!(": {words}")));
    }

    #[test]
    fn what_answers_is_not_called_unreachable() {
        let (host, object) = (String::from("h"), String::from("o"));
        let errors = [
            airgap_registry::Error::Policy {
                host: host.clone(),
                object: object.clone(),
                message: "not signed".into(),
            },
            airgap_registry::Error::ReadOnly {
                host: host.clone(),
                object: object.clone(),
            },
            airgap_registry::Error::RateLimited {
                host,
                object,
                attempts: 6,
                retry_after: None,
            },
        ];
        let remedies = errors.map(|error| unusable(&Error::Registry(error)).remedy);
        for (remedy, words) in remedies.iter().zip(["policy", "read-only", "limit"]) {
            assert!(remedy.contains(words), "{remedy}");
        }
    }
}
