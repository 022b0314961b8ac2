//! Checks over the whole catalog: everything that one file alone cannot know.
//!
//! Each finding names file, line and remedy, and all are found in one go.

mod needs;
mod objects;
mod references;

use std::collections::BTreeSet;

use camino::Utf8Path;
use serde_json::Value;

use crate::catalog::{Catalog, Sourced};
use crate::selection::{choose, lineage, on_site, waves};
use crate::template::required_facts;
use crate::{
    Component, Delivery, ImageReference, Problem, SecretKey, SiteKind, SiteSecret, resolve, suggest,
};

/// Checks a catalog as a whole.
pub(crate) fn check(catalog: &Catalog) -> Vec<Problem> {
    let mut problems = Vec::new();
    for site in SiteKind::ALL {
        if !catalog.sites.contains_key(&site) && !catalog.unread.contains(site.name()) {
            problems.push(Problem::new(format!("sites/{site}.yaml"), "is missing"));
        }
    }
    for component in catalog.components.values() {
        check_component(catalog, component, &mut problems);
    }
    check_statics(catalog, &mut problems);
    check_lists(catalog, &mut problems);
    if catalog.unread.is_empty() {
        problems.extend(
            catalog
                .editions
                .keys()
                .filter_map(|name| lineage(catalog, name).err()),
        );
    }
    // what follows would only repeat what is already known to be wrong
    if problems.is_empty() && catalog.unread.is_empty() {
        for name in catalog.editions.keys() {
            check_edition(catalog, name, &mut problems);
        }
    }
    problems
}

fn check_component(catalog: &Catalog, component: &Sourced<Component>, problems: &mut Vec<Problem>) {
    let value = &component.value;
    if !is_label(&value.name) {
        problems.push(
            component
                .problem(&["name"], format!("`{}` is not a DNS label", value.name))
                .remedy("use lower-case letters, digits and `-`, at most 63"),
        );
    }
    if !is_label(&value.namespace) {
        problems.push(component.problem(
            &["namespace"],
            format!("`{}` is not a namespace", value.namespace),
        ));
    }
    for (site, index, text) in value.image_texts() {
        let index = index.to_string();
        let path = site.map_or_else(
            || vec!["images", &index],
            |site| vec!["siteImages", site.name(), &index],
        );
        match text.parse::<ImageReference>() {
            Ok(reference) => check_image(catalog, component, &path, text, &reference, problems),
            Err(error) => problems.push(
                component
                    .problem(&path, error.to_string())
                    .remedy("write registry, repository and tag"),
            ),
        }
    }
    check_delivery(catalog, component, problems);
    for site in value.site_images.keys().chain(value.site_values.keys()) {
        if !value.on(*site) {
            problems.push(
                component
                    .problem(
                        &["sites"],
                        format!("has entries for {site}, but `sites` does not list it"),
                    )
                    .remedy(format!("add `{site}` to `sites`, or take its entries away")),
            );
        }
    }
    references::check(component, problems);
    check_secrets(catalog, component, problems);
    for (list, names) in [
        ("replaces", &value.replaces),
        ("conflicts", &value.conflicts),
    ] {
        for (index, name) in names.iter().enumerate() {
            let path = [list, &index.to_string()];
            known(catalog, component, &path, name, problems);
        }
    }
    let with = value.values_with.iter().map(|with| &with.component);
    for (key, name) in with
        .map(|name| ("valuesWith", name))
        .chain(value.needs_with.keys().map(|name| ("needsWith", name)))
    {
        known(catalog, component, &[key, name], name, problems);
        if *name == value.name {
            problems.push(
                component.problem(&[key, name], format!("`{key}` names the component itself")),
            );
        }
    }
    objects::check(catalog, component, problems);
    needs::check(component, problems);
}

fn check_image(
    catalog: &Catalog,
    component: &Sourced<Component>,
    path: &[&str],
    text: &str,
    reference: &ImageReference,
    problems: &mut Vec<Problem>,
) {
    let full = reference.to_string();
    if full != text {
        problems.push(
            component
                .problem(path, format!("image `{text}` is not in its full form"))
                .remedy(format!("write `{full}`")),
        );
    }
    let hosts = &catalog.registries.value.mirror_hosts;
    if !hosts.iter().any(|host| host == reference.name.registry()) {
        let message = format!(
            "image `{text}` comes from `{}`, for which sites have no mirror",
            reference.name.registry()
        );
        problems.push(
            component
                .problem(path, message)
                .remedy("add the host to `mirrorHosts` in registries.yaml"),
        );
    }
}

