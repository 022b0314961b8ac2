//! The long part: blobs arrive, the writer takes them, both at once.
//!
//! One task fetches, as many blobs at a time as help and at most `jobs`, largest first; one thread writes, in the order of the format, and waits where
//! a blob has not arrived. A blob of the cache that no longer hashes right is evicted by the writer and fetched again here.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use airgap_archive::{ArchiveWriter, BlobSource as _, BundleTree, WriteOptions, Written};
use airgap_registry::{Pace, Puller};
use airgap_signing::SigningKey;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use oci_spec::image::Digest;
use tokio::sync::mpsc;

use super::{BundleRequest, gather::WantedBlobs};
use crate::{
    arrivals::Arrivals,
    cache::Cache,
    error::{Error, Result},
    event::Event,
    fetch::{Fetcher, Wanted, blocking},
};

/// The blobs of a bundle: those to fetch, and how to fetch each again.
pub(super) struct Blobs {
    all: HashMap<Digest, Wanted>,
    /// Largest first.
    pub(super) missing: VecDeque<Digest>,
    pub(super) cached_bytes: u64,
    missing_bytes: u64,
}

impl Blobs {
    /// Looks which of a tree's blobs the cache has.
    pub(super) fn sort(cache: &Cache, tree: &BundleTree, mut wanted: WantedBlobs) -> Result<Self> {
        let mut blobs = Self {
            all: HashMap::new(),
            missing: VecDeque::new(),
            cached_bytes: 0,
            missing_bytes: 0,
        };
        for (digest, size) in tree.blobs_to_fetch()? {
            if cache.contains(&digest, Some(size)) {
                blobs.cached_bytes += size;
            } else {
                blobs.missing_bytes += size.saturating_sub(cache.partial_bytes(&digest));
                blobs.missing.push_back(digest.clone());
            }
            if let Some(mut wanted) = wanted.take(&digest) {
                wanted.size = Some(size);
                blobs.all.insert(digest, wanted);
            }
        }
        Ok(blobs)
    }

    pub(super) fn missing_bytes(&self) -> u64 {
        self.missing_bytes
    }
}

/// Wakes the writer when the fetching side is dropped, so that it does not wait for ever.
struct GiveUp(Arc<Arrivals>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// Signs and writes the bundle while the missing blobs arrive.
pub(super) async fn write(
    request: &BundleRequest<'_>,
    tree: BundleTree,
    keys: Arc<[SigningKey]>,
    blobs: Blobs,
    cache: Arc<Cache>,
    fetcher: Fetcher<'_>,
) -> Result<Written> {
    let Blobs {
        all,
        missing: mut queue,
        ..
    } = blobs;
    let (again, mut asked_again) = mpsc::unbounded_channel();
    let (sender, mut events) = mpsc::unbounded_channel();
    let again = fetcher.puller.is_some().then_some(again);
    let arrivals = Arc::new(Arrivals::new(cache, queue.iter().cloned().collect(), again));
    let guard = GiveUp(arrivals.clone());
    let options = WriteOptions {
        volume_size: request.volume_size,
        // more threads than cores only take turns
        jobs: request.jobs.clamp(1, WriteOptions::default().jobs),
        overwrite: request.overwrite,
    };
    let (path, source) = (request.output.to_owned(), arrivals.clone());
    let writer = blocking(move || {
        let forward = |event| drop(sender.send(event));
        Ok(ArchiveWriter::create(
            &path, &tree, &keys[0], &options, &*source, &forward,
        )?)
    });
    tokio::pin!(writer);

    let mut arriving = FuturesUnordered::new();
    let complaints = || fetcher.puller.map_or(0, Puller::complaints);
    let mut pace = Pace::new(request.jobs).since(complaints());
    let mut failure: Option<Error> = None;
    let written = loop {
        while failure.is_none() && arriving.len() < pace.limit() {
            let Some(digest) = queue.pop_front() else {
                break;
            };
            arriving.push(fetch(&all, digest, fetcher));
        }
        tokio::select! {
            written = &mut writer => break written,
            Some((digest, result, took)) = arriving.next() => match result {
                Ok(received) => {
                    pace.ended(received, took, complaints());
                    arrivals.arrived(&digest);
                }
                Err(error) => {
                    failure.get_or_insert(error);
                    arriving.clear();
                    arrivals.give_up();
                }
            },
            Some(digest) = asked_again.recv() => {
                (fetcher.report)(Event::Evicted { digest: digest.clone() });
                queue.push_front(digest);
            }
            Some(event) = events.recv() => (fetcher.report)(Event::Archive(event)),
        }
    };
    drop(guard);
    while let Ok(event) = events.try_recv() {
        (fetcher.report)(Event::Archive(event));
    }
    // The writer only saw that a blob did not come; why is known here.
    match failure {
        Some(error) => Err(error),
        None => written,
    }
}

/// Fetches a blob; tells how many bytes came, without those that an interrupted run had left.
async fn fetch(
    all: &HashMap<Digest, Wanted>,
    digest: Digest,
    fetcher: Fetcher<'_>,
) -> (Digest, Result<u64>, Duration) {
    let begun = Instant::now();
    let had = fetcher.cache.partial_bytes(&digest);
    let result = match all.get(&digest) {
        Some(wanted) => {
            let result = fetcher.blob(wanted).await;
            result.map(|()| wanted.size.unwrap_or_default().saturating_sub(had))
        }
        None => Err(Error::NotCached {
            object: "a blob".into(),
            digest: digest.clone(),
        }),
    };
    if result.is_ok() {
        let object = all
            .get(&digest)
            .map(|wanted| wanted.object.clone())
            .unwrap_or_default();
        (fetcher.report)(Event::Done { object });
    }
    (digest, result, begun.elapsed())
}
