//! The resolved description of one edition: the contract between the bundler and the installer.
//!
//! It travels as a layer of the bundle's edition artifact, so the installer knows no edition by heart. Invariant: what is
//! here is complete and inert; no file of the catalog is needed to install from it. Unknown keys are refused on reading,
//! because a key that an older installer does not know may be one that it must obey.
//! Left out: contents (images, charts), which the bundle's index names by the digests given here.

use std::collections::BTreeMap;

use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{AdminSecret, Fact, ImageName, ObjectEntry, Requests, SecretSpec, SiteFacts, SiteKind};

/// The media type of a [`ResolvedEdition`] written as JSON.
pub const EDITION_MEDIA_TYPE: &str = "application/vnd.airgap.edition.v1+json";

/// The value of [`ResolvedEdition::schema`] that this program writes and reads.
pub const EDITION_SCHEMA: u32 = 1;

/// An edition with everything decided: images and charts by digest, components with values, waves per kind of site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedEdition {
    /// The layout of this document: [`EDITION_SCHEMA`].
    pub schema: u32,
    /// The edition's name: `standard`.
    pub edition: String,
    /// The edition's title for people.
    pub title: String,
    /// The version that images.lock carries.
    pub version: String,
    /// The release counter of images.lock: one sequence for all editions.
    pub release: u64,
    /// When the lock last changed, RFC 3339.
    pub locked_at: String,
    /// The digest over the catalog's files that the lock agrees with.
    pub manifests_digest: Digest,
    /// The platform carried: `linux/amd64`, `linux/arm64` or `all`.
    pub platform: String,
    /// The least number of hosts this edition is meant for.
    pub min_nodes: u32,
    /// RKE2 itself.
    pub rke2: ResolvedRke2,
    /// Every image, sorted by name.
    pub images: Vec<ResolvedImage>,
    /// Every chart, sorted by name and version.
    pub charts: Vec<ResolvedChart>,
    /// Every component of every kind of site, by name.
    pub components: BTreeMap<String, ResolvedComponent>,
    /// What each kind of site makes of it.
    pub sites: BTreeMap<SiteKind, SitePlan>,
    /// Every upstream host of the whole catalog, whatever the edition, sorted: each gets a mirror in registries.yaml.
    pub mirror_hosts: Vec<String>,
}

/// RKE2: the release and the choices that the edition's components make for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedRke2 {
    /// The release: `v1.36.4+rke2r1`.
    pub version: String,
    /// The value of RKE2's `cni` key.
    pub cni: String,
    /// The value of RKE2's `ingress-controller` key, always written explicitly.
    pub ingress: String,
    /// The image that RKE2 takes its own binaries and charts from.
    pub runtime_image: ImageName,
    /// The release's files.
    pub files: Vec<FileRef>,
}

/// One file of the RKE2 release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileRef {
    /// The file's name: `rke2.linux-amd64.tar.gz`.
    pub name: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes; absent until the bundler has seen the file, always there in a bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Whether it goes to the nodes. Image lists do not: RKE2's installer would take them for lists to pull.
    pub staged: bool,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedImage {
    /// The full name with its tag.
    pub name: ImageName,
    /// What the tag points at. Straight from resolving it is the platform's digest where the lock has
    /// it, else the index's; in a bundle of one platform it is the platform's, in one of all platforms the index's.
    pub digest: Digest,
    /// The index's digest, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_digest: Option<Digest>,
    /// The index travels whole, because something on site refers to its digest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_index: bool,
    /// The components that need it, sorted.
    pub components: Vec<String>,
}

/// One chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedChart {
    /// The chart's name: `argo-cd`.
    pub name: String,
    /// The chart's version as its Chart.yaml writes it.
    pub version: String,
    /// The digest of the publisher's tgz.
    pub sha256: Digest,
    /// The digest of the Helm OCI manifest made from it; absent until the bundler has made it, always there in a bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// How a component reaches the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// RKE2 carries it; values, if any, become a HelmChartConfig among the static manifests.
    Rke2,
    /// Objects that RKE2 applies from its manifests folder before there is a CNI or a cloud controller.
    Static,
    /// A HelmChart with `bootstrap: true` among the static manifests, its chart inlined.
    Bootstrap,
    /// A HelmChart that the installer applies once the nodes are Ready: Argo CD itself.
    HelmChart,
    /// An Application of the ApplicationSet, in its wave.
    ArgoCd,
}

/// What the installer waits for before it goes on to the next wave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Gate {
    /// Synced and Healthy.
    #[default]
    Healthy,
    /// Synced is enough; a person finishes it, and the report tells how. Nothing may depend on it.
    Manual,
}

/// The chart that a component is installed from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChartRef {
    /// The chart's name.
    pub name: String,
    /// The chart's version.
    pub version: String,
}