fn check_delivery(catalog: &Catalog, component: &Sourced<Component>, problems: &mut Vec<Problem>) {
    let value = &component.value;
    match (&value.chart, value.carries_chart()) {
        (None, true) if value.delivery == Delivery::ArgoCd => {
            if value.objects.is_empty() {
                problems.push(
                    component.problem(&["delivery"], "this delivery needs a `chart` or `objects`"),
                );
            }
        }
        (None, true) => {
            problems.push(component.problem(&["delivery"], "this delivery needs a `chart`"));
        }
        (Some(chart), true) => {
            let file = Utf8Path::new(&chart.url).extension() == Some("tgz");
            let known = match chart.url.split_once("://") {
                Some(("https", _)) => file,
                Some((scheme, _)) => scheme == "oci",
                None => false,
            };
            if !known {
                let message = format!("`{}` is not a chart's address", chart.url);
                let remedy = "write `https://….tgz` or `oci://host/path/name`";
                problems.push(component.problem(&["chart", "url"], message).remedy(remedy));
            }
        }
        (Some(_), false) => {
            problems.push(
                component
                    .problem(&["chart"], "this delivery has no chart of its own")
                    .remedy("take `chart` away"),
            );
        }
        (None, false) => {}
    }
    match (&value.manifest, value.delivery) {
        (Some(name), Delivery::Static) => {
            if !catalog.statics.contains_key(name) {
                let remedy = suggest(name, catalog.statics.keys().map(String::as_str));
                problems.push(
                    component
                        .problem(&["manifest"], format!("there is no `static/{name}.yaml`"))
                        .remedy(remedy),
                );
            }
        }
        (None, Delivery::Static) => {
            problems.push(component.problem(&["delivery"], "static delivery needs a `manifest`"));
        }
        (Some(_), _) => {
            problems
                .push(component.problem(&["manifest"], "only static delivery has a `manifest`"));
        }
        (None, _) => {}
    }
    let valued = !value.values.is_empty() || !value.site_values.is_empty();
    if valued && value.delivery == Delivery::Static {
        problems.push(component.problem(&["values"], "static objects take no values"));
    }
    if value.release.is_some() != (value.name == "rke2") {
        problems.push(component.problem(
            &["release"],
            "the component `rke2`, and no other, has a `release`",
        ));
    }
}

fn check_secrets(catalog: &Catalog, component: &Sourced<Component>, problems: &mut Vec<Problem>) {
    for (index, secret) in component.value.secrets.iter().enumerate() {
        let index = index.to_string();
        for (place, name) in secret.shared_with.iter().enumerate() {
            known(
                catalog,
                component,
                &["secrets", &index, "sharedWith", &place.to_string()],
                name,
                problems,
            );
        }
        for (key, kind) in &secret.keys {
            let path = ["secrets", &index, "keys", key];
            match kind {
                SecretKey::Password { length } if *length < 16 => {
                    problems.push(
                        component
                            .problem(
                                &path,
                                format!("password `{key}` of {length} characters is too short"),
                            )
                            .remedy("take 16 or more"),
                    );
                }
                SecretKey::Hex { length } if *length < 16 || length % 2 == 1 => {
                    problems.push(
                        component
                            .problem(&path, format!("hex key `{key}` of {length} characters"))
                            .remedy("take an even number, 16 or more"),
                    );
                }
                SecretKey::Text { text } => {
                    for name in resolve::key_references(text) {
                        let remedy = suggest(name, secret.keys.keys().map(String::as_str));
                        match secret.keys.get(name) {
                            None => problems.push(component.problem(&path, format!("`{key}` refers to key `{name}`, which the secret does not have")).remedy(remedy)),
                            Some(SecretKey::Text { .. }) => problems.push(component.problem(&path, format!("`{key}` refers to `{name}`, which is a text itself"))),
                            Some(_) => {}
                        }
                    }
                }
                SecretKey::Htpasswd { of, .. }
                    if !matches!(secret.keys.get(of), Some(SecretKey::Password { .. })) =>
                {
                    let message = format!(
                        "`{key}` is made of key `{of}`, which is no password of the secret"
                    );
                    problems.push(component.problem(&path, message));
                }
                SecretKey::Site { from } => {
                    let name = from.strip_suffix('?').unwrap_or(from);
                    if let Err(remedy) = name.parse::<SiteSecret>() {
                        let message =
                            format!("`{from}` is nothing that hosts.yaml names a secret by");
                        problems.push(component.problem(&path, message).remedy(remedy));
                    }
                }
                _ => {}
            }
        }
    }
}

fn check_statics(catalog: &Catalog, problems: &mut Vec<Problem>) {
    for (name, file) in &catalog.statics {
        if !is_label(name) {
            problems.push(Problem::new(
                &file.file,
                format!("`{name}` is not a DNS label, and RKE2 names an AddOn like the file"),
            ));
        }
        let claimed = catalog
            .components
            .values()
            .any(|component| component.value.manifest.as_deref() == Some(name));
        if !claimed && catalog.unread.is_empty() {
            problems.push(
                Problem::new(&file.file, "belongs to no component")
                    .remedy("name it as the `manifest` of a component"),
            );
        }
        for (index, object) in file.value.iter().enumerate() {
            let index = index.to_string();
            for key in ["apiVersion", "kind"] {
                if object.get(key).and_then(Value::as_str).is_none() {
                    problems
                        .push(file.problem(&[&index], format!("object {index} has no `{key}`")));
                }
            }
            for error in required_facts(object, &index).1 {
                problems.push(file.problem(&[&index], error.to_string()));
            }
            check_static_images(catalog, name, file, &index, object, problems);
        }
    }
}

