//! What the catalog holds, for people who choose: components, images, licences, per edition and kind of site.
//!
//! Everything is read from the catalog and the lock; nothing is decided here.

mod markdown;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::catalog::Sourced;
use crate::selection::{Chosen, choose, lineage, on_site, own_add_ons, waves};
use crate::{
    Catalog, Component, Cpu, Delivery, ImageLock, ImageReference, Memory, Problem, Requests,
    SiteKind, suggest,
};

pub use markdown::catalog_markdown;

/// The platform whose sizes are told.
const PLATFORM: &str = "linux/amd64";

/// One component in a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentRow {
    /// The component's name.
    pub name: String,
    /// The title for people.
    pub title: String,
    /// What it is for.
    pub about: String,
    /// The version of the software.
    pub version: String,
    /// The editions that hold it.
    pub editions: Vec<String>,
    /// The editions to which `--with` may add it.
    pub add_on_of: Vec<String>,
    /// The kinds of site that have it.
    pub sites: Vec<SiteKind>,
    /// How it reaches the cluster.
    pub delivery: Delivery,
    /// Name and version of its chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<String>,
    /// How many images it asks for.
    pub images: usize,
    /// Bytes of those whose size is known; layers that they share count each time.
    pub bytes: u64,
    /// How many have no known size.
    pub unknown_sizes: usize,
    /// What its pods request, where that is stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// The licence.
    pub licence: String,
    /// What a customer must be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// What may not be passed on or resold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redistribution: Option<String>,
    /// The id with which its licence must be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
}

/// One image in a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRow {
    /// The reference as the catalog has it.
    pub image: String,
    /// The components that ask for it.
    pub components: Vec<String>,
    /// What the tag points at, where that is locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The bytes for one platform, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Where the digest comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// One edition on one kind of site.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EditionRow {
    /// The edition's name.
    pub edition: String,
    /// The kind of site.
    pub site: SiteKind,
    /// The least number of hosts.
    pub min_nodes: u32,
    /// How many components it has there.
    pub components: usize,
    /// How many images.
    pub images: usize,
    /// Bytes of those whose size is known.
    pub bytes: u64,
    /// How many images have no known size.
    pub unknown_sizes: usize,
    /// What is requested in all, by the components that state it.
    pub requests: Requests,
    /// The components that Argo CD delivers, wave by wave.
    pub waves: Vec<Vec<String>>,
}

impl Catalog {
    /// Returns the components of an edition with add-ons, by name; on one kind of site where one is given.
    pub fn chosen(
        &self,
        edition: &str,
        with: &[String],
        site: Option<SiteKind>,
    ) -> Result<Vec<&Component>, Vec<Problem>> {
        Ok(self
            .chosen_on(edition, with, site)?
            .values()
            .map(|component| &component.value)
            .collect())
    }

