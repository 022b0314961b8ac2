//! Whether a component is there and well, and if not, why: read from Argo CD's Applications and from helm's jobs.
//!
//! A status counts only for what it was made for: neither Argo CD nor the helm controller takes its former verdict back when what is asked
//! of it changes. Left out: waiting, which is `phase::gates`'.

use airgap_manifests::Gate;
use serde_json::Value;

use crate::render::covers;

/// Returns why an Application is not yet at `spec`, or does not pass its gate there; `None` when it is and does.
pub(crate) fn unmet(application: Option<&Value>, spec: &Value, gate: Gate) -> Option<String> {
    let trouble = trouble(application, gate);
    let Some(behind) = application.and_then(|application| behind(application, spec)) else {
        return trouble;
    };
    Some(match trouble {
        Some(trouble) => format!("{behind}: {trouble}"),
        None => behind.to_owned(),
    })
}

/// Returns what still is that of before, although `spec` is asked for: the ApplicationSet's controller updates the Application, and then
/// another compares it. The latter's own rule for what it must compare anew is the same as here: `status.sync.comparedTo`, the source and
/// destination that the status was made with, is not what the `spec` says (`needRefreshAppStatus` in Argo CD 3.4).
fn behind(application: &Value, spec: &Value) -> Option<&'static str> {
    let present = &application["spec"];
    if !covers(present, spec) {
        return Some("Argo CD has not brought its Application to what is asked for yet");
    }
    let compared = &application["status"]["sync"]["comparedTo"];
    let same = |part: &str| {
        covers(&compared[part], &present[part]) && covers(&present[part], &compared[part])
    };
    (!same("source") || !same("destination"))
        .then_some("Argo CD has not compared what is asked for with the cluster yet")
}

/// Names the job with which RKE2's helm controller installs a chart.
pub(crate) fn helm_job(release: &str) -> String {
    format!("helm-install-{release}")
}