/// One component with its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedComponent {
    /// The title for people.
    pub title: String,
    /// What it is for, in one line.
    pub about: String,
    /// The version of the software, not of the chart.
    pub version: String,
    /// The licence, as an SPDX expression where there is one.
    pub licence: String,
    /// What a customer must be told: end of life, terms of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// The id by which somebody accepted its licence when the bundle was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
    /// What may not be passed on or resold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redistribution: Option<String>,
    /// The sum of what its pods request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// The namespace it lives in.
    pub namespace: String,
    /// Labels of that namespace, such as its pod security level.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespace_labels: BTreeMap<String, String>,
    /// The Helm release's name; for [`Delivery::Rke2`] the name of RKE2's own chart, which a HelmChartConfig must bear.
    pub release_name: String,
    /// How it reaches the cluster.
    pub delivery: Delivery,
    /// Its chart in the bundle; absent for static objects and for what RKE2 carries. Where there are `objects`, it is the
    /// generated one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartRef>,
    /// The kinds of site that have it.
    pub sites: Vec<SiteKind>,
    /// Dropped with a notice where a fact that it requires is absent; otherwise that is a preflight error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// The facts without which its values cannot be written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requires: BTreeMap<SiteKind, Vec<Fact>>,
    /// The capabilities it needs before it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// The capabilities it provides once healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provides: Vec<String>,
    /// What to wait for.
    #[serde(default)]
    pub gate: Gate,
    /// Secrets that the installer makes on site before the component's wave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretSpec>,
    /// The objects that it is made of; its values are then the lists that they are repeated for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectEntry>,
    /// Values for every kind of site; texts may refer to facts.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub values: Map<String, Value>,
    /// Values that hold beside other components of the edition, merged over the former in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values_with: Vec<ValuesWith>,
    /// Values of a kind of site, merged over the former.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub site_values: BTreeMap<SiteKind, Map<String, Value>>,
    /// Fields that differ for ever and are not drift, in Argo CD's own form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore_differences: Vec<IgnoreDifference>,
    /// Where a person finds it, with references to facts: `https://argocd.${site.domain}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The secret that holds its administrator's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<AdminSecret>,
    /// Steps left to a person, shown at the end of the report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manual_steps: Vec<String>,
}

/// Values that hold where another component is part of the site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValuesWith {
    /// The other component.
    pub component: String,
    /// The values.
    pub values: Map<String, Value>,
}

/// One entry of Argo CD's `ignoreDifferences`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IgnoreDifference {
    /// The API group; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The object's name; every object of the kind where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The object's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// JSON pointers of the fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub json_pointers: Vec<String>,
    /// jq expressions of the fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jq_path_expressions: Vec<String>,
}

/// What a kind of site makes of the edition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SitePlan {
    /// The components delivered through Argo CD, in waves: whatever a component needs is in an earlier one.
    pub waves: Vec<Vec<String>>,
    /// Keys of config.yaml that the components and the kind of site decide.
    pub rke2_config: Rke2Config,
    /// What lies in RKE2's manifests folder before the first start, sorted by name.
    pub static_manifests: Vec<StaticManifest>,
    /// Facts that the kind of site knows by itself; those of the inventory go over them.
    pub facts: SiteFacts,
}

/// Keys of RKE2's config.yaml.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rke2Config {
    /// Keys for every node.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub all: Map<String, Value>,
    /// Keys for servers only.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub server: Map<String, Value>,
    /// Keys for agents only.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub agent: Map<String, Value>,
}

/// One file of RKE2's manifests folder. Its AddOn is named like the file, so the name is a DNS label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticManifest {
    /// The file's name without `.yaml`.
    pub name: String,
    /// The component that it belongs to.
    pub component: String,
    /// The file is written only if all these facts are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Fact>,
    /// What it holds.
    pub content: StaticContent,
}

/// What a static manifest holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
pub enum StaticContent {
    /// Objects as they are; texts may refer to facts.
    Objects {
        /// The objects, in order.
        objects: Vec<Value>,
    },
    /// The component's values as a HelmChartConfig for a chart that RKE2 carries.
    HelmChartConfig,
    /// The component's values and chart as a HelmChart with `bootstrap: true`.
    BootstrapHelmChart,
}

impl ResolvedEdition {
    /// Returns the document as it is written into a bundle: sorted, indented, with a line feed at its end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let value = serde_json::to_value(self).unwrap_or(Value::Null);
        let mut text = serde_json::to_string_pretty(&value).unwrap_or_default();
        text.push('\n');
        text.into_bytes()
    }

    /// Reads a document from a bundle and checks that it is of a known schema and complete.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EditionError> {
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let Schema { schema } = serde_json::from_slice(bytes).map_err(EditionError::Json)?;
        if schema != EDITION_SCHEMA {
            return Err(EditionError::Schema { schema });
        }
        let edition: Self = serde_json::from_slice(bytes).map_err(EditionError::Json)?;
        edition.check_complete()?;
        Ok(edition)
    }

    /// Checks that the bundler filled in what only it can know.
    pub fn check_complete(&self) -> Result<(), EditionError> {
        let file = self.rke2.files.iter().find(|file| file.size.is_none());
        let chart = self.charts.iter().find(|chart| chart.digest.is_none());
        match (file, chart) {
            (Some(file), _) => Err(EditionError::Incomplete {
                what: format!("size of file {}", file.name),
            }),
            (_, Some(chart)) => Err(EditionError::Incomplete {
                what: format!("digest of chart {} {}", chart.name, chart.version),
            }),
            (None, None) => Ok(()),
        }
    }

    /// Returns the plan of a kind of site.
    #[must_use]
    pub fn site(&self, kind: SiteKind) -> Option<&SitePlan> {
        self.sites.get(&kind)
    }
}

/// Why a resolved edition cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EditionError {
    /// It is not JSON of this shape.
    #[error("the edition's description cannot be read")]
    Json(#[source] serde_json::Error),
    /// It is of a schema that this program does not know.
    #[error("the edition's description has schema {schema}, this program knows {EDITION_SCHEMA}")]
    Schema {
        /// The schema found.
        schema: u32,
    },
    /// Something that a bundle always holds is missing.
    #[error("the edition's description is incomplete: {what}")]
    Incomplete {
        /// What is missing.
        what: String,
    },
}
