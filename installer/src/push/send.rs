//! Carries out a plan: the requests that write, in the order that every moment is safe to stop at.
//!
//! A registry spends more on a small request than on a hundred kilobytes of a blob, and a distant one makes each wait for the line. So
//! nothing is asked that the plan knows, or that costs more than doing it: a small blob is sent without a look, a blob with a known holder
//! is mounted without one, and what a tag leads to is stored by its tag alone.

use std::{collections::VecDeque, time::Instant};

use airgap_archive::VerifiedArchive;
use airgap_registry::{Pace, Proof, RepositoryName, SiteRegistry, TagOutcome};
use futures_util::{
    StreamExt,
    stream::{self as streams, FuturesUnordered},
};
use oci_spec::image::MediaType;
use tokio::sync::Semaphore;

use super::{Artifact, BlobPush, Kind, Missing, PushPlan, left_out, stream};
use crate::{
    Error, Result,
    event::{Event, Report},
};

/// A blob of so many bytes or fewer costs no more to send than to ask for: configs, signatures, the files of a small chart.
const SMALL: u64 = 64 << 10;

/// In so many repositories a blob is looked for before it is sent.
const ASKED: usize = 4;

/// A blob's way into one more repository.
struct Mount<'a> {
    blob: &'a BlobPush,
    from: RepositoryName,
    to: &'a RepositoryName,
}

/// What every step needs.
struct Sender<'a> {
    registry: &'a SiteRegistry,
    archive: &'a VerifiedArchive,
    report: Report<'a>,
    /// A permit for each blob that may be streamed at once: as the operator says, and see [`stream::MOST_UPLOADS`]. Small ones need none.
    streams: Semaphore,
    /// Whether a blob may be there before it is sent.
    look: bool,
}

impl PushPlan {
    /// Sends what is missing, and proves it there. The first failure stops what has not begun; what is under way is finished, so the next
    /// run has less to do.
    pub async fn run(
        &self,
        registry: &SiteRegistry,
        archive: &VerifiedArchive,
        jobs: usize,
        report: Report<'_>,
    ) -> Result<()> {
        let unproven = self.left_out.iter().filter(|layer| layer.holder.is_none());
        match unproven.count() {
            0 => {}
            layers => return Err(left_out::unproven(archive, layers)),
        }
        let mut sender = Sender {
            registry,
            archive,
            report,
            streams: Semaphore::new(jobs.clamp(1, stream::MOST_UPLOADS)),
            look: true,
        };
        if self.nothing_listed {
            sender.look = sender.finds_any_of_the_first(&self.blobs).await?;
        }
        let mut each = Each {
            registry,
            pace: Pace::new(jobs.saturating_mul(2)).since(registry.complaints()),
        };
        each.of(&self.left_out, async |layer| {
            left_out::mount(registry, archive, layer).await.map(|()| 0)
        })
        .await?;

        let holders = std::sync::Mutex::new(Vec::new());
        run(
            registry,
            &mut Pace::new(jobs).since(registry.complaints()),
            self.blobs.iter().filter(|blob| blob.size > SMALL).collect(),
            self.blobs
                .iter()
                .filter(|blob| blob.size <= SMALL)
                .collect(),
            async |blob| {
                let (holder, sent) = sender.place(blob).await?;
                let mut holders = holders
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                holders.push((blob, holder));
                Ok(sent)
            },
        )
        .await?;
        let holders = holders
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mounts: Vec<Mount<'_>> = holders.into_iter().flat_map(mounts).collect();
        each.of(&mounts, async |mount| sender.mount(mount).await)
            .await?;

        each.of(&self.missing, async |missing| {
            sender.children(&missing.artifact).await
        })
        .await?;
        // some versions of Harbor take a signature only once its subject is there
        let (contents, attached): (Vec<_>, Vec<_>) = self
            .missing
            .iter()
            .partition(|missing| missing.artifact.kind == Kind::Content);
        each.of(&contents, async |missing| sender.tag(missing).await)
            .await?;
        each.of(&attached, async |missing| sender.tag(missing).await)
            .await
    }
}

/// Returns what is left to do for a blob that one repository holds.
fn mounts((blob, holder): (&BlobPush, RepositoryName)) -> impl Iterator<Item = Mount<'_>> {
    let repositories = blob.repositories.iter();
    let from = holder.clone();
    repositories
        .filter(move |to| **to != holder)
        .map(move |to| Mount {
            blob,
            from: from.clone(),
            to,
        })
}

