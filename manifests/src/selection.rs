//! Which components an edition has, and in which waves they start on a kind of site.
//!
//! Invariant: in a plan without problems every need of a component is met by one that starts before it. The order follows
//! from `needs` and `provides` alone; nobody numbers waves.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Catalog, Sourced};
use crate::{Component, Delivery, Edition, Problem, SiteKind, suggest};

/// Capabilities that one component at most may provide on a site.
const EXCLUSIVE: [&str; 2] = ["cni", "ingress"];

/// A chosen component.
pub(crate) type Chosen<'a> = BTreeMap<&'a str, &'a Sourced<Component>>;

/// Returns the components of an edition with add-ons, on any kind of site.
pub(crate) fn choose<'a>(
    catalog: &'a Catalog,
    edition: &'a str,
    with: &[String],
) -> Result<Chosen<'a>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut add_ons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for edition in lineage(catalog, edition).map_err(|problem| vec![problem])? {
        names.extend(edition.value.components.iter().map(String::as_str));
        add_ons.extend(own_add_ons(&edition.value));
    }
    for name in with {
        match add_ons.get(name.as_str()) {
            Some(added) => names.extend(added),
            None if names.contains(name.as_str()) => {}
            None => problems.push(
                Problem::new(
                    format!("editions/{edition}.yaml"),
                    format!("`{name}` is not an add-on of edition {edition}"),
                )
                .remedy(suggest(name, add_ons.keys().copied())),
            ),
        }
    }
    let mut chosen: Chosen<'a> = names
        .iter()
        .filter_map(|name| catalog.components.get_key_value(*name))
        .map(|(name, component)| (name.as_str(), component))
        .collect();
    let replaced: BTreeSet<&str> = chosen
        .values()
        .flat_map(|component| component.value.replaces.iter().map(String::as_str))
        .collect();
    chosen.retain(|name, _| !replaced.contains(name));
    if problems.is_empty() {
        Ok(chosen)
    } else {
        Err(problems)
    }
}

/// Lists what `--with` may name of an edition's own, each with the components that it adds.
pub(crate) fn own_add_ons(edition: &Edition) -> BTreeMap<&str, Vec<&str>> {
    let single = edition.add_ons.iter().map(String::as_str);
    let grouped = edition.add_on_groups.values().flatten().map(String::as_str);
    let mut add_ons: BTreeMap<&str, Vec<&str>> = single
        .chain(grouped)
        .map(|name| (name, vec![name]))
        .collect();
    for (name, members) in &edition.add_on_groups {
        add_ons.insert(name, members.iter().map(String::as_str).collect());
    }
    add_ons
}

/// Returns an edition after all those that it extends.
pub(crate) fn lineage<'a>(
    catalog: &'a Catalog,
    edition: &'a str,
) -> Result<Vec<&'a Sourced<Edition>>, Problem> {
    let mut line: Vec<&Sourced<Edition>> = Vec::new();
    let mut next = Some(edition);
    while let Some(name) = next {
        let known = || catalog.editions.keys().map(String::as_str);
        let Some(found) = catalog.editions.get(name) else {
            return Err(match line.last() {
                None => Problem::new("editions", format!("there is no edition `{name}`"))
                    .remedy(suggest(name, known())),
                Some(below) => below
                    .problem(
                        &["extends"],
                        format!("extends `{name}`, which is not an edition"),
                    )
                    .remedy(suggest(name, known())),
            });
        };
        if line.iter().any(|seen| seen.value.name == found.value.name) {
            let names: Vec<&str> = line
                .iter()
                .map(|edition| edition.value.name.as_str())
                .collect();
            return Err(found.problem(
                &["extends"],
                format!(
                    "editions extend each other in a circle: {} -> {name}",
                    names.join(" -> ")
                ),
            ));
        }
        line.push(found);
        next = found.value.extends.as_deref();
    }
    line.reverse();
    Ok(line)
}

/// Returns those of the chosen components that a kind of site has.
pub(crate) fn on_site<'a>(chosen: &Chosen<'a>, site: SiteKind) -> Chosen<'a> {
    chosen
        .iter()
        .filter(|(_, component)| component.value.on(site))
        .map(|(name, component)| (*name, *component))
        .collect()
}

/// Computes the waves of the components that Argo CD delivers, and finds every need that nothing meets.
pub(crate) fn waves(
    chosen: &Chosen<'_>,
    edition: &str,
    site: SiteKind,
) -> Result<Vec<Vec<String>>, Vec<Problem>> {
    let mut problems = clashes(chosen, edition, site);
    let mut providers: BTreeMap<&str, Vec<&Sourced<Component>>> = BTreeMap::new();
    for component in chosen.values() {
        for capability in &component.value.provides {
            providers.entry(capability).or_default().push(component);
        }
    }
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, component) in chosen {
        let late = component.value.delivery == Delivery::ArgoCd;
        let mut before = BTreeSet::new();
        for (path, need) in needs(component, chosen) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let found = providers.get(need.as_str()).map_or(&[][..], Vec::as_slice);
            if found.is_empty() {
                let message = format!(
                    "`{name}` needs `{need}`, which nothing provides in edition {edition} on {site}"
                );
                problems.push(
                    component
                        .problem(&path, message)
                        .remedy(suggest(need, providers.keys().copied())),
                );
            }
            for provider in found {
                match (provider.value.delivery == Delivery::ArgoCd, late) {
                    (true, true) if provider.value.name == *name => {
                        problems.push(
                            component
                                .problem(&path, format!("`{name}` needs `{need}` from itself")),
                        );
                    }
                    (true, true) => {
                        before.insert(provider.value.name.as_str());
                    }
                    (true, false) => {
                        let message = format!(
                            "`{name}` starts before Argo CD, but needs `{need}` from `{}`, which Argo CD delivers",
                            provider.value.name
                        );
                        problems.push(component.problem(&path, message));
                    }
                    (false, _) => {}
                }
            }
        }
        if late {
            waiting.insert(name, before);
        }
    }
    let waves = sort(waiting).unwrap_or_else(|circle| {
        for name in &circle {
            let message = format!(
                "components need each other in a circle in edition {edition} on {site}: {}",
                circle.join(", ")
            );
            problems.push(chosen[name].problem(&["needs"], message));
        }
        Vec::new()
    });
    if problems.is_empty() {
        Ok(waves)
    } else {
        Err(problems)
    }
}

