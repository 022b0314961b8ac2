//! From catalog and lock to a [`ResolvedEdition`].
//!
//! Invariant: what is resolved agrees with the lock in every image, chart and file, and the lock with the catalog's
//! digest; anything else is a problem that names the entry, where it is referred to, and `airgap lock`.

mod rke2;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub(crate) use self::rke2::{check_release, rke2_config};
use self::rke2::{ingress_class, rke2};
use crate::catalog::{Catalog, Sourced, sha256};
use crate::render::layered;
use crate::selection::{Chosen, choose, lineage, needs, on_site, waves};
use crate::template::required_facts;
use crate::wanted::{Wanted, disagreement};
use crate::{
    ChartRef, Component, Delivery, EDITION_SCHEMA, Fact, FileRef, ImageLock, ObjectEntry, Problem,
    ResolvedChart, ResolvedComponent, ResolvedEdition, ResolvedImage, SiteKind, SitePlan,
    StaticContent, StaticManifest, ValuesWith, objects_chart, objects_chart_ref,
};

/// The platform name that stands for every platform.
pub const ALL_PLATFORMS: &str = "all";

/// Resolves an edition with add-ons for one platform (`linux/amd64`), or for [`ALL_PLATFORMS`].
///
/// Every problem is found in one go: a lock made from other manifests, entries that are missing or unlocked.
pub fn resolve(
    catalog: &Catalog,
    lock: &ImageLock,
    edition: &str,
    with: &[String],
    platform: &str,
) -> Result<ResolvedEdition, Vec<Problem>> {
    let chosen = choose(catalog, edition, with)?;
    let mut problems = Vec::new();
    problems.extend(disagreement(catalog, lock));
    let wanted = Wanted::of(&chosen, platform);
    let images = resolve_images(&wanted, lock, platform, &mut problems);
    let mut charts = resolve_charts(&wanted, lock, &mut problems);
    charts.extend(generated_chart(&chosen));
    charts.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    let files = resolve_files(&wanted, lock, &mut problems);
    let mut sites = BTreeMap::new();
    for site in SiteKind::ALL {
        match site_plan(catalog, &chosen, edition, site) {
            Ok(plan) => {
                sites.insert(site, plan);
            }
            Err(found) => problems.extend(found),
        }
    }
    let line = lineage(catalog, edition).map_err(|problem| vec![problem])?;
    let Some(own) = line.last() else {
        return Err(problems);
    };
    problems.extend(check_release(&chosen, edition));
    let Some(rke2) = rke2(&chosen, &sites, files) else {
        return Err(problems);
    };
    if !problems.is_empty() {
        problems.sort();
        problems.dedup();
        return Err(problems);
    }
    Ok(ResolvedEdition {
        schema: EDITION_SCHEMA,
        edition: edition.to_owned(),
        title: own.value.title.clone(),
        version: lock.version.clone(),
        release: lock.release,
        locked_at: lock.locked_at.to_string(),
        manifests_digest: catalog.manifests_digest().clone(),
        platform: platform.to_owned(),
        min_nodes: line
            .iter()
            .map(|edition| edition.value.min_nodes)
            .max()
            .unwrap_or(1),
        rke2,
        images,
        charts,
        components: chosen
            .iter()
            .map(|(name, component)| {
                let resolved = resolve_component(catalog, &chosen, component);
                ((*name).to_owned(), resolved)
            })
            .collect(),
        sites,
        mirror_hosts: catalog.mirror_hosts(),
    })
}

