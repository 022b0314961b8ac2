//! Image references in rendered objects: where a kubelet, an operator or an argument will ask for an image.
//!
//! Containers name images plainly. Operators are told of theirs by fields of custom resources, arguments, environment,
//! annotations and configuration; there a text counts only if it names a registry that sites mirror, or a repository that
//! the catalog knows, so that prose and patterns are left alone. Definitions of kinds are skipped: they only talk of images.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Catalog, Component, ImageReference};

/// An image reference found in an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FoundImage {
    /// The reference in its full form, as far as it parses; else as it was found.
    pub image: String,
    /// The template that made the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The object and the field in it: `Deployment argocd-server spec.template.spec.containers.0.image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// What makes a text within arguments and the like an image reference.
#[derive(Debug, Clone, Default)]
pub struct KnownImages {
    hosts: BTreeSet<String>,
    repositories: BTreeSet<String>,
}

impl KnownImages {
    /// Returns the registries that sites mirror, and every repository the catalog names.
    #[must_use]
    pub fn of(catalog: &Catalog) -> Self {
        let texts = catalog.components().flat_map(Component::image_texts);
        Self {
            hosts: catalog.mirror_hosts().into_iter().collect(),
            repositories: texts
                .filter_map(|(_, _, text)| text.parse::<ImageReference>().ok())
                .map(|reference| reference.name.full_repository())
                .collect(),
        }
    }

    /// Tells whether a text out of context is an image reference.
    fn knows(&self, text: &str) -> bool {
        let Ok(reference) = text.parse::<ImageReference>() else {
            return false;
        };
        let named = text.split('/').next().unwrap_or_default();
        self.hosts.contains(named)
            || self
                .repositories
                .contains(&reference.name.full_repository())
    }
}

/// Finds every image reference of an object.
#[must_use]
pub fn find_images(object: &Value, known: &KnownImages) -> Vec<FoundImage> {
    if object["kind"] == "CustomResourceDefinition" {
        return Vec::new();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut walk = Walk {
        known,
        object: format!(
            "{} {}",
            text(&object["kind"]),
            text(&object["metadata"]["name"])
        ),
        path: Vec::new(),
        found: BTreeSet::new(),
    };
    walk.value(object, false);
    walk.found.into_iter().collect()
}

struct Walk<'a> {
    known: &'a KnownImages,
    object: String,
    path: Vec<String>,
    found: BTreeSet<FoundImage>,
}

/// The lists whose entries are containers.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

impl Walk<'_> {
    fn value(&mut self, value: &Value, container: bool) {
        match value {
            Value::Object(entries) => self.map(entries, container),
            Value::Array(items) => {
                let containers = self
                    .path
                    .last()
                    .is_some_and(|name| CONTAINERS.contains(&name.as_str()));
                for (index, item) in items.iter().enumerate() {
                    self.path.push(index.to_string());
                    self.value(item, containers);
                    self.path.pop();
                }
            }
            Value::String(text) => self.text(text),
            _ => {}
        }
    }

    fn map(&mut self, entries: &Map<String, Value>, container: bool) {
        if let Some(image) = composed(entries) {
            self.add(&image);
        }
        for (key, value) in entries {
            self.path.push(key.clone());
            match (key.as_str(), value) {
                // whatever it says, a kubelet will pull it
                ("image", Value::String(image)) if container => self.add(image),
                ("image" | "imageName", Value::String(image)) => self.maybe(image),
                (key, Value::String(image)) if key.ends_with("Image") => self.maybe(image),
                _ => self.value(value, false),
            }
            self.path.pop();
        }
    }

    /// A field that is named like an image, in an object whose kind may mean something else by it.
    fn maybe(&mut self, text: &str) {
        let pattern = text.contains(['*', '?', '{', '$']);
        if !pattern && text.contains([':', '/']) && text.parse::<ImageReference>().is_ok() {
            self.add(text);
        } else {
            self.text(text);
        }
    }

    fn text(&mut self, text: &str) {
        let separators = |c: char| c.is_whitespace() || "=,;\"'`()[]{}<>|".contains(c);
        for word in text.split(separators) {
            if word.contains(':') && self.known.knows(word) {
                self.add(word);
            }
        }
    }

    fn add(&mut self, text: &str) {
        let image = text
            .parse::<ImageReference>()
            .map_or_else(|_| text.to_owned(), |reference| reference.to_string());
        self.found.insert(FoundImage {
            image,
            template: None,
            field: Some(format!("{} {}", self.object, self.path.join("."))),
        });
    }
}

