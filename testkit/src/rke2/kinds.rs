//! The kinds of object the stand-in's API server serves.

use serde::{Deserialize, Serialize};

use super::store::State;

/// One kind, as discovery tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "Kubernetes calls the field so")]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) short: Vec<String>,
    pub(crate) namespaced: bool,
}

/// group, version, kind, plural, short names, namespaced
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    bool,
);

const BUILT_IN: &[Row] = &[
    ("", "v1", "Node", "nodes", &["no"], false),
    ("", "v1", "Namespace", "namespaces", &["ns"], false),
    ("", "v1", "Secret", "secrets", &[], true),
    ("", "v1", "ConfigMap", "configmaps", &["cm"], true),
    ("", "v1", "Pod", "pods", &["po"], true),
    ("", "v1", "Service", "services", &["svc"], true),
    ("", "v1", "ServiceAccount", "serviceaccounts", &["sa"], true),
    ("", "v1", "Event", "events", &["ev"], true),
    ("apps", "v1", "Deployment", "deployments", &["deploy"], true),
    ("apps", "v1", "DaemonSet", "daemonsets", &["ds"], true),
    ("apps", "v1", "StatefulSet", "statefulsets", &["sts"], true),
    ("batch", "v1", "Job", "jobs", &[], true),
    ("coordination.k8s.io", "v1", "Lease", "leases", &[], true),
    (
        "storage.k8s.io",
        "v1",
        "StorageClass",
        "storageclasses",
        &["sc"],
        false,
    ),
    (
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        &["crd", "crds"],
        false,
    ),
    (
        "helm.cattle.io",
        "v1",
        "HelmChart",
        "helmcharts",
        &["hc"],
        true,
    ),
    (
        "helm.cattle.io",
        "v1",
        "HelmChartConfig",
        "helmchartconfigs",
        &["hcc"],
        true,
    ),
    ("k3s.cattle.io", "v1", "Addon", "addons", &[], true),
];

const ARGO_CD: &[Row] = &[
    (
        "argoproj.io",
        "v1alpha1",
        "Application",
        "applications",
        &["app", "apps"],
        true,
    ),
    (
        "argoproj.io",
        "v1alpha1",
        "ApplicationSet",
        "applicationsets",
        &["appset", "appsets"],
        true,
    ),
    (
        "argoproj.io",
        "v1alpha1",
        "AppProject",
        "appprojects",
        &["appproj", "appprojs"],
        true,
    ),
];

fn kind(row: &Row) -> Kind {
    let (group, version, name, plural, short, namespaced) = *row;
    Kind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: name.to_owned(),
        plural: plural.to_owned(),
        short: short.iter().map(|text| (*text).to_owned()).collect(),
        namespaced,
    }
}

/// The key under which the Argo CD release is recorded once its chart is installed.
pub(crate) const ARGO_CD_MARK: &str =
    "apiextensions.k8s.io/customresourcedefinitions//applicationsets.argoproj.io";

/// Every kind that is served now; Argo CD's only after its chart was installed.
pub(crate) fn served(state: &State) -> Vec<Kind> {
    let argo = if state.objects.contains_key(ARGO_CD_MARK) {
        ARGO_CD
    } else {
        &[]
    };
    BUILT_IN.iter().chain(argo).map(kind).collect()
}

/// A built-in kind by name, for the stand-in's own controllers.
pub(crate) fn by_kind(name: &str) -> Option<Kind> {
    BUILT_IN
        .iter()
        .chain(ARGO_CD)
        .find(|row| row.2 == name)
        .map(kind)
}

impl Kind {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Key of an object in the store.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        let namespace = if self.namespaced { namespace } else { "" };
        format!("{}/{}/{namespace}/{name}", self.group, self.plural)
    }

    /// Prefix of every object of the kind, in one namespace or in all.
    pub(crate) fn prefix(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) if self.namespaced => {
                format!("{}/{}/{namespace}/", self.group, self.plural)
            }
            _ => format!("{}/{}/", self.group, self.plural),
        }
    }

    /// URL path of the kind, as the real API server has it.
    pub(crate) fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            "/api/v1".to_owned()
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        let namespace = namespace
            .filter(|_| self.namespaced)
            .map(|ns| format!("/namespaces/{ns}"))
            .unwrap_or_default();
        let name = name.map(|name| format!("/{name}")).unwrap_or_default();
        format!("{root}{namespace}/{}{name}", self.plural)
    }

    /// Whether `word` names the kind on a command line.
    pub(crate) fn answers_to(&self, word: &str) -> bool {
        let word = word.to_ascii_lowercase();
        let full = format!("{}.{}", self.plural, self.group);
        let versioned = format!("{}.{}.{}", self.plural, self.version, self.group);
        let singular = self.kind.to_ascii_lowercase();
        word == self.plural
            || word == singular
            || self.short.contains(&word)
            || (!self.group.is_empty() && (word == full || word == versioned))
    }
}