fn resolve_images(
    wanted: &Wanted,
    lock: &ImageLock,
    platform: &str,
    problems: &mut Vec<Problem>,
) -> Vec<ResolvedImage> {
    let mut images = Vec::new();
    for (name, want) in &wanted.images {
        let Some(entry) = lock.image(name) else {
            problems.push(
                want.place
                    .problem(format!("image {name} is not in images.lock"))
                    .remedy("run `airgap lock`"),
            );
            continue;
        };
        let of_platform = entry
            .platforms
            .get(platform)
            .map(|manifest| &manifest.digest);
        let whole = platform == ALL_PLATFORMS || want.digest.is_some();
        let digest = if whole {
            entry.index.as_ref()
        } else {
            of_platform.or(entry.index.as_ref())
        };
        let Some(digest) = digest else {
            problems.push(
                Problem::new(
                    "images.lock",
                    format!("image {name} is not locked for {platform}"),
                )
                .remedy("run `airgap lock`"),
            );
            continue;
        };
        if let Some(pinned) = &want.digest
            && pinned != digest
        {
            let message =
                format!("the chart names image {name} by {pinned}, images.lock by {digest}");
            problems.push(
                want.place
                    .problem(message)
                    .remedy("run `airgap lock`, or correct the digest here"),
            );
        }
        images.push(ResolvedImage {
            name: name.clone(),
            digest: digest.clone(),
            index_digest: entry.index.clone(),
            whole_index: want.digest.is_some(),
            components: want.components.iter().cloned().collect(),
        });
    }
    images
}

fn resolve_charts(
    wanted: &Wanted,
    lock: &ImageLock,
    problems: &mut Vec<Problem>,
) -> Vec<ResolvedChart> {
    let mut charts = Vec::new();
    for ((name, version), want) in &wanted.charts {
        match lock.chart(name, version) {
            None => problems.push(
                want.place
                    .problem(format!("chart {name} {version} is not in images.lock"))
                    .remedy("run `airgap lock`"),
            ),
            Some(entry) if entry.url != want.url => {
                let message = format!(
                    "chart {name} {version} comes from {}, in images.lock from {}",
                    want.url, entry.url
                );
                problems.push(want.place.problem(message).remedy("run `airgap lock`"));
            }
            Some(entry) => match &entry.sha256 {
                Some(sha256) => charts.push(ResolvedChart {
                    name: name.clone(),
                    version: version.clone(),
                    sha256: sha256.clone(),
                    digest: None,
                }),
                None => problems.push(
                    Problem::new(
                        "images.lock",
                        format!("chart {name} {version} is not locked"),
                    )
                    .remedy("run `airgap lock`"),
                ),
            },
        }
    }
    charts
}

/// Returns the chart that carries the objects, where a component has some.
fn generated_chart(chosen: &Chosen<'_>) -> Option<ResolvedChart> {
    let objects = |component: &&Sourced<Component>| !component.value.objects.is_empty();
    chosen.values().find(|component| objects(component))?;
    let ChartRef { name, version } = objects_chart_ref();
    Some(ResolvedChart {
        name,
        version,
        sha256: sha256(&Sha256::digest(objects_chart())),
        digest: None,
    })
}