/// Checks that every image of a static object is among those of the component that it belongs to.
fn check_static_images(
    catalog: &Catalog,
    name: &str,
    file: &Sourced<Vec<Value>>,
    index: &str,
    object: &Value,
    problems: &mut Vec<Problem>,
) {
    let mut found = Vec::new();
    container_images(object, &mut vec![index.to_owned()], &mut found);
    let owners = catalog
        .components
        .values()
        .filter(|component| component.value.manifest.as_deref() == Some(name));
    for owner in owners {
        for (path, image) in &found {
            if !owner.value.image_texts().any(|(_, _, text)| text == image) {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                let message = format!(
                    "image `{image}` is not among those of `{}`",
                    owner.value.name
                );
                let remedy = format!("add it to `images` in {}", owner.file);
                problems.push(file.problem(&path, message).remedy(remedy));
            }
        }
    }
}

/// Finds the images of containers anywhere in an object, each with its path.
fn container_images(value: &Value, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    let mut step = |name: String, value: &Value| {
        path.push(name);
        match (path.last().map(String::as_str), value) {
            (Some("image"), Value::String(image)) => found.push((path.clone(), image.clone())),
            _ => container_images(value, path, found),
        }
        path.pop();
    };
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                step(index.to_string(), item);
            }
        }
        Value::Object(entries) => {
            for (key, item) in entries {
                step(key.clone(), item);
            }
        }
        _ => {}
    }
}

/// Checks that the editions' lists name components, each once, and that none is forgotten.
fn check_lists(catalog: &Catalog, problems: &mut Vec<Problem>) {
    let mut listed: BTreeSet<&str> = BTreeSet::new();
    for edition in catalog.editions.values() {
        let mut own: BTreeSet<&str> = BTreeSet::new();
        for (list, names) in [
            ("components", &edition.value.components),
            ("addOns", &edition.value.add_ons),
        ] {
            for (index, name) in names.iter().enumerate() {
                let path = [list, &index.to_string()];
                known(catalog, edition, &path, name, problems);
                if !own.insert(name) {
                    problems.push(edition.problem(&path, format!("`{name}` is listed twice")));
                }
                listed.insert(name);
            }
        }
        for (group, names) in &edition.value.add_on_groups {
            if catalog.components.contains_key(group) {
                problems.push(
                    edition
                        .problem(
                            &["addOnGroups", group],
                            format!("`{group}` is a component too"),
                        )
                        .remedy("give the group another name"),
                );
            }
            for (index, name) in names.iter().enumerate() {
                let path = ["addOnGroups", group, &index.to_string()];
                known(catalog, edition, &path, name, problems);
                listed.insert(name);
            }
        }
    }
    for (name, component) in &catalog.components {
        if !listed.contains(name.as_str()) {
            problems.push(
                component
                    .problem(&["name"], format!("no edition lists `{name}`"))
                    .remedy("add it to the `components` or `addOns` of an edition"),
            );
        }
    }
    let mut hosts: BTreeSet<&str> = BTreeSet::new();
    for (index, host) in catalog.registries.value.mirror_hosts.iter().enumerate() {
        if !hosts.insert(host) {
            problems.push(catalog.registries.problem(
                &["mirrorHosts", &index.to_string()],
                format!("`{host}` is listed twice"),
            ));
        }
    }
}

/// Checks an edition bare, with each add-on by itself, and with all of them that do not replace each other.
fn check_edition(catalog: &Catalog, name: &str, problems: &mut Vec<Problem>) {
    let add_ons: Vec<String> = lineage(catalog, name)
        .into_iter()
        .flatten()
        // a member of a group may need the others of it
        .flat_map(|edition| {
            edition
                .value
                .add_ons
                .iter()
                .chain(edition.value.add_on_groups.keys())
        })
        .cloned()
        .collect();
    for with in std::iter::once(Vec::new()).chain(add_ons.into_iter().map(|name| vec![name])) {
        match choose(catalog, name, &with) {
            Ok(chosen) => {
                for site in SiteKind::ALL {
                    let chosen = on_site(&chosen, site);
                    problems.extend(waves(&chosen, name, site).err().into_iter().flatten());
                    problems.extend(
                        resolve::rke2_config(catalog, &chosen, name, site)
                            .err()
                            .into_iter()
                            .flatten(),
                    );
                }
                problems.extend(resolve::check_release(&chosen, name));
            }
            Err(found) => problems.extend(found),
        }
    }
}

fn known<T>(
    catalog: &Catalog,
    file: &Sourced<T>,
    path: &[&str],
    name: &str,
    problems: &mut Vec<Problem>,
) {
    if !catalog.components.contains_key(name) && !catalog.unread.contains(name) {
        let remedy = suggest(name, catalog.components.keys().map(String::as_str));
        problems.push(
            file.problem(path, format!("there is no component `{name}`"))
                .remedy(remedy),
        );
    }
}

/// Tells whether a text is a DNS label.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
