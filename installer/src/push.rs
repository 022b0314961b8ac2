//! From the bundle straight into the site's registry.
//!
//! Nothing touches a disk: a blob is read from the archive, hashed while it is sent, and its last frame is held back until the hash
//! agrees, so the registry never commits a damaged blob. The order makes every moment safe to stop at: blobs (each digest once, largest
//! first), their mounts into the repositories that share them, the manifests below an index, then tags, signatures' last. The next run
//! asks for the tags and goes on from what is there; when all is there, that is one HEAD a tag and nothing else. A project that lists no
//! repository is not asked for each tag.

mod contents;
mod left_out;
mod send;
mod stream;

use std::collections::{BTreeSet, HashMap, HashSet};

use airgap_archive::VerifiedArchive;
use airgap_registry::{ManifestReference, RepositoryName, SiteRegistry};
pub use contents::{Artifact, Contents, Kind};
use futures_util::{StreamExt, TryStreamExt, stream as streams};
use left_out::LeftOut;
use oci_spec::image::Digest;
use serde::Serialize;

use crate::{
    Result,
    event::{Event, Report},
};

/// What the registry lacks. Inert: computing it writes nothing.
#[derive(Debug, Default)]
pub struct PushPlan {
    missing: Vec<Missing>,
    blobs: Vec<BlobPush>,
    /// What a delta leaves out and the registry has.
    left_out: Vec<LeftOut>,
    /// The project has no repository, so no blob either, but for what an interrupted push has left.
    nothing_listed: bool,
    /// What the plan comes to.
    pub summary: PushSummary,
}

/// A push in numbers, for the plan and the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PushSummary {
    /// Tags (and untagged referrers) that are right already.
    pub present: u64,
    /// Those that are missing or hold another digest.
    pub missing: u64,
    /// Blobs of the missing ones, each counted once.
    pub blobs: u64,
    /// Bytes of those blobs; what the registry has already is not sent.
    pub bytes: u64,
    /// Tags that hold another digest and will be moved, each with that digest.
    pub moved: Vec<String>,
    /// Tags of signatures and attestations under which the site has put its own, each with that digest; these stay.
    pub kept: Vec<String>,
    /// Layers that the bundle, a delta, leaves out, and that the registry has.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Layers that the bundle leaves out, and that are not in the registry: without these nothing can be installed.
    #[serde(skip_serializing_if = "is_zero")]
    pub unproven: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// An artifact whose tag is not there, or holds another digest: `holds`.
#[derive(Debug)]
struct Missing {
    artifact: Artifact,
    holds: Option<Digest>,
}

/// One blob and every repository that needs it.
#[derive(Debug)]
struct BlobPush {
    digest: Digest,
    size: u64,
    repositories: Vec<RepositoryName>,
    /// A repository that is known to hold it.
    holder: Option<RepositoryName>,
}

/// Asks for every tag of the archive, `jobs` at a time, and for what a delta leaves out, and plans what to send.
///
/// Where the first tag is missing, one question tells whether the project has a repository at all; without any, no other tag is asked for.
pub async fn plan(
    registry: &SiteRegistry,
    archive: &VerifiedArchive,
    jobs: usize,
    report: Report<'_>,
) -> Result<PushPlan> {
    let mut artifacts = Contents::of(archive)?.artifacts.into_iter();
    let mut asked = Vec::with_capacity(artifacts.len());
    if let Some(first) = artifacts.next() {
        asked.push(ask(registry, first).await?);
    }
    if matches!(asked[..], [(_, None)]) && registry.lists_nothing().await {
        let first = asked.into_iter().map(|(artifact, _)| artifact);
        return Ok(plan_of_all(first.chain(artifacts), archive));
    }
    let others: Vec<_> = streams::iter(artifacts)
        .map(|artifact| ask(registry, artifact))
        .buffered(jobs.max(1))
        .try_collect()
        .await?;
    asked.extend(others);
    let mut summary = PushSummary::default();
    let mut missing = Vec::new();
    let mut holders: HashMap<Digest, RepositoryName> = HashMap::new();
    for (artifact, found) in asked {
        match found {
            Some(digest) if digest == artifact.digest => {
                summary.present += 1;
                holders.extend(
                    artifact
                        .blobs
                        .iter()
                        .map(|(digest, _)| (digest.clone(), artifact.repository.clone())),
                );
            }
            Some(other) if artifact.kind != Kind::Content && artifact.tag.is_some() => {
                report(Event::Warning {
                    message: format!(
                        "{} holds {} of the site's own ({other}); it stays, and the publisher's is not pushed",
                        artifact.name(),
                        match artifact.kind {
                            Kind::Signature => "a signature",
                            _ => "an attestation",
                        }
                    ),
                });
                summary.kept.push(format!("{}: {other}", artifact.name()));
            }
            Some(other) => {
                summary.moved.push(format!("{}: {other}", artifact.name()));
                missing.push(Missing {
                    artifact,
                    holds: Some(other),
                });
            }
            None => missing.push(Missing {
                artifact,
                holds: None,
            }),
        }
    }
    let left_out = left_out::of(archive, &missing, &holders);
    let left_out = left_out::prove(registry, left_out, jobs).await?;
    Ok(plan_of(missing, &holders, left_out, archive, summary))
}

