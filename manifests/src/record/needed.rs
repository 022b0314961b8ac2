//! Every set of values that some site can give to a chart: per edition, kind of site and choice of add-ons.
//!
//! Only what a component's `valuesWith` names makes a difference, so only those add-ons and optional components are tried
//! in every combination.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::image::Digest;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{FACTS, Rendered};
use crate::catalog::{Catalog, Sourced, sha256};
use crate::render::layered;
use crate::selection::{Chosen, choose, lineage, on_site, own_add_ons};
use crate::template::fill_map;
use crate::{Component, FoundImage, SiteFacts, SiteKind, TemplateError};

/// The most other components that are tried in every combination.
const MAX_TOGGLES: usize = 6;

/// One set of values for one component's chart.
#[derive(Debug, Clone)]
pub struct NeededRendering<'a> {
    /// The component.
    pub component: &'a Component,
    /// The digest over namespace, release and values.
    pub digest: Digest,
    /// The kinds of site that have these values.
    pub sites: BTreeSet<SiteKind>,
    /// Where they hold: `standard/onprem`.
    pub editions: BTreeSet<String>,
    values: Map<String, Value>,
}

impl NeededRendering<'_> {
    /// Returns the values for a made-up site of the first kind that has them.
    pub fn sample_values(&self) -> Result<Map<String, Value>, TemplateError> {
        let site = self.sites.first().copied().unwrap_or(SiteKind::Onprem);
        let place = format!("values of {}", self.component.title);
        fill_map(&self.values, (&SiteFacts::sample(site)).into(), &place)
    }

    /// Returns the component's own list in the place of what a renderer would find.
    pub(super) fn facts(&self) -> Rendered {
        let of = |site: Option<SiteKind>| site.is_none_or(|site| self.sites.contains(&site));
        let texts: BTreeSet<&str> = self
            .component
            .image_texts()
            .filter(|(site, _, _)| of(*site))
            .map(|(_, _, text)| text)
            .collect();
        let images = texts.into_iter().map(|text| FoundImage {
            image: text.to_owned(),
            template: None,
            field: None,
        });
        Rendered {
            source: FACTS.to_owned(),
            images: images.collect(),
        }
    }
}

impl Catalog {
    /// Lists every set of values that some site can give to a chart which a component carries.
    #[must_use]
    pub fn renderings(&self) -> Vec<NeededRendering<'_>> {
        let mut found = BTreeMap::new();
        for edition in self.editions.keys() {
            self.of_edition(edition, &mut found);
        }
        found.into_values().collect()
    }

    fn of_edition<'a>(
        &'a self,
        edition: &'a str,
        found: &mut BTreeMap<(&'a str, String), NeededRendering<'a>>,
    ) {
        let Ok(line) = lineage(self, edition) else {
            return;
        };
        let add_ons: BTreeSet<&str> = line
            .iter()
            .flat_map(|edition| own_add_ons(&edition.value).into_values().flatten())
            .collect();
        let own = line
            .iter()
            .flat_map(|edition| edition.value.components.iter().map(String::as_str));
        let names: BTreeSet<&str> = own.chain(add_ons.iter().copied()).collect();
        for name in names {
            let Some(component) = self.components.get(name) else {
                continue;
            };
            if component.value.chart.is_none() {
                continue;
            }
            let (toggled, optional) = self.toggles(component, &add_ons);
            for choice in subsets(&toggled) {
                let mut with: Vec<String> = choice.iter().map(|name| (*name).to_owned()).collect();
                with.extend(add_ons.contains(name).then(|| name.to_owned()));
                let Ok(chosen) = choose(self, edition, &with) else {
                    continue;
                };
                for without in subsets(&optional) {
                    let mut present = chosen.clone();
                    present.retain(|name, _| !without.contains(name));
                    see(component, edition, &present, found);
                }
            }
        }
    }

    /// Returns the add-ons, and the components that may be left out on site, which change a component's values.
    fn toggles<'a>(
        &'a self,
        component: &'a Sourced<Component>,
        add_ons: &BTreeSet<&'a str>,
    ) -> (Vec<&'a str>, Vec<&'a str>) {
        let named: BTreeSet<&str> = component
            .value
            .values_with
            .iter()
            .map(|with| with.component.as_str())
            .collect();
        let matters = |name: &&str| {
            let replaces = |other: &Sourced<Component>| {
                let replaced = other.value.replaces.iter();
                replaced
                    .into_iter()
                    .any(|other| named.contains(other.as_str()))
            };
            *name != component.value.name
                && (named.contains(name) || self.components.get(*name).is_some_and(replaces))
        };
        let optional = |name: &&str| {
            self.components
                .get(*name)
                .is_some_and(|other| other.value.optional)
        };
        let toggled = add_ons.iter().copied().filter(matters).take(MAX_TOGGLES);
        let dropped = named.iter().copied().filter(optional).take(MAX_TOGGLES);
        (toggled.collect(), dropped.collect())
    }
}

/// Notes the values that a component has beside the chosen ones, on each kind of site.
fn see<'a>(
    component: &'a Sourced<Component>,
    edition: &str,
    chosen: &Chosen<'a>,
    found: &mut BTreeMap<(&'a str, String), NeededRendering<'a>>,
) {
    for site in SiteKind::ALL {
        let present = on_site(chosen, site);
        if !present.contains_key(component.value.name.as_str()) {
            continue;
        }
        let values = site_values(&component.value, &present, site);
        let digest = values_digest(&component.value, &values);
        let needed = found
            .entry((component.value.name.as_str(), digest.to_string()))
            .or_insert_with(|| NeededRendering {
                component: &component.value,
                digest,
                sites: BTreeSet::new(),
                editions: BTreeSet::new(),
                values,
            });
        needed.sites.insert(site);
        needed.editions.insert(format!("{edition}/{site}"));
    }
}

/// Returns a component's values beside others on a kind of site, references not filled in.
pub(super) fn site_values(
    component: &Component,
    present: &Chosen<'_>,
    site: SiteKind,
) -> Map<String, Value> {
    let with = component
        .values_with
        .iter()
        .filter(|with| present.contains_key(with.component.as_str()));
    layered(&component.values, with, component.site_values.get(&site))
}

/// Returns the digest by which a record knows its values.
pub(super) fn values_digest(component: &Component, values: &Map<String, Value>) -> Digest {
    let text = json!({
        "namespace": component.namespace,
        "release": component.release_name(),
        "values": values,
    });
    sha256(&Sha256::digest(text.to_string()))
}

fn subsets<'a>(names: &[&'a str]) -> Vec<Vec<&'a str>> {
    (0..1_usize << names.len())
        .map(|bits| {
            let chosen = |index: &usize| bits & (1 << index) != 0;
            (0..names.len())
                .filter(chosen)
                .map(|index| names[index])
                .collect()
        })
        .collect()
}
