//! The job of a HelmChart, and what HelmChart and job say of each other.
//!
//! As in the real helm controller a job is never changed: for another spec it is deleted, and made anew under the same name, with the
//! hash of what it was made for on its pod template. Until then the former job is there, complete as it was.

use serde_json::{Value, json};

use super::{kind, text};
use crate::rke2::api;
use crate::rke2::fail::Result;
use crate::rke2::pull::sha256;
use crate::rke2::store::State;

const CONFIG_HASH: &str = "helmcharts.helm.cattle.io/configHash";
const CHART: &str = "helmcharts.helm.cattle.io/chart";

/// The hash of what a chart's job is made for.
pub(super) fn hash(chart: &Value, config: &Value) -> String {
    let digest = sha256(format!("{}{}", chart["spec"], config["spec"]).as_bytes());
    let hex = digest.trim_start_matches("sha256:").to_uppercase();
    format!("SHA256={hex}")
}

/// What was made for a chart so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Job {
    /// None.
    Missing,
    /// One of before the change.
    Former,
    /// One that has yet to succeed.
    Runs,
    /// One that has.
    Complete,
}

/// Looks for the job of a chart.
pub(super) fn find(state: &State, chart: &Value, hash: &str) -> Result<Job> {
    let (namespace, name) = names(chart);
    Ok(
        match state.objects.get(&kind("Job")?.key(namespace, &name)) {
            None => Job::Missing,
            Some(job)
                if job["spec"]["template"]["metadata"]["annotations"][CONFIG_HASH] != hash =>
            {
                Job::Former
            }
            Some(job) if job["status"]["succeeded"] == 1 => Job::Complete,
            Some(_) => Job::Runs,
        },
    )
}

/// Deletes the former job of a chart and makes the one for now.
pub(super) fn replace(state: &mut State, chart: &Value, hash: &str) -> Result<()> {
    let jobs = kind("Job")?;
    let (namespace, name) = names(chart);
    let key = jobs.key(namespace, &name);
    let metadata = &chart["metadata"];
    let labels = json!({CHART: metadata["name"]});
    let owner = json!({"apiVersion": chart["apiVersion"], "kind": "HelmChart", "name": metadata["name"], "uid": metadata["uid"]});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": [owner]},
        "spec": {"template": {"metadata": {"labels": labels, "annotations": {CONFIG_HASH: hash}}}}, "status": {}});
    state.objects.remove(&key);
    api::store(state, &jobs, &key, job);
    Ok(())
}

/// Conditions on the HelmChart and on its job.
pub(super) fn report(state: &mut State, chart: &Value, error: Option<&str>) -> Result<()> {
    let (charts, jobs) = (kind("HelmChart")?, kind("Job")?);
    let (namespace, job_name) = names(chart);
    let truth = |truth: bool| if truth { "True" } else { "False" };
    let message = error.unwrap_or_default();
    let key = charts.key(namespace, text(&chart["metadata"]["name"]));
    let Some(mut live) = state.objects.get(&key).cloned() else {
        return Ok(());
    };
    live["status"] = json!({"jobName": job_name, "conditions": [{"type": "JobCreated", "status": "True", "reason": "Job created"},
        {"type": "Failed", "status": truth(error.is_some()), "message": message}]});
    api::store(state, &charts, &key, live);
    let key = jobs.key(namespace, &job_name);
    let Some(mut job) = state.objects.get(&key).cloned() else {
        return Ok(());
    };
    job["metadata"]["annotations"]["standin.airgap/log"] = message.into();
    job["status"] = json!({"succeeded": usize::from(error.is_none()), "failed": usize::from(error.is_some()),
        "conditions": [{"type": "Complete", "status": truth(error.is_none())}]});
    api::store(state, &jobs, &key, job);
    Ok(())
}

/// The chart's namespace, and the name of its job there.
fn names(chart: &Value) -> (&str, String) {
    let name = text(&chart["metadata"]["name"]);
    (
        text(&chart["metadata"]["namespace"]),
        format!("helm-install-{name}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rke2::store::fake;

    #[test]
    fn a_changed_chart_gets_another_job_and_the_former_one_stays_complete_until_then() {
        let mut state = fake::empty();
        let chart = |version: &str| json!({"metadata": {"namespace": "kube-system", "name": "argo-cd"}, "spec": {"version": version}});
        let charts = kind("HelmChart").unwrap();
        let key = charts.key("kube-system", "argo-cd");
        api::store(&mut state, &charts, &key, chart("1"));
        let (old, new) = (
            hash(&chart("1"), &Value::Null),
            hash(&chart("2"), &Value::Null),
        );
        assert_eq!(find(&state, &chart("1"), &old).unwrap(), Job::Missing);
        replace(&mut state, &chart("1"), &old).unwrap();
        assert_eq!(find(&state, &chart("1"), &old).unwrap(), Job::Runs);
        report(&mut state, &chart("1"), Some("no such chart")).unwrap();
        assert_eq!(find(&state, &chart("1"), &old).unwrap(), Job::Runs);
        report(&mut state, &chart("1"), None).unwrap();
        assert_eq!(find(&state, &chart("1"), &old).unwrap(), Job::Complete);

        let uid = |state: &State| {
            state.objects["batch/jobs/kube-system/helm-install-argo-cd"]["metadata"]["uid"].clone()
        };
        let former = uid(&state);
        assert_eq!(find(&state, &chart("2"), &new).unwrap(), Job::Former);
        replace(&mut state, &chart("2"), &new).unwrap();
        assert_ne!(uid(&state), former);
        assert_eq!(find(&state, &chart("2"), &new).unwrap(), Job::Runs);
    }
}
