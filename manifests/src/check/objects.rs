//! Checks of components that are objects: each is one, and each list that they are repeated for is there.

use serde_json::{Map, Value};

use crate::catalog::{Catalog, Sourced};
use crate::render::look_up;
use crate::template::item_references;
use crate::{Component, Delivery, KnownImages, ObjectEntry, Problem, find_images, suggest};

pub(super) fn check(
    catalog: &Catalog,
    component: &Sourced<Component>,
    problems: &mut Vec<Problem>,
) {
    let value = &component.value;
    if value.objects.is_empty() {
        return;
    }
    check_images(catalog, component, problems);
    if value.delivery != Delivery::ArgoCd {
        problems.push(
            component
                .problem(&["objects"], "only Argo CD delivers `objects`")
                .remedy("write `delivery: argoCd`, or put them into a file of static/"),
        );
    }
    if value.chart.is_some() {
        problems.push(
            component
                .problem(&["objects"], "has both a `chart` and `objects`")
                .remedy("make the objects a component of their own that needs this one"),
        );
    }
    for (index, entry) in value.objects.iter().enumerate() {
        let number = index.to_string();
        if let ObjectEntry::ForEach { list, .. } = entry {
            check_list(component, &number, list, problems);
        }
        for (path, object) in places(index, entry) {
            let steps: Vec<&str> = path.split('.').collect();
            for key in ["apiVersion", "kind", "metadata"] {
                if !object.contains_key(key) {
                    problems.push(component.problem(&steps, format!("`{path}` has no `{key}`")));
                }
            }
            if matches!(entry, ObjectEntry::Object(_)) {
                for (place, reference) in item_references(&Value::Object(object.clone()), &path) {
                    let steps: Vec<&str> = place.split('.').collect();
                    let message = format!("`{place}` refers to `{reference}`, but repeats nothing");
                    problems.push(
                        component
                            .problem(&steps, message)
                            .remedy("put the object under a `forEach`"),
                    );
                }
            }
        }
    }
}

/// Checks that every image that an object names is among the component's.
fn check_images(catalog: &Catalog, component: &Sourced<Component>, problems: &mut Vec<Problem>) {
    let known = KnownImages::of(catalog);
    for (index, entry) in component.value.objects.iter().enumerate() {
        for (path, object) in places(index, entry) {
            for found in find_images(&Value::Object(object.clone()), &known) {
                let image = &found.image;
                let listed = component
                    .value
                    .image_texts()
                    .any(|(_, _, text)| text == image);
                // what an item of the values names is checked by the site that adds it
                if listed || image.contains("${") {
                    continue;
                }
                let steps: Vec<&str> = path.split('.').collect();
                let field = found.field.unwrap_or_default();
                let message = format!(
                    "`{path}` asks for image `{image}` ({field}), which is not among those of `{}`",
                    component.value.name
                );
                problems.push(
                    component
                        .problem(&steps, message)
                        .remedy(format!("add `{image}` to `images`")),
                );
            }
        }
    }
}

/// Checks that the values have a list by default, so that its name is not misspelt.
fn check_list(
    component: &Sourced<Component>,
    number: &str,
    list: &str,
    problems: &mut Vec<Problem>,
) {
    let values = &component.value.values;
    match look_up(values, list) {
        Some(Value::Array(_)) => {}
        // one reference to a fact that is a list
        Some(Value::String(text)) if text.starts_with("${site.") && text.ends_with('}') => {}
        Some(_) => {
            let message = format!("`forEach` names `{list}` of the values, which is not a list");
            problems.push(component.problem(&["objects", number, "forEach"], message));
        }
        None => {
            let message = format!("`forEach` names `{list}`, which the values do not have");
            problems.push(
                component
                    .problem(&["objects", number, "forEach"], message)
                    .remedy(if values.is_empty() {
                        format!("write `values: {{{list}: []}}`")
                    } else {
                        suggest(list, values.keys().map(String::as_str))
                    }),
            );
        }
    }
}

/// Lists the objects of an entry, each with its path in the file.
pub(super) fn places(
    index: usize,
    entry: &ObjectEntry,
) -> impl Iterator<Item = (String, &Map<String, Value>)> {
    let each = matches!(entry, ObjectEntry::ForEach { .. });
    entry
        .objects()
        .iter()
        .enumerate()
        .map(move |(inner, object)| {
            let path = if each {
                format!("objects.{index}.objects.{inner}")
            } else {
                format!("objects.{index}")
            };
            (path, object)
        })
}
