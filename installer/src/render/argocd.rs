//! Argo CD's own objects: the way to the registry, Argo CD itself, and the one ApplicationSet.
//!
//! The ApplicationSet's list grows wave by wave; it never shrinks here, and it owns nothing that would vanish with it. Its template knows
//! only `{{ .key }}`: everything that depends on the component is an element's text, so nothing is interpreted twice.

use airgap_manifests::{IgnoreDifference, SecretSpec, to_yaml};
use base64::Engine;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::{manifests::rendering, registries::SiteRegistryRef};
use crate::{
    Result,
    kube::{APPLICATION_SET, labelled},
};

/// The Secret with the pull account, for helm jobs, in kube-system.
pub const PULL_SECRET: &str = "airgap-registry";
/// The type of a Secret that holds a pull account.
const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";
/// The ConfigMap with the registry's CA, in kube-system.
pub const CA_CONFIG: &str = "airgap-registry-ca";
/// The Secret that tells Argo CD of the charts.
pub const REPOSITORY_SECRET: &str = "airgap-charts";

/// The annotation of a HelmChart that names the job of before its last change.
const FORMER_JOB: &str = "airgap/former-job";

/// A component as the ApplicationSet needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    /// The component's name, which is the Application's.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The Helm release's name.
    pub release: String,
    /// The chart's name.
    pub chart: String,
    /// The chart's version.
    pub version: String,
    /// The values, all layers merged.
    pub values: Value,
    /// What is no drift.
    pub ignore: Vec<IgnoreDifference>,
}

/// A namespace with the labels that a component asks for.
#[must_use]
pub fn namespace(name: &str, labels: &std::collections::BTreeMap<String, String>) -> Value {
    let mut object =
        labelled(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    for (key, value) in labels {
        object["metadata"]["labels"][key] = json!(value);
    }
    object
}

/// The registry's pull account as a pull secret holds it.
#[must_use]
pub fn docker_config(registry: &SiteRegistryRef<'_>) -> Option<SecretString> {
    let (username, password) = registry.pull.as_ref()?;
    let auth = base64(&format!("{username}:{}", password.expose_secret()));
    let config = json!({"auths": {registry.host(): {"username": username, "password": password.expose_secret(), "auth": auth}}});
    Some(config.to_string().into())
}

/// The registry's pull account as helm jobs take it.
#[must_use]
pub fn pull_secret(registry: &SiteRegistryRef<'_>) -> Option<Value> {
    let config = docker_config(registry)?;
    Some(secret(
        "kube-system",
        PULL_SECRET,
        DOCKER_CONFIG,
        &[(".dockerconfigjson", config.expose_secret())],
    ))
}

/// The registry's CA for helm jobs.
#[must_use]
pub fn ca_config(pem: &str) -> Value {
    labelled(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CA_CONFIG, "namespace": "kube-system"}, "data": {"ca.crt": pem}}),
    )
}

/// Where Argo CD finds the charts, with the pull account.
#[must_use]
pub fn repository_secret(namespace: &str, registry: &SiteRegistryRef<'_>) -> Value {
    let url = charts_url(registry);
    let mut data = vec![
        ("type", "helm"),
        ("name", "airgap"),
        ("url", url.as_str()),
        ("enableOCI", "true"),
    ];
    let account = registry
        .pull
        .as_ref()
        .map(|(username, password)| (username.clone(), password.clone()));
    if let Some((username, password)) = &account {
        data.extend([
            ("username", username.as_str()),
            ("password", password.expose_secret()),
        ]);
    }
    let mut object = secret(namespace, REPOSITORY_SECRET, "Opaque", &data);
    object["metadata"]["labels"]["argocd.argoproj.io/secret-type"] = json!("repository");
    object
}

/// Returns the charts' place as Argo CD writes OCI repositories: without a scheme.
fn charts_url(registry: &SiteRegistryRef<'_>) -> String {
    format!("{}/{}/charts", registry.host(), registry.project)
}

/// A Secret with our label.
#[must_use]
pub fn secret(namespace: &str, name: &str, kind: &str, data: &[(&str, &str)]) -> Value {
    let data: Map<String, Value> = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(base64(value))))
        .collect();
    labelled(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "type": kind, "data": data}),
    )
}