    fn chosen_on(
        &self,
        edition: &str,
        with: &[String],
        site: Option<SiteKind>,
    ) -> Result<Chosen<'_>, Vec<Problem>> {
        // the name lives as long as the catalog, not the argument
        let known = || self.editions.keys().map(String::as_str);
        let Some((edition, _)) = self.editions.get_key_value(edition) else {
            let problem = Problem::new("editions", format!("there is no edition `{edition}`"));
            return Err(vec![problem.remedy(suggest(edition, known()))]);
        };
        let chosen = choose(self, edition, with)?;
        Ok(match site {
            Some(site) => on_site(&chosen, site),
            None => chosen,
        })
    }

    /// Describes a component.
    #[must_use]
    pub fn row(&self, lock: Option<&ImageLock>, component: &Component) -> ComponentRow {
        let (mut editions, mut add_on_of) = (Vec::new(), Vec::new());
        for edition in self.editions_in_order() {
            let chosen = choose(self, edition, &[]).unwrap_or_default();
            let line = lineage(self, edition).unwrap_or_default();
            if chosen.contains_key(component.name.as_str()) {
                editions.push(edition.clone());
            } else if line
                .iter()
                .any(|of| own_add_ons(&of.value).contains_key(component.name.as_str()))
            {
                add_on_of.push(edition.clone());
            }
        }
        let images = images(std::iter::once(component), None, lock);
        ComponentRow {
            name: component.name.clone(),
            title: component.title.clone(),
            about: component.about.clone(),
            version: component.version.clone(),
            editions,
            add_on_of,
            sites: SiteKind::ALL
                .into_iter()
                .filter(|site| component.on(*site))
                .collect(),
            delivery: component.delivery,
            chart: component
                .chart
                .as_ref()
                .map(|chart| format!("{} {}", chart.name, chart.version)),
            images: images.len(),
            bytes: bytes(&images),
            unknown_sizes: unknown(&images),
            requests: component.requests.clone(),
            licence: component.licence.clone(),
            notice: component.notice.clone(),
            redistribution: component.redistribution.clone(),
            accept: component.accept.clone(),
        }
    }

    /// Lists the images of an edition, or of the whole catalog; of one kind of site where one is given.
    pub fn image_rows(
        &self,
        lock: Option<&ImageLock>,
        edition: Option<&str>,
        with: &[String],
        site: Option<SiteKind>,
    ) -> Result<Vec<ImageRow>, Vec<Problem>> {
        let Some(edition) = edition else {
            let here = |component: &&Component| site.is_none_or(|site| component.on(site));
            return Ok(images(self.components().filter(here), site, lock));
        };
        let chosen = self.chosen(edition, with, site)?;
        Ok(images(chosen.into_iter(), site, lock))
    }

    /// Lists the editions, each after the one it extends.
    fn editions_in_order(&self) -> Vec<&String> {
        let mut names: Vec<&String> = self.editions.keys().collect();
        names.sort_by_cached_key(|name| lineage(self, name).map_or(0, |line| line.len()));
        names
    }

    /// Describes every edition on every kind of site, without add-ons.
    #[must_use]
    pub fn edition_rows(&self, lock: Option<&ImageLock>) -> Vec<EditionRow> {
        let mut rows = Vec::new();
        for edition in self.editions_in_order() {
            let line = lineage(self, edition).unwrap_or_default();
            let min_nodes = line.iter().map(|of| of.value.min_nodes).max().unwrap_or(1);
            for site in SiteKind::ALL {
                let Ok(chosen) = self.chosen_on(edition, &[], Some(site)) else {
                    continue;
                };
                let images = images(chosen.values().map(|of| &of.value), Some(site), lock);
                let requests = || chosen.values().filter_map(|of| of.value.requests.as_ref());
                rows.push(EditionRow {
                    edition: edition.clone(),
                    site,
                    min_nodes,
                    components: chosen.len(),
                    images: images.len(),
                    bytes: bytes(&images),
                    unknown_sizes: unknown(&images),
                    requests: Requests {
                        cpu: requests().map(|of| of.cpu).sum::<Cpu>(),
                        memory: requests().map(|of| of.memory).sum::<Memory>(),
                    },
                    waves: waves(&chosen, edition, site).unwrap_or_default(),
                });
            }
        }
        rows
    }

    /// Finds the licences of a choice that must be accepted and were not, and accepted ids that no component has.
    pub fn check_accepted(
        &self,
        edition: &str,
        with: &[String],
        accepted: &[String],
    ) -> Result<(), Vec<Problem>> {
        let chosen = self.chosen_on(edition, with, None)?;
        let mut problems: Vec<Problem> = chosen
            .values()
            .filter_map(|component| unaccepted(component, accepted))
            .collect();
        let known: BTreeSet<&str> = self
            .components()
            .filter_map(|component| component.accept.as_deref())
            .collect();
        for id in accepted.iter().filter(|id| !known.contains(id.as_str())) {
            let message = format!("no component has a licence `{id}` to accept");
            problems.push(
                Problem::new("components", message).remedy(suggest(id, known.iter().copied())),
            );
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }
}

fn unaccepted(component: &Sourced<Component>, accepted: &[String]) -> Option<Problem> {
    let value = &component.value;
    let id = value.accept.as_ref().filter(|id| !accepted.contains(id))?;
    let why = value.redistribution.as_ref().or(value.notice.as_ref());
    let message = format!(
        "the licence of {} ({}) must be accepted before it is bundled{}",
        value.title,
        value.licence,
        why.map(|why| format!(": {why}")).unwrap_or_default()
    );
    let remedy = format!(
        "read it, then pass `--accept-licence {id}`; or leave `--with {}` out",
        value.name
    );
    Some(component.problem(&["accept"], message).remedy(remedy))
}

fn images<'a>(
    components: impl Iterator<Item = &'a Component>,
    site: Option<SiteKind>,
    lock: Option<&ImageLock>,
) -> Vec<ImageRow> {
    let mut rows: BTreeMap<&str, ImageRow> = BTreeMap::new();
    for component in components {
        for (of, _, text) in component.image_texts() {
            if of.is_some_and(|of| site.is_some_and(|site| site != of)) {
                continue;
            }
            let row = rows.entry(text).or_insert_with(|| row(text, lock));
            row.components.push(component.name.clone());
        }
    }
    rows.into_values().collect()
}

fn row(text: &str, lock: Option<&ImageLock>) -> ImageRow {
    let locked = text
        .parse::<ImageReference>()
        .ok()
        .and_then(|reference| lock?.image(&reference.name));
    let manifest = locked.and_then(|locked| locked.platforms.get(PLATFORM));
    let digest = locked.and_then(|locked| locked.index.as_ref());
    let digest = digest.or(manifest.map(|manifest| &manifest.digest));
    ImageRow {
        image: text.to_owned(),
        components: Vec::new(),
        digest: digest.map(ToString::to_string),
        bytes: manifest.and_then(|manifest| manifest.size),
        source: locked.and_then(|locked| locked.source.clone()),
    }
}

fn bytes(images: &[ImageRow]) -> u64 {
    images
        .iter()
        .filter_map(|image| image.bytes)
        .fold(0, u64::saturating_add)
}

fn unknown(images: &[ImageRow]) -> usize {
    images.iter().filter(|image| image.bytes.is_none()).count()
}