impl Sender<'_> {
    /// Sees to it that one repository holds the blob; returns which, and how many bytes were sent.
    async fn place(&self, blob: &BlobPush) -> Result<(RepositoryName, u64)> {
        let found = match &blob.holder {
            Some(holder) => Some(holder.clone()),
            None if blob.size <= SMALL || !self.look => None,
            None => self.find(blob).await?,
        };
        let sent = found.is_none();
        let holder = match (found, blob.repositories.first()) {
            (Some(holder), _) => holder,
            (None, Some(first)) => {
                self.upload(blob, first).await?;
                first.clone()
            }
            (None, None) => {
                let what = format!("{} belongs to no repository", blob.digest);
                return Err(Error::Bundle { what });
            }
        };
        (self.report)(Event::PushedBlob {
            digest: blob.digest.to_string(),
            size: blob.size,
            sent,
        });
        Ok((holder, if sent { blob.size } else { 0 }))
    }

    /// Looks for the blob in a few of the repositories that need it. What an earlier release or an interrupted push has left is mostly in
    /// the first; where all these are new and another has it, it is sent once more, and no harm is done.
    async fn find(&self, blob: &BlobPush) -> Result<Option<RepositoryName>> {
        let mut asked = streams::iter(blob.repositories.iter().take(ASKED))
            .map(async |repository| {
                let there = self.registry.blob_exists(repository, &blob.digest).await?;
                Ok::<_, Error>(there.then(|| repository.clone()))
            })
            .buffered(ASKED);
        while let Some(found) = asked.next().await {
            if let Some(repository) = found? {
                return Ok(Some(repository));
            }
        }
        Ok(None)
    }

    /// Tells whether an interrupted push has left any blob above [`SMALL`] in a project that has no repository yet. It went by size as this
    /// one does, with so many under way that another one was begun only after one of the first was there; so those tell.
    async fn finds_any_of_the_first(&self, blobs: &[BlobPush]) -> Result<bool> {
        let large = blobs.iter().filter(|blob| blob.size > SMALL);
        let mut found = streams::iter(large.take(stream::MOST_UPLOADS))
            .map(|blob| self.find(blob))
            .buffered(stream::MOST_UPLOADS);
        while let Some(found) = found.next().await {
            if found?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn upload(&self, blob: &BlobPush, repository: &RepositoryName) -> Result<()> {
        let _permit = match blob.size {
            ..=SMALL => None,
            _ => Some(self.streams.acquire().await),
        };
        stream::upload(
            self.registry,
            self.archive,
            repository,
            &blob.digest,
            blob.size,
            self.report,
        )
        .await
    }

    /// Puts a blob into one more repository: linked there, or sent where the registry does not link.
    async fn mount(&self, mount: &Mount<'_>) -> Result<u64> {
        let Mount { blob, from, to } = mount;
        if self.registry.mount(to, &blob.digest, from).await? {
            return Ok(0);
        }
        self.upload(blob, to).await?;
        Ok(blob.size)
    }

    /// Puts the manifests below an index under their digests, each before what refers to it.
    async fn children(&self, artifact: &Artifact) -> Result<u64> {
        for (digest, media_type) in &artifact.children {
            let bytes = self.archive.manifest(digest)?;
            self.registry
                .put_manifest(&artifact.repository, media_type, &bytes)
                .await?;
        }
        Ok(0)
    }

    /// Points an artifact's tag at it, which stores it too. What has a subject is listed with that.
    async fn tag(&self, missing: &Missing) -> Result<u64> {
        let Missing { artifact, holds } = missing;
        let bytes = self.archive.manifest(&artifact.digest)?;
        let media_type: &MediaType = &artifact.media_type;
        if artifact.kind == Kind::Referrer {
            self.registry
                .put_referrer(&artifact.repository, media_type, &bytes)
                .await?;
        } else if artifact.tag.is_none() {
            self.registry
                .put_manifest(&artifact.repository, media_type, &bytes)
                .await?;
        }
        let Some(tag) = &artifact.tag else {
            return Ok(0);
        };
        // nodes pull contents, and a policy may be in their way
        let proof = match artifact.kind {
            Kind::Content => Proof::ReadBack,
            Kind::Signature | Kind::Attestation | Kind::Referrer => Proof::Answer,
        };
        let outcome = self
            .registry
            .retag(
                &artifact.repository,
                tag,
                media_type,
                &bytes,
                holds.clone(),
                proof,
            )
            .await?;
        if let TagOutcome::Moved { from } = outcome {
            (self.report)(Event::Notice {
                message: format!("{} pointed at {from} before", artifact.name()),
            });
        }
        (self.report)(Event::PushedTag {
            name: artifact.name(),
        });
        Ok(0)
    }
}

/// Makes requests that carry no blob, as many at a time as help: up to twice as many as uploads, since they mostly wait for answers. What
/// one step has learned of the line, the next begins with.
struct Each<'a> {
    registry: &'a SiteRegistry,
    pace: Pace,
}

impl Each<'_> {
    async fn of<'i, T>(
        &mut self,
        items: &'i [T],
        work: impl AsyncFn(&'i T) -> Result<u64>,
    ) -> Result<()> {
        let registry = self.registry;
        let items = items.iter().collect();
        run(registry, &mut self.pace, VecDeque::new(), items, work).await
    }
}

/// Works on both queues; each item tells how many bytes it sent. The large ones fill the line, and a quarter of the places is kept for
/// small ones, which mostly wait for answers.
async fn run<'i, T>(
    registry: &SiteRegistry,
    pace: &mut Pace,
    mut large: VecDeque<&'i T>,
    mut small: VecDeque<&'i T>,
    work: impl AsyncFn(&'i T) -> Result<u64>,
) -> Result<()> {
    let mut running = FuturesUnordered::new();
    let mut large_running = 0;
    let mut errors: Vec<Error> = Vec::new();
    loop {
        while errors.is_empty() && running.len() < pace.limit() {
            let kept = if small.is_empty() {
                0
            } else {
                pace.limit() / 4
            };
            let places = stream::MOST_UPLOADS.min(pace.limit() - kept);
            let (item, is_large) = if large_running < places
                && let Some(item) = large.pop_front()
            {
                (item, true)
            } else if let Some(item) = small.pop_front() {
                (item, false)
            } else {
                break;
            };
            large_running += usize::from(is_large);
            let (begun, task) = (Instant::now(), work(item));
            running.push(async move { (task.await, begun.elapsed(), is_large) });
        }
        let Some((outcome, took, was_large)) = running.next().await else {
            break;
        };
        large_running -= usize::from(was_large);
        match outcome {
            Ok(bytes) => pace.ended(bytes, took, registry.complaints()),
            Err(error) => errors.push(error),
        }
    }
    // of several failures, "do not trust" is the one to hear about
    let worst = errors
        .iter()
        .position(|error| error.class() == crate::ExitClass::DoNotTrust)
        .unwrap_or(0);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors.swap_remove(worst))
    }
}