/// Returns why helm has not installed a chart as its HelmChart is now, from the jobs of kube-system; `None` when it has.
///
/// The helm controller never changes a job: for another chart, version or values it deletes the job and makes a new one under the same
/// name (`hashObjects` and `reconcileJob` in helm-controller 0.17). So a job that was there before the change, `former`, says nothing of what
/// came after, however complete it is. A HelmChart's own status does not say which generation it is of.
pub(crate) fn helm_trouble(job: &str, jobs: &[Value], former: Option<&str>) -> Option<String> {
    let Some(found) = jobs.iter().find(|found| found["metadata"]["name"] == job) else {
        return Some(format!("job {job} has not been made yet"));
    };
    if former.is_some() && found["metadata"]["uid"].as_str() == former {
        return Some(format!(
            "job {job} is still the one of before the change; if it stays, `kubectl -n kube-system delete job {job}` has helm run again"
        ));
    }
    let conditions = found["status"]["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let complete =
        |condition: &Value| condition["type"] == "Complete" && condition["status"] == "True";
    if conditions.iter().any(complete) {
        return None;
    }
    let failed = found["status"]["failed"].as_u64().unwrap_or(0);
    let message = conditions
        .iter()
        .find_map(|condition| condition["message"].as_str())
        .unwrap_or("it runs");
    Some(format!(
        "helm has not installed it yet ({failed} failed attempts): {message}"
    ))
}

/// Returns why an Application does not pass its gate, in one line; `None` when it does.
pub(crate) fn trouble(application: Option<&Value>, gate: Gate) -> Option<String> {
    let Some(application) = application else {
        return Some("Argo CD has not made its Application yet".to_owned());
    };
    let status = &application["status"];
    let sync = status["sync"]["status"].as_str().unwrap_or("Unknown");
    let health = status["health"]["status"].as_str().unwrap_or("Unknown");
    let synced = sync == "Synced";
    if synced && (health == "Healthy" || gate == Gate::Manual) {
        return None;
    }
    let mut words = format!("{sync}, {health}");
    for reason in reasons(status) {
        words.push_str("; ");
        words.push_str(&reason);
    }
    Some(words)
}

/// Collects what Argo CD says of it, the most telling first, without repeats.
fn reasons(status: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(one_line).filter(|text| !text.is_empty());
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut reasons: Vec<String> = Vec::new();
    let mut add = |reason: Option<String>| {
        if let Some(reason) = reason
            && !reasons.contains(&reason)
        {
            reasons.push(reason);
        }
    };
    for condition in list(&status["conditions"]) {
        add(text(&condition["message"]));
    }
    for resource in list(&status["resources"]) {
        let health = &resource["health"];
        if let Some(state) = health["status"]
            .as_str()
            .filter(|state| !matches!(*state, "Healthy" | "Suspended"))
        {
            let kind = resource["kind"].as_str().unwrap_or("object");
            let name = resource["name"].as_str().unwrap_or("?");
            add(Some(match text(&health["message"]) {
                Some(message) => format!("{kind} {name} is {state}: {message}"),
                None => format!("{kind} {name} is {state}"),
            }));
        }
    }
    let operation = &status["operationState"];
    if operation["phase"]
        .as_str()
        .is_some_and(|phase| phase != "Succeeded")
    {
        add(text(&operation["message"]));
    }
    add(text(&status["health"]["message"]));
    reasons.truncate(3);
    reasons
}

fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(240) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_healthy_application_passes_and_a_manual_gate_needs_only_the_sync() {
        let well =
            json!({"status": {"sync": {"status": "Synced"}, "health": {"status": "Healthy"}}});
        assert_eq!(trouble(Some(&well), Gate::Healthy), None);
        let sealed =
            json!({"status": {"sync": {"status": "Synced"}, "health": {"status": "Degraded"}}});
        assert_eq!(trouble(Some(&sealed), Gate::Manual), None);
        assert!(trouble(Some(&sealed), Gate::Healthy).is_some());
    }

    fn asked(version: &str) -> Value {
        json!({
            "source": {"repoURL": "harbor/airgap/charts", "chart": "web", "targetRevision": version, "helm": {"releaseName": "web", "values": "a: 1\n"}},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "web"},
        })
    }

    fn well(spec: &Value, compared: &Value) -> Value {
        json!({"spec": spec, "status": {"sync": {"status": "Synced", "comparedTo": compared}, "health": {"status": "Healthy"}}})
    }

    #[test]
    fn a_status_of_before_the_change_is_none_of_after_it() {
        let (old, new) = (asked("1.0.0"), asked("1.1.0"));
        let unmet = |application: &Value| unmet(Some(application), &new, Gate::Healthy);
        assert!(
            unmet(&well(&old, &old))
                .expect("the former Application")
                .contains("has not brought its Application")
        );
        assert!(
            unmet(&well(&new, &old))
                .expect("the former comparison")
                .contains("has not compared")
        );
        assert_eq!(unmet(&well(&new, &new)), None);
        // values alone are a change too, and a manual gate waits for them as well
        let mut values = new.clone();
        values["source"]["helm"]["values"] = json!("a: 2\n");
        assert!(super::unmet(Some(&well(&values, &new)), &values, Gate::Manual).is_some());
        let mut moved = new.clone();
        moved["destination"]["namespace"] = json!("elsewhere");
        assert!(super::unmet(Some(&well(&moved, &new)), &moved, Gate::Healthy).is_some());
    }

    #[test]
    fn fields_that_argo_cd_adds_are_no_difference() {
        let new = asked("1.1.0");
        let mut added = new.clone();
        added["project"] = json!("default");
        added["source"]["helm"]["skipCrds"] = json!(false);
        let compared = json!({"source": added["source"], "destination": added["destination"], "ignoreDifferences": []});
        assert_eq!(
            unmet(Some(&well(&added, &compared)), &new, Gate::Healthy),
            None
        );
    }

    #[test]
    fn what_argo_cd_says_is_told_along_with_what_is_still_that_of_before() {
        let (old, new) = (asked("1.0.0"), asked("1.1.0"));
        let failed = json!({"spec": new, "status": {"sync": {"status": "Unknown", "comparedTo": old}, "health": {"status": "Unknown"},
            "conditions": [{"type": "ComparisonError", "message": "no such chart"}]}});
        assert_eq!(
            unmet(Some(&failed), &new, Gate::Healthy).as_deref(),
            Some(
                "Argo CD has not compared what is asked for with the cluster yet: Unknown, Unknown; no such chart"
            )
        );
    }

    #[test]
    fn a_job_of_before_the_change_is_no_proof_of_it() {
        let job = |uid: &str, complete: &str| {
            vec![
                json!({"metadata": {"name": "helm-install-argo-cd", "uid": uid}, "status": {"conditions": [{"type": "Complete", "status": complete}]}}),
            ]
        };
        let name = helm_job("argo-cd");
        let trouble = |jobs: &[Value]| helm_trouble(&name, jobs, Some("a"));
        assert!(
            trouble(&job("a", "True"))
                .expect("the former job")
                .contains("delete job helm-install-argo-cd")
        );
        assert!(
            trouble(&job("b", "False"))
                .expect("a job that runs")
                .contains("it runs")
        );
        assert_eq!(trouble(&job("b", "True")), None);
        assert!(trouble(&[]).is_some());
        assert_eq!(helm_trouble(&name, &job("a", "True"), None), None);
    }

    #[test]
    fn the_reason_names_the_object_and_what_argo_cd_says() {
        let ill = json!({"status": {
            "sync": {"status": "OutOfSync"}, "health": {"status": "Degraded"},
            "conditions": [{"type": "ComparisonError", "message": "failed to pull\n  chart"}],
            "resources": [{"kind": "Deployment", "name": "web", "health": {"status": "Degraded", "message": "no image"}}, {"kind": "Service", "name": "web", "health": {"status": "Healthy"}}],
            "operationState": {"phase": "Failed", "message": "failed to pull chart"},
        }});
        assert_eq!(
            trouble(Some(&ill), Gate::Healthy).as_deref(),
            Some("OutOfSync, Degraded; failed to pull chart; Deployment web is Degraded: no image")
        );
        assert!(trouble(None, Gate::Healthy).is_some());
    }
}
