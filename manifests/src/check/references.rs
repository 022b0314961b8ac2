//! Checks that every `${site.…}` of a component is a fact, wherever one may stand.

use serde_json::Value;

use crate::catalog::Sourced;
use crate::template::required_facts;
use crate::{Component, Problem, TemplateError};

pub(super) fn check(component: &Sourced<Component>, problems: &mut Vec<Problem>) {
    for (path, tree) in trees(&component.value) {
        for error in required_facts(&tree, &path).1 {
            let TemplateError::Unknown {
                place,
                text,
                remedy,
            } = &error
            else {
                continue;
            };
            let steps: Vec<&str> = place.split('.').collect();
            problems.push(
                component
                    .problem(
                        &steps,
                        format!("`{place}` refers to `{text}`, which is not a fact of a site"),
                    )
                    .remedy(remedy),
            );
        }
    }
}

/// Lists every tree of a component in which a reference may stand, with its path.
fn trees(value: &Component) -> Vec<(String, Value)> {
    let map =
        |path: String, map: &serde_json::Map<String, Value>| (path, Value::Object(map.clone()));
    let mut trees = vec![
        map("values".to_owned(), &value.values),
        map("rke2.all".to_owned(), &value.rke2.all),
        map("rke2.server".to_owned(), &value.rke2.server),
        map("rke2.agent".to_owned(), &value.rke2.agent),
    ];
    trees.extend(
        value
            .values_with
            .iter()
            .map(|with| map(format!("valuesWith.{}", with.component), &with.values)),
    );
    trees.extend(
        value
            .site_values
            .iter()
            .map(|(site, values)| map(format!("siteValues.{site}"), values)),
    );
    for (index, entry) in value.objects.iter().enumerate() {
        for (path, object) in super::objects::places(index, entry) {
            trees.push(map(path, object));
        }
    }
    if let Some(url) = &value.url {
        trees.push(("url".to_owned(), Value::String(url.clone())));
    }
    trees
}
