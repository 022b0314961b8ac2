//! Whether a component is there and well, and if not, why: read from Argo CD's Applications.

use airgap_manifests::Gate;
use serde_json::Value;

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
