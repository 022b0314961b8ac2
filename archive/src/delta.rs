//! Deltas: bundles that leave out image layers which their site already has (FORMAT §9).
//!
//! What is left out is a list of descriptors, signed like everything else: the layers of one more manifest. A layer that is neither
//! carried nor listed is damage, and what is listed must be a layer of an image that is carried. Whether a site really has it is not
//! known here: the installer proves it in the registry.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, Digest, MediaType};
use serde_json::json;

use crate::{Entry, Role, VerifiedArchive, annotations, digest_of, index, manifest};

/// The artifact type of the list.
const TYPE: &str = "application/vnd.airgap.delta.v1+json";
/// OCI's empty config.
pub(crate) const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// Repositories named for one layer at most; a site tries them in turn.
const MAX_REPOSITORIES: usize = 8;

/// Which bundle a delta builds on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeltaBase {
    /// The digest of its `index.json`.
    pub index_digest: Digest,
    /// Its version, for people.
    pub version: String,
    /// Its release number.
    pub release: u64,
}

/// A layer that a delta leaves out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Omitted {
    /// The layer.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Repositories of the base that hold it, such as `quay.io/argoproj/argocd`.
    pub repositories: Vec<String>,
}

/// What a bundle lends to the deltas that build on it: the layers of its images, carried or themselves left out.
#[derive(Debug, Clone)]
pub struct Base {
    /// Which bundle that is.
    pub id: DeltaBase,
    /// Its platform: a delta of another one would have nothing in common with it.
    pub platform: String,
    layers: HashMap<Digest, BTreeSet<String>>,
}

impl Base {
    /// Looks through the manifests of a bundle; reads nothing else of it.
    #[must_use]
    pub fn of(archive: &VerifiedArchive) -> Self {
        let mut layers: HashMap<Digest, BTreeSet<String>> = HashMap::new();
        let images = archive
            .entries()
            .iter()
            .filter(|entry| entry.role == Role::Image);
        for entry in images {
            let Some(repository) = entry.name.as_deref().and_then(repository) else {
                continue;
            };
            for layer in archive.inner.graph.layers(entry) {
                layers
                    .entry(layer.digest().clone())
                    .or_default()
                    .insert(repository.clone());
            }
        }
        let info = archive.info();
        Self {
            id: DeltaBase {
                index_digest: archive.index_digest().clone(),
                version: info.version.clone(),
                release: info.release,
            },
            platform: info.platform.clone(),
            layers,
        }
    }

    /// Tells whether the base's images have this layer.
    #[must_use]
    pub fn holds(&self, digest: &Digest) -> bool {
        self.layers.contains_key(digest)
    }

    /// Renders the list of those of `wanted` that the base holds, sorted by digest.
    pub(crate) fn list(&self, wanted: &HashMap<Digest, Descriptor>) -> Vec<u8> {
        let held: BTreeMap<&str, (&Descriptor, &BTreeSet<String>)> = wanted
            .iter()
            .filter_map(|(digest, layer)| {
                Some((digest.as_ref(), (layer, self.layers.get(digest)?)))
            })
            .collect();
        let layers: Vec<_> = held
            .iter()
            .map(|(digest, (layer, repositories))| {
                let repositories: Vec<&str> = repositories
                    .iter()
                    .take(MAX_REPOSITORIES)
                    .map(String::as_str)
                    .collect();
                json!({
                    "mediaType": layer.media_type(),
                    "digest": digest,
                    "size": layer.size(),
                    "annotations": {annotations::DELTA_REPOSITORIES: repositories.join(",")},
                })
            })
            .collect();
        let list = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest,
            "artifactType": TYPE,
            "config": {"mediaType": EMPTY_TYPE, "digest": digest_of(EMPTY), "size": EMPTY.len()},
            "layers": layers,
        });
        index::sorted_json(list)
    }
}

/// Returns the repository of an image's full source name.
fn repository(name: &str) -> Option<String> {
    let reference: Reference = name.parse().ok()?;
    Some(format!(
        "{}/{}",
        reference.registry(),
        reference.repository()
    ))
}

/// Reads the list of a delta: what it leaves out, and the config that is carried for it.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Descriptor, Vec<Omitted>), String> {
    let mut descriptors = manifest::references(&MediaType::ImageManifest, bytes)?.into_iter();
    let config = descriptors.next().ok_or("the list has no config")?;
    let omitted = descriptors
        .map(|layer| omitted(&layer))
        .collect::<Result<_, _>>()?;
    Ok((config, omitted))
}

fn omitted(layer: &Descriptor) -> Result<Omitted, String> {
    let digest = layer.digest().clone();
    let repositories = layer
        .annotations()
        .as_ref()
        .and_then(|annotations| annotations.get(annotations::DELTA_REPOSITORIES))
        .ok_or_else(|| format!("nothing says where {digest} is"))?;
    let repositories: Vec<String> = repositories.split(',').map(str::to_owned).collect();
    if repositories.len() > MAX_REPOSITORIES
        || !repositories.iter().all(|name| index::is_name(name))
    {
        return Err(format!(
            "the repositories of {digest} are not 1 to {MAX_REPOSITORIES} names"
        ));
    }
    Ok(Omitted {
        digest,
        size: layer.size(),
        repositories,
    })
}

/// Checks that a list stands in the index exactly where that says it is a delta's, once, and as nothing else.
pub(crate) fn check(is_delta: bool, entries: &[Entry]) -> Result<(), String> {
    let lists: Vec<&Entry> = entries
        .iter()
        .filter(|entry| entry.role == Role::Delta)
        .collect();
    let [list] = lists[..] else {
        return if lists.is_empty() && !is_delta {
            Ok(())
        } else {
            Err("a delta has one list of what it leaves out".to_owned())
        };
    };
    let digest = list.descriptor.digest();
    let uses = entries
        .iter()
        .filter(|entry| entry.descriptor.digest() == digest)
        .count();
    if !is_delta || uses != 1 || *list.descriptor.media_type() != MediaType::ImageManifest {
        return Err(format!("{digest} is no delta's list"));
    }
    Ok(())
}
