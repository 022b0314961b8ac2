//! The shapes of the catalog's files: components, editions, sites, registries.
//!
//! These are what people write; [`resolved`](crate::ResolvedEdition) is what a bundle carries. Every type refuses
//! unknown keys. Checks that need more than one file are in `check`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::{
    AdminSecret, ChartRef, Delivery, Fact, Gate, IgnoreDifference, ObjectEntry, Requests,
    Rke2Config, SecretSpec, SiteFacts, SiteKind, ValuesWith, objects_chart_ref,
};

/// `components/<name>.yaml`: one part of the platform.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Component {
    /// Equal to the file's name.
    pub name: String,
    /// The title for people.
    pub title: String,
    /// What it is for, in one line.
    pub about: String,
    /// The version of the software.
    pub version: String,
    /// The licence.
    pub licence: String,
    /// What a customer must be told.
    pub notice: Option<String>,
    /// The id with which somebody must accept the licence before it is bundled.
    pub accept: Option<String>,
    /// What may not be passed on or resold.
    pub redistribution: Option<String>,
    /// The sum of what its pods request.
    pub requests: Option<Requests>,
    /// The namespace.
    pub namespace: String,
    /// Labels of the namespace.
    #[serde(default)]
    pub namespace_labels: BTreeMap<String, String>,
    /// The Helm release's name; the component's own where absent.
    pub release_name: Option<String>,
    /// The kinds of site that have it; all where absent.
    pub sites: Option<Vec<SiteKind>>,
    /// Dropped with a notice where a fact is missing.
    #[serde(default)]
    pub optional: bool,
    /// How it reaches the cluster.
    pub delivery: Delivery,
    /// The chart; what RKE2 carries itself has none here.
    pub chart: Option<Chart>,
    /// The objects that it is made of, in place of a chart; only for Argo CD's delivery.
    #[serde(default)]
    pub objects: Vec<ObjectEntry>,
    /// The files of the RKE2 release; only the component `rke2` has it.
    pub release: Option<Release>,
    /// The file of `static/` with its objects, without `.yaml`; only for static delivery.
    pub manifest: Option<String>,
    /// The facts without which a static manifest is not written.
    #[serde(default)]
    pub requires: Vec<Fact>,
    /// Image references with tags. A digest behind one says that the chart itself names that digest.
    #[serde(default)]
    pub images: Vec<String>,
    /// Images of one kind of site.
    #[serde(default)]
    pub site_images: BTreeMap<SiteKind, Vec<String>>,
    /// Capabilities it needs.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Capabilities it needs where another component is there too, by that component.
    #[serde(default)]
    pub needs_with: BTreeMap<String, Vec<String>>,
    /// Capabilities it provides.
    #[serde(default)]
    pub provides: Vec<String>,
    /// Components that give way where this one is chosen.
    #[serde(default)]
    pub replaces: Vec<String>,
    /// Components beside which it cannot be chosen.
    #[serde(default)]
    pub conflicts: Vec<String>,
    /// What to wait for.
    #[serde(default)]
    pub gate: Gate,
    /// Secrets made on site.
    #[serde(default)]
    pub secrets: Vec<SecretSpec>,
    /// Values of its chart; where it is objects, the lists that these are repeated for.
    #[serde(default)]
    pub values: Map<String, Value>,
    /// Values that hold beside other components, merged over the former in the file's order.
    #[serde(default, deserialize_with = "values_with")]
    pub values_with: Vec<ValuesWith>,
    /// Values of one kind of site, merged over the former.
    #[serde(default)]
    pub site_values: BTreeMap<SiteKind, Map<String, Value>>,
    /// Keys of RKE2's config.yaml that it decides.
    #[serde(default)]
    pub rke2: Rke2Config,
    /// Fields that differ for ever.
    #[serde(default)]
    pub ignore_differences: Vec<IgnoreDifference>,
    /// Where a person finds it.
    pub url: Option<String>,
    /// The secret with its administrator's password.
    pub admin: Option<AdminSecret>,
    /// Steps left to a person.
    #[serde(default)]
    pub manual_steps: Vec<String>,
}

impl Component {
    /// Tells whether a kind of site has it.
    #[must_use]
    pub fn on(&self, site: SiteKind) -> bool {
        self.sites
            .as_ref()
            .is_none_or(|sites| sites.contains(&site))
    }