/// A HelmChart that RKE2's helm controller installs from the registry. A failed job is tried again in place: reinstalling would drop CRDs.
pub fn helm_chart(
    registry: &SiteRegistryRef<'_>,
    release: &str,
    namespace: &str,
    chart: &str,
    version: &str,
    values: &Value,
) -> Result<Value> {
    let mut spec = json!({
        "chart": format!("oci://{}/{}/charts/{chart}", registry.host(), registry.project),
        "version": version,
        "targetNamespace": namespace,
        "createNamespace": false,
        "failurePolicy": "retry",
        "backOffLimit": 1000,
        "valuesContent": to_yaml(values).map_err(rendering)?,
    });
    if registry.pull.is_some() {
        spec["dockerRegistrySecret"] = json!({"name": PULL_SECRET});
    }
    if registry.own_ca {
        spec["repoCAConfigMap"] = json!({"name": CA_CONFIG});
    }
    if registry.endpoint.starts_with("http://") {
        spec["plainHTTP"] = json!(true);
    }
    Ok(labelled(
        json!({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart", "metadata": {"name": release, "namespace": "kube-system"}, "spec": spec}),
    ))
}

/// Notes on a HelmChart which job of helm's was there before its spec changed: with the change in one write, so that a run which was
/// interrupted after it, or another plan, still knows that this job says nothing of the change.
#[must_use]
pub fn with_former_job(mut chart: Value, uid: &str) -> Value {
    chart["metadata"]["annotations"][FORMER_JOB] = json!(uid);
    chart
}

/// Returns the uid of that job.
#[must_use]
pub fn former_job(chart: &Value) -> Option<&str> {
    chart["metadata"]["annotations"][FORMER_JOB].as_str()
}

/// The ApplicationSet with these components, which are those of all waves so far.
pub fn application_set(
    namespace: &str,
    registry: &SiteRegistryRef<'_>,
    applications: &[Application],
) -> Result<Value> {
    let elements = applications
        .iter()
        .map(element)
        .collect::<Result<Vec<Value>>>()?;
    Ok(set_of(namespace, registry, &elements))
}

/// The ApplicationSet with these elements, each of one component.
#[must_use]
pub fn set_of(namespace: &str, registry: &SiteRegistryRef<'_>, elements: &[Value]) -> Value {
    let keys = json!({"chart": "{{ .chart }}", "version": "{{ .version }}", "release": "{{ .release }}",
        "values": "{{ .values }}", "namespace": "{{ .namespace }}"});
    let mut template = kept(registry, &keys);
    template["project"] = json!("default");
    template["syncPolicy"] = json!({
        "automated": {"prune": true, "selfHeal": true},
        "retry": {"limit": -1, "backoff": {"duration": "10s", "factor": 2, "maxDuration": "3m"}},
        "syncOptions": ["ServerSideApply=true", "CreateNamespace=true", "RespectIgnoreDifferences=true"],
    });
    labelled(json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": APPLICATION_SET, "namespace": namespace},
        "spec": {
            "goTemplate": true,
            "goTemplateOptions": ["missingkey=error"],
            "generators": [{"list": {"elements": elements}}],
            // Applications are made and updated, never deleted with the set, and what they installed never with them
            "syncPolicy": {"applicationsSync": "create-update", "preserveResourcesOnDeletion": true},
            "template": {
                "metadata": {"name": "{{ .name }}", "labels": {crate::kube::MANAGED_BY.0: crate::kube::MANAGED_BY.1}},
                "spec": template,
            },
            "templatePatch": "{{ .patch }}",
        },
    }))
}

/// What an Application's `spec` says of its component once Argo CD has taken the set up: its source and its destination.
///
/// Left out is what changes nothing that is rolled out, and what Argo CD may write in another form.
pub fn application_spec(
    registry: &SiteRegistryRef<'_>,
    application: &Application,
) -> Result<Value> {
    Ok(kept(registry, &element(application)?))
}

/// Where a component's chart is and where it goes, from an element or from the template's names for its keys.
fn kept(registry: &SiteRegistryRef<'_>, element: &Value) -> Value {
    json!({
        "source": {
            "repoURL": charts_url(registry),
            "chart": element["chart"],
            "targetRevision": element["version"],
            "helm": {"releaseName": element["release"], "values": element["values"]},
        },
        "destination": {"server": "https://kubernetes.default.svc", "namespace": element["namespace"]},
    })
}

/// What the set says of a component. Every value is a text: the values are YAML, the patch is JSON.
pub fn element(application: &Application) -> Result<Value> {
    let mut patch = json!({});
    if !application.ignore.is_empty() {
        patch = json!({"spec": {"ignoreDifferences": application.ignore}});
    }
    Ok(json!({
        "name": application.name,
        "namespace": application.namespace,
        "release": application.release,
        "chart": application.chart,
        "version": application.version,
        "values": to_yaml(&application.values).map_err(rendering)?,
        "patch": patch.to_string(),
    }))
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// A Secret that is made once on site, from its values.
#[must_use]
pub fn made_secret(
    namespace: &str,
    spec: &SecretSpec,
    values: &std::collections::BTreeMap<String, SecretString>,
) -> Value {
    let kind = if values.contains_key("tls.crt") && values.contains_key("tls.key") {
        "kubernetes.io/tls"
    } else if values.contains_key(".dockerconfigjson") {
        DOCKER_CONFIG
    } else {
        "Opaque"
    };
    let data: Vec<(&str, &str)> = values
        .iter()
        .map(|(key, value)| (key.as_str(), value.expose_secret()))
        .collect();
    let mut object = secret(namespace, &spec.name, kind, &data);
    for (key, value) in &spec.labels {
        object["metadata"]["labels"][key] = json!(value);
    }
    object
}
