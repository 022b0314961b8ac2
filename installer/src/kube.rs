//! The cluster's API, asked and told through kubectl on the seed.
//!
//! Nothing listens for us and no credential leaves the node: RKE2's own kubectl runs there with RKE2's own kubeconfig, objects go over
//! stdin, and answers come back as JSON. One script reads everything a run needs to know, so that a run that changes nothing asks once.

mod kubeconfig;
mod kubectl;
mod node;
mod state;

use std::collections::BTreeMap;

use base64::Engine;
use secrecy::SecretString;
use serde_json::{Value, json};

pub use kubeconfig::kubeconfig_for;
pub use kubectl::Kubectl;
pub use node::NodeView;
pub use state::ClusterState;

/// The label of everything the installer applies or makes.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "airgap");
/// The namespace Argo CD's own objects are in, unless the edition says otherwise.
pub const ARGOCD_NAMESPACE: &str = "argocd";
/// The ApplicationSet.
pub const APPLICATION_SET: &str = "airgap";

/// Names an object for people: `Secret argocd/airgap-charts`.
#[must_use]
pub fn name_of(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let namespace = object["metadata"]["namespace"]
        .as_str()
        .map(|namespace| format!("{namespace}/"))
        .unwrap_or_default();
    format!(
        "{} {namespace}{}",
        word(&object["kind"]),
        word(&object["metadata"]["name"])
    )
}

/// Returns what a Secret of the cluster holds, as far as it is text.
pub(crate) fn secret_values(secret: &Value) -> BTreeMap<String, SecretString> {
    let decode = |value: &Value| {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(value.as_str()?)
            .ok()?;
        String::from_utf8(bytes).ok().map(SecretString::from)
    };
    let data = secret["data"].as_object().into_iter().flatten();
    data.filter_map(|(key, value)| Some((key.clone(), decode(value)?)))
        .collect()
}

/// Adds our label to an object.
#[must_use]
pub fn labelled(mut object: Value) -> Value {
    object["metadata"]["labels"][MANAGED_BY.0] = json!(MANAGED_BY.1);
    object
}
