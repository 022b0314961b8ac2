//! Where everything of a bundle goes in the site's project.
//!
//! Images keep their full source name, charts are under `charts/`, the RKE2 release under `rke2`, and a signature or referrer goes to every
//! repository that holds its subject. The edition's description stays in the bundle: it is for the installer alone.

use std::collections::{BTreeSet, HashMap, HashSet};

use airgap_archive::{Role, VerifiedArchive};
use airgap_registry::{RepositoryName, Tag};
use oci_spec::image::{Digest, MediaType};
use serde_json::Value;

use crate::{Error, Result};

/// What an artifact is, as far as pushing it differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An image, a chart or the RKE2 release: its tag is ours to set.
    Content,
    /// A signature in cosign's format: its tag is the site's to keep, once another signature is there.
    Signature,
    /// An attestation or SBOM that cosign finds by its tag alone (`sha256-….att`): the tag is the site's to keep likewise.
    Attestation,
    /// A manifest with a subject, which registries list with it. Mostly without a tag; with one, that is the site's to keep likewise.
    Referrer,
}

/// One manifest or index with its place in the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// What it is.
    pub kind: Kind,
    /// Its repository, below the project.
    pub repository: RepositoryName,
    /// Its tag; `None` for most referrers.
    pub tag: Option<Tag>,
    /// Its own digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// The manifests below it, if it is an index, each before any that refers to it.
    pub children: Vec<(Digest, MediaType)>,
    /// Configs and layers, with their sizes.
    pub blobs: Vec<(Digest, u64)>,
}

impl Artifact {
    /// Returns repository and tag, or digest, for people.
    #[must_use]
    pub fn name(&self) -> String {
        self.tag.as_ref().map_or_else(
            || format!("{}@{}", self.repository, self.digest),
            |tag| format!("{}:{tag}", self.repository),
        )
    }
}

/// Everything of a bundle that a registry is to hold.
#[derive(Clone, Debug)]
pub struct Contents {
    /// In the order of the bundle's index, signatures and referrers last.
    pub artifacts: Vec<Artifact>,
}

impl Contents {
    /// Works out where everything goes. Nothing but manifests is read.
    pub fn of(archive: &VerifiedArchive) -> Result<Self> {
        let mut artifacts = Vec::new();
        let mut holders: HashMap<Digest, BTreeSet<RepositoryName>> = HashMap::new();
        for entry in archive.entries() {
            let Some((repository, tag)) = place(entry.role, entry.name.as_deref())? else {
                continue;
            };
            let artifact = artifact(
                archive,
                Kind::Content,
                repository,
                Some(tag),
                entry.descriptor.digest(),
                entry.descriptor.media_type(),
            )?;
            for digest in artifact
                .children
                .iter()
                .map(|(digest, _)| digest)
                .chain([&artifact.digest])
            {
                holders
                    .entry(digest.clone())
                    .or_default()
                    .insert(artifact.repository.clone());
            }
            artifacts.push(artifact);
        }
        for entry in archive.entries() {
            let (Some(subject), Role::Signature | Role::Referrer) = (&entry.subject, entry.role)
            else {
                continue;
            };
            let (kind, tag) = match entry.role {
                Role::Signature => (Kind::Signature, Some(Tag::companion(subject, "sig"))),
                _ => (
                    kind_of(&archive.manifest(entry.descriptor.digest())?),
                    companion_tag(entry.name.as_deref())?,
                ),
            };
            for repository in holders.get(subject).into_iter().flatten() {
                artifacts.push(artifact(
                    archive,
                    kind,
                    repository.clone(),
                    tag.clone(),
                    entry.descriptor.digest(),
                    entry.descriptor.media_type(),
                )?);
            }
        }
        Ok(Self { artifacts })
    }
}

/// Returns the repository and tag of a named artifact; `None` for what is not pushed, or follows its subject.
fn place(role: Role, name: Option<&str>) -> Result<Option<(RepositoryName, Tag)>> {
    let Some(name) = name else { return Ok(None) };
    let malformed = || Error::Bundle {
        what: format!("`{name}` has no place in a registry"),
    };
    Ok(Some(match role {
        Role::Image => {
            // written in full, so no parser of short names is needed; the usual one takes 40 ms to set up
            let (repository, tag) = name.rsplit_once(':').ok_or_else(malformed)?;
            let repository = RepositoryName::of(repository).map_err(|_| malformed())?;
            (repository, Tag::parse(tag).map_err(|_| malformed())?)
        }
        // helm writes `+` as `_` in tags and turns it back; RKE2's own images write it as `-`
        Role::Chart => split(name, "_").ok_or_else(malformed)?,
        Role::Rke2 => split(name, "-").ok_or_else(malformed)?,
        Role::Edition | Role::Signature | Role::Referrer | Role::Delta => return Ok(None),
    }))
}

