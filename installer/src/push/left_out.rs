//! What a delta leaves out: proven in the registry, and mounted from there.
//!
//! The proof only asks; it comes before anything changes. The mounts come before any blob is sent, so a registry that will not link what it
//! has stops the push while nothing has been done yet that would have to be done again.

use std::collections::{BTreeSet, HashMap};

use airgap_archive::{Omitted, VerifiedArchive};
use airgap_registry::{RepositoryName, SiteRegistry};
use futures_util::{StreamExt, TryStreamExt, stream as streams};
use oci_spec::image::Digest;

use super::{Artifact, Missing};
use crate::{Error, Result};

/// A layer that the bundle does not carry, and every repository that needs it.
#[derive(Debug)]
pub(super) struct LeftOut {
    digest: Digest,
    repositories: BTreeSet<RepositoryName>,
    /// Where the base is said to have put it.
    listed: Vec<RepositoryName>,
    /// A repository that holds it.
    pub(super) holder: Option<RepositoryName>,
}

/// Lists what the bundle leaves out and `missing` needs; nothing is asked.
pub(super) fn of(
    archive: &VerifiedArchive,
    missing: &[Missing],
    holders: &HashMap<Digest, RepositoryName>,
) -> Vec<LeftOut> {
    let needed = |layer: &Omitted| -> BTreeSet<RepositoryName> {
        let needs = |artifact: &&Artifact| {
            let mut blobs = artifact.blobs.iter();
            blobs.any(|(digest, _)| *digest == layer.digest)
        };
        let artifacts = missing
            .iter()
            .map(|missing| &missing.artifact)
            .filter(needs);
        artifacts
            .map(|artifact| artifact.repository.clone())
            .collect()
    };
    archive
        .omitted()
        .iter()
        .map(|layer| LeftOut {
            repositories: needed(layer),
            listed: layer
                .repositories
                .iter()
                .filter_map(|name| RepositoryName::parse(name).ok())
                .collect(),
            holder: holders.get(&layer.digest).cloned(),
            digest: layer.digest.clone(),
        })
        .filter(|layer| !layer.repositories.is_empty())
        .collect()
}

/// Asks for each layer in the repositories that need it, then in those the base is said to have put it, until one has it.
pub(super) async fn prove(
    registry: &SiteRegistry,
    layers: Vec<LeftOut>,
    jobs: usize,
) -> Result<Vec<LeftOut>> {
    streams::iter(layers)
        .map(|mut layer| async move {
            if layer.holder.is_none() {
                for repository in layer.repositories.iter().chain(&layer.listed) {
                    if registry.blob_exists(repository, &layer.digest).await? {
                        layer.holder = Some(repository.clone());
                        break;
                    }
                }
            }
            Ok(layer)
        })
        .buffered(jobs.max(1))
        .try_collect()
        .await
}

/// Links a layer into every repository that needs it.
pub(super) async fn mount(
    registry: &SiteRegistry,
    archive: &VerifiedArchive,
    layer: &LeftOut,
) -> Result<()> {
    for repository in &layer.repositories {
        if registry.blob_exists(repository, &layer.digest).await? {
            continue;
        }
        let mut mounted = false;
        for holder in layer.holder.iter().chain(&layer.listed) {
            mounted = registry.mount(repository, &layer.digest, holder).await?;
            if mounted {
                break;
            }
        }
        if !mounted {
            return Err(unproven(archive, 1));
        }
    }
    Ok(())
}

/// Says that so many layers were not found, and which release brings them.
pub(super) fn unproven(archive: &VerifiedArchive, layers: usize) -> Error {
    let base = archive.info().delta.as_ref();
    Error::Unproven {
        layers,
        version: base.map_or_else(String::new, |base| base.version.clone()),
        release: base.map_or(0, |base| base.release),
    }
}
