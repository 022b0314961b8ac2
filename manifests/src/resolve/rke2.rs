//! What an edition's components make of RKE2: the release, and the keys of its config.yaml.
//!
//! Invariant: a key has one word, whoever sets it; only lists grow.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::catalog::Catalog;
use crate::selection::Chosen;
use crate::{FileRef, Problem, ResolvedRke2, Rke2Config, SiteKind, SitePlan};

/// Returns the release and the choices made for it; nothing where the choice holds no RKE2.
pub(super) fn rke2(
    chosen: &Chosen<'_>,
    sites: &BTreeMap<SiteKind, SitePlan>,
    files: Vec<FileRef>,
) -> Option<ResolvedRke2> {
    let release = chosen.get("rke2")?.value.release.as_ref()?;
    let config = &sites.values().next()?.rke2_config;
    Some(ResolvedRke2 {
        version: release.version.clone(),
        cni: word(config, "cni").to_owned(),
        ingress: word(config, "ingress-controller").to_owned(),
        runtime_image: release.runtime_image.parse().ok()?,
        files,
    })
}

/// Returns the first word of a server's key.
fn word<'a>(config: &'a Rke2Config, key: &str) -> &'a str {
    let value = match config.server.get(key) {
        Some(Value::Array(items)) => items.first(),
        value => value,
    };
    value.and_then(Value::as_str).unwrap_or_default()
}

/// Returns the ingress class that comes with RKE2's choice of controller.
pub(super) fn ingress_class(config: &Rke2Config) -> &str {
    match word(config, "ingress-controller") {
        "ingress-nginx" => "nginx",
        other => other,
    }
}

/// Checks that the choice holds RKE2, and that RKE2's runtime image is among its images.
pub(crate) fn check_release(chosen: &Chosen<'_>, edition: &str) -> Vec<Problem> {
    let Some(rke2) = chosen.get("rke2") else {
        return vec![
            Problem::new(format!("editions/{edition}.yaml"), "has no RKE2")
                .remedy("list the component `rke2`"),
        ];
    };
    let image = rke2
        .value
        .release
        .as_ref()
        .map(|release| &release.runtime_image);
    if image.is_some_and(|image| rke2.value.images.contains(image)) {
        Vec::new()
    } else {
        vec![rke2.problem(
            &["release", "runtimeImage"],
            "`release.runtimeImage` is not among `images`",
        )]
    }
}

/// Merges the keys of config.yaml that the kind of site and the components decide; two words for one key are a problem,
/// lists grow.
pub(crate) fn rke2_config(
    catalog: &Catalog,
    chosen: &Chosen<'_>,
    edition: &str,
    site: SiteKind,
) -> Result<Rke2Config, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut config = catalog
        .sites
        .get(&site)
        .map(|site| site.value.rke2.clone())
        .unwrap_or_default();
    for (name, component) in chosen {
        let own = &component.value.rke2;
        for (part, keys, into) in [
            ("all", &own.all, &mut config.all),
            ("server", &own.server, &mut config.server),
            ("agent", &own.agent, &mut config.agent),
        ]
            as [(&str, &Map<String, Value>, &mut Map<String, Value>); 3]
        {
            for (key, value) in keys {
                match (into.get_mut(key), value) {
                    (None, _) => {
                        into.insert(key.clone(), value.clone());
                    }
                    (Some(Value::Array(below)), Value::Array(above)) => below.extend(
                        above
                            .iter()
                            .filter(|item| !below.contains(item))
                            .cloned()
                            .collect::<Vec<_>>(),
                    ),
                    (Some(below), _) if below == value => {}
                    (Some(below), _) => {
                        let message = format!(
                            "`{name}` sets RKE2's `{key}` to {value}, but it is {below} already (edition {edition} on {site})"
                        );
                        problems.push(component.problem(&["rke2", part, key], message));
                    }
                }
            }
        }
    }
    for key in ["cni", "ingress-controller"] {
        if !config.server.contains_key(key) {
            problems.push(
                Problem::new(
                    format!("editions/{edition}.yaml"),
                    format!("nothing sets RKE2's `{key}` on {site}"),
                )
                .remedy("list a component that does"),
            );
        }
    }
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(problems)
    }
}