/// Plans a push into a project that does not exist yet; asks nothing.
pub fn plan_for_empty(archive: &VerifiedArchive) -> Result<PushPlan> {
    let artifacts = Contents::of(archive)?.artifacts.into_iter();
    Ok(plan_of_all(artifacts, archive))
}

/// Asks what an artifact's tag, or the digest of one without a tag, leads to.
async fn ask(registry: &SiteRegistry, artifact: Artifact) -> Result<(Artifact, Option<Digest>)> {
    let reference = artifact.tag.clone().map_or_else(
        || ManifestReference::Digest(artifact.digest.clone()),
        ManifestReference::Tag,
    );
    let found = registry
        .head_manifest(&artifact.repository, &reference)
        .await?;
    Ok((artifact, found))
}

/// Plans a push of everything, into a project that has no repository.
fn plan_of_all(artifacts: impl Iterator<Item = Artifact>, archive: &VerifiedArchive) -> PushPlan {
    let missing: Vec<Missing> = artifacts
        .map(|artifact| Missing {
            artifact,
            holds: None,
        })
        .collect();
    let left_out = left_out::of(archive, &missing, &HashMap::new());
    PushPlan {
        nothing_listed: true,
        ..plan_of(
            missing,
            &HashMap::new(),
            left_out,
            archive,
            PushSummary::default(),
        )
    }
}

fn plan_of(
    missing: Vec<Missing>,
    holders: &HashMap<Digest, RepositoryName>,
    left_out: Vec<LeftOut>,
    archive: &VerifiedArchive,
    mut summary: PushSummary,
) -> PushPlan {
    let not_carried: HashSet<&Digest> = archive
        .omitted()
        .iter()
        .map(|layer| &layer.digest)
        .collect();
    let mut needed: HashMap<Digest, (u64, BTreeSet<RepositoryName>)> = HashMap::new();
    for Missing { artifact, .. } in &missing {
        let carried = artifact.blobs.iter();
        for (digest, size) in carried.filter(|(digest, _)| !not_carried.contains(digest)) {
            needed
                .entry(digest.clone())
                .or_insert_with(|| (*size, BTreeSet::new()))
                .1
                .insert(artifact.repository.clone());
        }
    }
    let mut blobs: Vec<BlobPush> = needed
        .into_iter()
        .map(|(digest, (size, repositories))| BlobPush {
            holder: holders.get(&digest).cloned(),
            repositories: repositories.into_iter().collect(),
            digest,
            size,
        })
        .collect();
    blobs.sort_by(|a, b| {
        b.size
            .cmp(&a.size)
            .then_with(|| a.digest.as_ref().cmp(b.digest.as_ref()))
    });
    summary.missing = missing.len() as u64;
    summary.blobs = blobs.len() as u64;
    summary.bytes = blobs.iter().map(|blob| blob.size).sum();
    let proven = left_out.iter().filter(|layer| layer.holder.is_some());
    summary.left_out = proven.count() as u64;
    summary.unproven = left_out.len() as u64 - summary.left_out;
    PushPlan {
        missing,
        blobs,
        left_out,
        nothing_listed: false,
        summary,
    }
}

impl PushPlan {
    /// Tells whether the registry has everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
    }
}