    /// Returns the chart that it is installed from: its own, or the generated one for objects.
    #[must_use]
    pub fn chart_ref(&self) -> Option<ChartRef> {
        if self.objects.is_empty() {
            self.chart.as_ref().map(Chart::reference)
        } else {
            Some(objects_chart_ref())
        }
    }

    /// Returns the Helm release's name.
    #[must_use]
    pub fn release_name(&self) -> &str {
        self.release_name.as_deref().unwrap_or(&self.name)
    }

    /// Tells whether it is installed from a chart of the bundle, instead of out of RKE2's runtime image or from objects.
    #[must_use]
    pub fn carries_chart(&self) -> bool {
        matches!(
            self.delivery,
            Delivery::Bootstrap | Delivery::HelmChart | Delivery::ArgoCd
        )
    }

    /// Iterates over its image references, each with the kind of site it is limited to.
    pub fn image_texts(&self) -> impl Iterator<Item = (Option<SiteKind>, usize, &str)> {
        let common = self
            .images
            .iter()
            .enumerate()
            .map(|(index, text)| (None, index, text.as_str()));
        let limited = self.site_images.iter().flat_map(|(site, texts)| {
            texts
                .iter()
                .enumerate()
                .map(|(index, text)| (Some(*site), index, text.as_str()))
        });
        common.chain(limited)
    }
}

/// Reads a mapping in the order it was written in.
fn values_with<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ValuesWith>, D::Error> {
    struct InOrder;

    impl<'de> Visitor<'de> for InOrder {
        type Value = Vec<ValuesWith>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a mapping from a component's name to values")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some((component, values)) = entries.next_entry()? {
                list.push(ValuesWith { component, values });
            }
            Ok(list)
        }
    }

    deserializer.deserialize_map(InOrder)
}

/// Where a chart comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Chart {
    /// The chart's name.
    pub name: String,
    /// The chart's version, as its Chart.yaml writes it.
    pub version: String,
    /// The publisher's tgz (`https://…`), or its repository in a registry (`oci://host/path/name`, tagged by the
    /// version).
    pub url: String,
}

impl Chart {
    /// Returns name and version.
    #[must_use]
    pub fn reference(&self) -> ChartRef {
        ChartRef {
            name: self.name.clone(),
            version: self.version.clone(),
        }
    }
}

/// The RKE2 release.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// The release: `v1.36.4+rke2r1`.
    pub version: String,
    /// The image that holds RKE2's binaries and charts.
    pub runtime_image: String,
    /// Its files.
    pub files: Vec<ReleaseFile>,
}

/// One file of the RKE2 release.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseFile {
    /// The file's name.
    pub name: String,
    /// Where it is fetched from.
    pub url: String,
    /// The platform it is for; every platform where absent.
    pub platform: Option<String>,
    /// Whether it goes to the nodes.
    #[serde(default)]
    pub staged: bool,
}

/// `editions/<name>.yaml`: a choice of components.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Edition {
    /// Equal to the file's name.
    pub name: String,
    /// The title for people.
    pub title: String,
    /// Whom it is for, in one line.
    pub about: String,
    /// The edition that this one adds to.
    pub extends: Option<String>,
    /// The least number of hosts.
    pub min_nodes: u32,
    /// The components that it adds.
    pub components: Vec<String>,
    /// The components that `--with` may add.
    #[serde(default)]
    pub add_ons: Vec<String>,
    /// Names under which `--with` adds several components at once, each an add-on by this too.
    #[serde(default)]
    pub add_on_groups: BTreeMap<String, Vec<String>>,
}

/// `sites/<kind>.yaml`: what a kind of site changes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Site {
    /// Equal to the file's name.
    pub name: SiteKind,
    /// The title for people.
    pub title: String,
    /// What it is, in one line.
    pub about: String,
    /// Facts that it knows by itself.
    #[serde(default)]
    pub facts: SiteFacts,
    /// Keys of RKE2's config.yaml that it decides.
    #[serde(default)]
    pub rke2: Rke2Config,
}

/// `registries.yaml`: every upstream host that anything in the catalog is pulled from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registries {
    /// The hosts. Sites get a mirror for each, whatever the edition, so that an added component needs no new node
    /// configuration.
    pub mirror_hosts: Vec<String>,
}