/// Returns the image of a mapping that spells it in parts, as custom resources like to.
fn composed(entries: &Map<String, Value>) -> Option<String> {
    let part = |key: &str| entries.get(key).and_then(Value::as_str);
    let (repository, tag) = (part("repository")?, part("tag")?);
    let host = part("registry")
        .map(|host| format!("{host}/"))
        .unwrap_or_default();
    let text = format!("{host}{repository}:{tag}");
    text.parse::<ImageReference>().ok().map(|_| text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known() -> KnownImages {
        KnownImages {
            hosts: ["quay.io".to_owned(), "docker.io".to_owned()].into(),
            repositories: ["docker.io/longhornio/longhorn-engine".to_owned()].into(),
        }
    }

    fn images(object: &Value) -> Vec<(String, String)> {
        let found = find_images(object, &known()).into_iter();
        found
            .map(|found| (found.image, found.field.unwrap()))
            .collect()
    }

    #[test]
    fn containers_of_every_kind_are_found_with_their_place() {
        let object = json!({
            "kind": "CronJob", "metadata": {"name": "clean"},
            "spec": {"jobTemplate": {"spec": {"template": {"spec": {
                "containers": [{"image": "redis:8", "name": "a"}],
                "initContainers": [{"image": "quay.io/a/b", "name": "b"}],
            }}}}},
        });
        let spec = "CronJob clean spec.jobTemplate.spec.template.spec";
        assert_eq!(
            images(&object),
            [
                (
                    "docker.io/library/redis:8".to_owned(),
                    format!("{spec}.containers.0.image")
                ),
                // without a tag it cannot be locked, and must be seen
                (
                    "quay.io/a/b".to_owned(),
                    format!("{spec}.initContainers.0.image")
                ),
            ]
        );
    }

    #[test]
    fn arguments_environment_annotations_and_configuration_are_searched() {
        let object = json!({
            "kind": "Deployment", "metadata": {"name": "x", "annotations": {"sidecar": "quay.io/side/car:v1"}},
            "spec": {"template": {"spec": {"containers": [{
                "image": "quay.io/main/one:v1",
                "args": ["--reloader=quay.io/reload/er:v2", "--acme-image", "quay.io/acme/solver:v3", "--url=https://quay.io/x:y"],
                "env": [{"name": "ENGINE", "value": "longhornio/longhorn-engine:v9"}, {"name": "NO", "value": "someone/else:v1"}],
            }]}}},
            "data": {"config.yaml": "image: docker.io/busy/box:1\nother: text"},
        });
        let names: Vec<String> = images(&object)
            .into_iter()
            .map(|(image, _)| image)
            .collect();
        assert_eq!(
            names,
            [
                "docker.io/busy/box:1",
                "docker.io/longhornio/longhorn-engine:v9",
                "quay.io/acme/solver:v3",
                "quay.io/main/one:v1",
                "quay.io/reload/er:v2",
                "quay.io/side/car:v1",
            ]
        );
    }

    #[test]
    fn custom_resources_name_images_in_their_own_ways() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let object = json!({
            "kind": "Cluster", "metadata": {"name": "db"},
            "spec": {
                "imageName": "ghcr.io/cloudnative-pg/postgresql:18.1",
                "proxy": {"image": {"registry": "ghcr.io", "repository": "a/b", "tag": "1"}},
                "sidecarImage": format!("ghcr.io/side/car:2@{digest}"),
            },
        });
        let names: Vec<String> = images(&object)
            .into_iter()
            .map(|(image, _)| image)
            .collect();
        assert_eq!(
            names,
            [
                "ghcr.io/a/b:1".to_owned(),
                "ghcr.io/cloudnative-pg/postgresql:18.1".to_owned(),
                format!("ghcr.io/side/car:2@{digest}"),
            ]
        );
    }

    #[test]
    fn patterns_and_definitions_of_kinds_are_left_alone() {
        let policy = json!({
            "kind": "ClusterPolicy", "metadata": {"name": "p"},
            "spec": {"rules": [{"validate": {"pattern": {"spec": {"image": "*:*"}}, "imageReferences": ["registry.example/*"]}}]},
        });
        assert_eq!(images(&policy), []);
        let definition = json!({
            "kind": "CustomResourceDefinition", "metadata": {"name": "d"},
            "spec": {"description": "such as quay.io/a/b:v1"},
        });
        assert_eq!(images(&definition), []);
    }
}