fn resolve_files(wanted: &Wanted, lock: &ImageLock, problems: &mut Vec<Problem>) -> Vec<FileRef> {
    let mut files = Vec::new();
    for (url, want) in &wanted.files {
        match lock.file(url) {
            None => problems.push(
                want.place
                    .problem(format!("file {url} is not in images.lock"))
                    .remedy("run `airgap lock`"),
            ),
            Some(entry) => match &entry.sha256 {
                Some(sha256) => files.push(FileRef {
                    name: want.name.clone(),
                    digest: sha256.clone(),
                    size: entry.size,
                    staged: want.staged,
                }),
                None => problems.push(
                    Problem::new("images.lock", format!("file {url} is not locked"))
                        .remedy("run `airgap lock`"),
                ),
            },
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

fn resolve_component(
    catalog: &Catalog,
    chosen: &Chosen<'_>,
    component: &Sourced<Component>,
) -> ResolvedComponent {
    let value = &component.value;
    let beside = |with: &&ValuesWith| chosen.contains_key(with.component.as_str());
    let sites: Vec<SiteKind> = SiteKind::ALL
        .into_iter()
        .filter(|site| value.on(*site))
        .collect();
    let requires = sites
        .iter()
        .map(|site| {
            (
                *site,
                requires(catalog, &on_site(chosen, *site), value, *site),
            )
        })
        .filter(|(_, facts)| !facts.is_empty())
        .collect();
    ResolvedComponent {
        title: value.title.clone(),
        about: value.about.clone(),
        version: value.version.clone(),
        licence: value.licence.clone(),
        notice: value.notice.clone(),
        accept: value.accept.clone(),
        redistribution: value.redistribution.clone(),
        requests: value.requests.clone(),
        namespace: value.namespace.clone(),
        namespace_labels: value.namespace_labels.clone(),
        release_name: value.release_name().to_owned(),
        delivery: value.delivery,
        chart: value.chart_ref(),
        sites,
        optional: value.optional,
        requires,
        needs: needs(component, chosen)
            .map(|(_, need)| need.clone())
            .collect(),
        provides: value.provides.clone(),
        gate: value.gate,
        secrets: value.secrets.clone(),
        objects: value.objects.clone(),
        values: value.values.clone(),
        values_with: value.values_with.iter().filter(beside).cloned().collect(),
        site_values: value.site_values.clone(),
        ignore_differences: value.ignore_differences.clone(),
        url: value.url.clone(),
        admin: value.admin.clone(),
        manual_steps: value.manual_steps.clone(),
    }
}

/// Returns the facts that a component cannot do without on a kind of site, other than those the kind itself knows.
///
/// Values beside a component that may be left out do not count: they are used only where that one has its facts.
fn requires(
    catalog: &Catalog,
    chosen: &Chosen<'_>,
    component: &Component,
    site: SiteKind,
) -> Vec<Fact> {
    let mut facts: BTreeSet<Fact> = component.requires.iter().copied().collect();
    let certain = |with: &&ValuesWith| {
        chosen
            .get(with.component.as_str())
            .is_some_and(|other| !other.value.optional)
    };
    let values = layered(
        &component.values,
        component.values_with.iter().filter(certain),
        component.site_values.get(&site),
    );
    facts.extend(required_facts(&Value::Object(values), "").0);
    for object in component.objects.iter().flat_map(ObjectEntry::objects) {
        facts.extend(required_facts(&Value::Object(object.clone()), "").0);
    }
    if let Some(file) = component
        .manifest
        .as_ref()
        .and_then(|name| catalog.statics.get(name))
    {
        facts.extend(
            file.value
                .iter()
                .flat_map(|object| required_facts(object, "").0),
        );
    }
    // every plan knows the class of its ingress
    facts.remove(&Fact::IngressClass);
    let known = catalog.sites.get(&site).map(|site| &site.value.facts);
    facts
        .into_iter()
        .filter(|fact| known.is_none_or(|known| known.get(*fact).is_none()))
        .collect()
}

fn site_plan(
    catalog: &Catalog,
    chosen: &Chosen<'_>,
    edition: &str,
    site: SiteKind,
) -> Result<SitePlan, Vec<Problem>> {
    let chosen = on_site(chosen, site);
    let waves = waves(&chosen, edition, site)?;
    let rke2_config = rke2_config(catalog, &chosen, edition, site)?;
    let mut static_manifests: Vec<StaticManifest> = chosen
        .values()
        .filter_map(|component| static_manifest(catalog, &component.value))
        .collect();
    static_manifests.sort_by(|a, b| a.name.cmp(&b.name));
    let mut facts = catalog
        .sites
        .get(&site)
        .map(|site| site.value.facts.clone())
        .unwrap_or_default();
    facts.set(Fact::IngressClass, ingress_class(&rke2_config));
    Ok(SitePlan {
        waves,
        rke2_config,
        static_manifests,
        facts,
    })
}

fn static_manifest(catalog: &Catalog, component: &Component) -> Option<StaticManifest> {
    let (name, content) = match component.delivery {
        Delivery::Static => {
            let name = component.manifest.clone()?;
            let objects = catalog.statics.get(&name)?.value.clone();
            (name, StaticContent::Objects { objects })
        }
        // also where it has no values of its own: the inventory may have some
        Delivery::Rke2 if component.release.is_none() => (
            format!("{}-config", component.name),
            StaticContent::HelmChartConfig,
        ),
        Delivery::Bootstrap => (component.name.clone(), StaticContent::BootstrapHelmChart),
        _ => return None,
    };
    Some(StaticManifest {
        name,
        component: component.name.clone(),
        requires: component.requires.clone(),
        content,
    })
}

/// Iterates over the names in `${key.NAME}` of a secret's text.
pub(crate) fn key_references(text: &str) -> impl Iterator<Item = &str> {
    text.split("${key.")
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}