fn split(name: &str, plus: &str) -> Option<(RepositoryName, Tag)> {
    let (repository, tag) = name.rsplit_once(':')?;
    Some((
        RepositoryName::parse(repository).ok()?,
        Tag::parse(&tag.replace('+', plus)).ok()?,
    ))
}

/// A referrer that upstream found by tag (`sha256-….att`) keeps that tag; its entry is named by it.
fn companion_tag(name: Option<&str>) -> Result<Option<Tag>> {
    let Some((_, tag)) = name.and_then(|name| name.rsplit_once(':')) else {
        return Ok(None);
    };
    Ok(Some(Tag::parse(tag)?))
}

/// Tells what a registry can list with its subject from what is found by its tag alone, as the bundler has found it.
fn kind_of(manifest: &[u8]) -> Kind {
    let manifest: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let subject = manifest["subject"]["digest"].as_str();
    match subject.map(str::parse::<Digest>) {
        Some(Ok(_)) => Kind::Referrer,
        _ => Kind::Attestation,
    }
}

fn artifact(
    archive: &VerifiedArchive,
    kind: Kind,
    repository: RepositoryName,
    tag: Option<Tag>,
    digest: &Digest,
    media_type: &MediaType,
) -> Result<Artifact> {
    let mut found = Artifact {
        kind,
        repository,
        tag,
        digest: digest.clone(),
        media_type: media_type.clone(),
        children: Vec::new(),
        blobs: Vec::new(),
    };
    let mut seen = HashSet::new();
    descend(archive, digest, media_type, &mut found, &mut seen)?;
    // the artifact's own manifest is the last one descended into
    found.children.pop();
    found
        .blobs
        .sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
    found.blobs.dedup();
    Ok(found)
}

/// Collects manifests, children first, and their blobs. The archive has bounded the depth.
fn descend(
    archive: &VerifiedArchive,
    digest: &Digest,
    media_type: &MediaType,
    found: &mut Artifact,
    seen: &mut HashSet<Digest>,
) -> Result<()> {
    if !seen.insert(digest.clone()) {
        return Ok(());
    }
    let index = is_index(media_type);
    for reference in archive.references(digest)? {
        if index {
            descend(
                archive,
                reference.digest(),
                reference.media_type(),
                found,
                seen,
            )?;
        } else {
            found
                .blobs
                .push((reference.digest().clone(), reference.size()));
        }
    }
    found.children.push((digest.clone(), media_type.clone()));
    Ok(())
}

fn is_index(media_type: &MediaType) -> bool {
    matches!(media_type, MediaType::ImageIndex)
        || media_type.to_string() == "application/vnd.docker.distribution.manifest.list.v2+json"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(role: Role, name: &str) -> String {
        let (repository, tag) = place(role, Some(name))
            .expect("a good name")
            .expect("a place");
        format!("{repository}:{tag}")
    }

    #[test]
    fn images_keep_their_full_source_name() {
        assert_eq!(
            placed(Role::Image, "quay.io/argoproj/argocd:v3.4.4"),
            "quay.io/argoproj/argocd:v3.4.4"
        );
        assert_eq!(
            placed(Role::Image, "docker.io/library/traefik:3.7"),
            "docker.io/library/traefik:3.7"
        );
        assert_eq!(
            placed(Role::Image, "mirror.example:5000/a/b:1"),
            "mirror.example-5000/a/b:1"
        );
    }

    #[test]
    fn a_plus_never_reaches_a_tag() {
        assert_eq!(
            placed(Role::Chart, "charts/argo-cd:10.1.1+up1"),
            "charts/argo-cd:10.1.1_up1"
        );
        assert_eq!(
            placed(Role::Rke2, "rke2:v1.36.4+rke2r1"),
            "rke2:v1.36.4-rke2r1"
        );
    }

    #[test]
    fn only_a_subject_with_a_digest_makes_a_referrer() {
        let good = format!(
            r#"{{"subject": {{"digest": "sha256:{}"}}}}"#,
            "0".repeat(64)
        );
        assert_eq!(kind_of(good.as_bytes()), Kind::Referrer);
        for bad in [
            "{}",
            "[]",
            r#"{"subject": null}"#,
            r#"{"subject": {"digest": "sha256:x"}}"#,
        ] {
            assert_eq!(kind_of(bad.as_bytes()), Kind::Attestation, "{bad}");
        }
    }

    #[test]
    fn the_edition_stays_in_the_bundle() {
        assert!(
            place(Role::Edition, Some("edition:standard"))
                .expect("a good name")
                .is_none()
        );
    }

    #[test]
    fn a_name_without_a_tag_is_refused() {
        assert!(place(Role::Chart, Some("charts/argo-cd")).is_err());
        for name in [
            "quay.io/a/b",
            "mirror.example:5000/a/b",
            "quay.io/a/b@sha256:0",
        ] {
            assert!(place(Role::Image, Some(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn an_images_name_without_its_host_is_refused() {
        assert!(place(Role::Image, Some("nginx:1")).is_err());
    }
}