/// Iterates over what a component needs beside the other chosen ones, each with its place in the file.
pub(crate) fn needs<'a>(
    component: &'a Sourced<Component>,
    chosen: &'a Chosen<'_>,
) -> impl Iterator<Item = (Vec<String>, &'a String)> {
    let value = &component.value;
    let own = value
        .needs
        .iter()
        .enumerate()
        .map(|(index, need)| (vec!["needs".to_owned(), index.to_string()], need));
    let with = value
        .needs_with
        .iter()
        .filter(|(other, _)| chosen.contains_key(other.as_str()))
        .flat_map(|(other, needs)| {
            needs.iter().enumerate().map(move |(index, need)| {
                let path = vec!["needsWith".to_owned(), other.clone(), index.to_string()];
                (path, need)
            })
        });
    own.chain(with)
}

/// Sorts names so that each comes after those it waits for; the error is the names that wait for each other.
fn sort<'a>(
    mut waiting: BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> Result<Vec<Vec<String>>, Vec<&'a str>> {
    let mut waves = Vec::new();
    while !waiting.is_empty() {
        let ready: Vec<&str> = waiting
            .iter()
            .filter(|(_, before)| before.is_empty())
            .map(|(name, _)| *name)
            .collect();
        if ready.is_empty() {
            return Err(circle(&waiting));
        }
        for name in &ready {
            waiting.remove(name);
        }
        for before in waiting.values_mut() {
            before.retain(|name| !ready.contains(name));
        }
        waves.push(ready.into_iter().map(str::to_owned).collect());
    }
    Ok(waves)
}

/// Follows waits until a name comes again; what lies between is the circle.
fn circle<'a>(waiting: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<&'a str> {
    let mut path: Vec<&str> = Vec::new();
    let mut next = waiting.keys().next().copied();
    while let Some(name) = next {
        if let Some(start) = path.iter().position(|seen| *seen == name) {
            return path.split_off(start);
        }
        path.push(name);
        next = waiting.get(name).and_then(|before| before.first().copied());
    }
    path
}

fn clashes(chosen: &Chosen<'_>, edition: &str, site: SiteKind) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut releases: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut exclusive: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, component) in chosen {
        let value = &component.value;
        if value.delivery != Delivery::Static
            && let Some(other) = releases.insert((&value.namespace, value.release_name()), name)
        {
            let message = format!(
                "`{other}` and `{name}` both claim release `{}` in namespace `{}` (edition {edition} on {site})",
                value.release_name(),
                value.namespace
            );
            problems.push(
                component
                    .problem(&["namespace"], message)
                    .remedy("set another `releaseName`, or let one of them replace the other"),
            );
        }
        for (index, other) in value.conflicts.iter().enumerate() {
            if chosen.contains_key(other.as_str()) {
                let message = format!(
                    "`{name}` cannot be chosen beside `{other}` (edition {edition} on {site})"
                );
                problems.push(
                    component
                        .problem(&["conflicts", &index.to_string()], message)
                        .remedy("choose one of them"),
                );
            }
        }
        for capability in value
            .provides
            .iter()
            .filter(|capability| EXCLUSIVE.contains(&capability.as_str()))
        {
            if let Some(other) = exclusive.insert(capability, name) {
                let message = format!(
                    "`{other}` and `{name}` both provide `{capability}` in edition {edition} on {site}"
                );
                problems.push(component.problem(&["provides"], message).remedy(format!(
                    "list one of them under the other's `replaces`: {other}"
                )));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_circle_is_named_without_those_that_only_wait_for_it() {
        let waiting = BTreeMap::from([
            ("a", BTreeSet::from(["b"])),
            ("b", BTreeSet::from(["c"])),
            ("c", BTreeSet::from(["b"])),
            ("d", BTreeSet::new()),
        ]);
        assert_eq!(sort(waiting).unwrap_err(), ["b", "c"]);
    }

    proptest! {
        #[test]
        fn whatever_is_waited_for_comes_first(edges in prop::collection::vec((0_usize..12, 0_usize..12), 0..30)) {
            const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
            let mut waiting: BTreeMap<&str, BTreeSet<&str>> = NAMES.iter().map(|name| (*name, BTreeSet::new())).collect();
            for (from, to) in edges {
                // only downhill, so that there is no circle
                if from > to {
                    waiting.entry(NAMES[from]).or_default().insert(NAMES[to]);
                }
            }
            let waves = sort(waiting.clone()).unwrap();
            let wave = |name: &str| waves.iter().position(|wave| wave.iter().any(|member| member == name)).unwrap();
            for (name, before) in &waiting {
                for earlier in before {
                    prop_assert!(wave(earlier) < wave(name));
                }
            }
        }
    }
}
