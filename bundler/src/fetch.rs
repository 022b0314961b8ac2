//! Bytes by digest: from the cache, else from their source into the cache.
//!
//! Invariant: nothing is handed on that was not hashed here. Retries, back-off and resuming a broken connection are the
//! registry crate's; here a source that answers with wrong content gets one more chance, from the first byte.

use bytes::Bytes;
use futures_util::StreamExt as _;
use oci_spec::{distribution::Reference, image::Digest};
use tokio::sync::mpsc;
use url::Url;

use airgap_registry::{BlobBody, MAX_MANIFEST_BYTES, Puller};

use crate::{
    cache::{Cache, Incoming},
    digest::{self, digest_of},
    error::{Error, Result},
    event::{Event, Report},
    manifest::Manifest,
};

/// Chunks on their way from the network to the disk, per download. With a pull's own buffers this bounds memory.
const CHUNKS_IN_FLIGHT: usize = 1;

/// Where a blob comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A repository, named by any reference into it.
    Repository(Reference),
    /// A file on a server.
    Url(Url),
}

/// One blob to have: what it is, and every place it may come from.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) object: String,
    pub(crate) digest: Digest,
    pub(crate) size: Option<u64>,
    pub(crate) sources: Vec<Source>,
}

/// Fetches through the cache; without a puller, from the cache only.
#[derive(Clone, Copy)]
pub(crate) struct Fetcher<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) puller: Option<&'a Puller>,
    pub(crate) report: Report<'a>,
}

impl<'a> Fetcher<'a> {
    /// Returns the manifest `digest` of a repository.
    pub(crate) async fn manifest(
        &self,
        object: &str,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<Manifest> {
        let bytes = if let Some(bytes) = self.cache.read(digest, MAX_MANIFEST_BYTES)? {
            bytes.into()
        } else {
            let puller = self.online(object, digest)?;
            let manifest = puller
                .manifest(repository, digest)
                .await
                .map_err(|error| failed(object, digest, error))?;
            self.keep(object, digest, &manifest.bytes)?;
            manifest.bytes
        };
        Manifest::parse(object, digest.clone(), bytes)
    }

    /// Returns a blob small enough for memory; `limit` is in bytes.
    pub(crate) async fn read(&self, wanted: &Wanted, limit: u64) -> Result<Bytes> {
        // A blob that rotted in the cache is evicted by the first look and fetched by the second.
        for _ in 0..2 {
            if let Some(bytes) = self.cache.read(&wanted.digest, limit)? {
                return Ok(bytes.into());
            }
            self.blob(wanted).await?;
        }
        let bytes = self.cache.read(&wanted.digest, limit)?;
        bytes
            .map(Into::into)
            .ok_or_else(|| not_cached(&wanted.object, &wanted.digest))
    }

    /// Brings a blob into the cache and returns its size; what was there before is hashed, and fetched anew if it rotted.
    pub(crate) async fn sound_blob(&self, wanted: &Wanted) -> Result<u64> {
        let digest = &wanted.digest;
        if let Some(file) = self.cache.open_blob(digest)? {
            let path = self.cache.root().to_owned();
            let hash = move || digest::hash_reader(file).map_err(Error::io("read", path));
            let (actual, size) = blocking(hash).await?;
            if actual == *digest {
                return Ok(size);
            }
            self.cache.evict(digest)?;
        }
        self.blob(wanted).await?;
        self.cache
            .size(digest)
            .ok_or_else(|| not_cached(&wanted.object, digest))
    }

    /// Brings a blob into the cache, trying its sources in order.
    pub(crate) async fn blob(&self, wanted: &Wanted) -> Result<()> {
        let mut missing = None;
        for source in &wanted.sources {
            match self.blob_from(wanted, source).await {
                Err(error @ Error::Vanished { .. }) => missing = missing.or(Some(error)),
                result => return result,
            }
        }
        Err(missing.unwrap_or_else(|| not_cached(&wanted.object, &wanted.digest)))
    }

    async fn blob_from(&self, wanted: &Wanted, source: &Source) -> Result<()> {
        let mut again = true;
        loop {
            let Some(incoming) = self.cache.receive(&wanted.digest, wanted.size).await? else {
                return Ok(());
            };
            match self.download(wanted, source, incoming).await {
                // A proxy's error page or a resumed file that had changed: once more, from the start.
                Err(Error::WrongContent { .. }) if again => again = false,
                Err(Error::WrongContent {
                    expected, actual, ..
                }) => {
                    return Err(Error::WrongContent {
                        object: wanted.object.clone(),
                        expected,
                        actual,
                    });
                }
                result => return result,
            }
        }
    }

    async fn download(&self, wanted: &Wanted, source: &Source, incoming: Incoming) -> Result<()> {
        if incoming.is_complete() {
            return blocking(move || incoming.finish()).await;
        }
        let offset = incoming.offset();
        let puller = self.online(&wanted.object, &wanted.digest)?;
        let body = match source {
            Source::Repository(repository) => puller.blob(repository, &wanted.digest, offset).await,
            Source::Url(url) => puller.file(url, offset).await,
        };
        let body = body.map_err(|error| failed(&wanted.object, &wanted.digest, error))?;
        (self.report)(Event::Fetching {
            object: wanted.object.clone(),
            digest: wanted.digest.clone(),
            size: wanted.size.or(body.total),
            resumed: body.start,
        });
        self.pour(wanted, body, incoming).await
    }

    /// Writes a body to the disk on a thread of its own, so that neither waits for the other longer than a chunk.
    async fn pour(&self, wanted: &Wanted, body: BlobBody, mut incoming: Incoming) -> Result<()> {
        let start = body.start;
        let (sender, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_IN_FLIGHT);
        let writer = tokio::task::spawn_blocking(move || {
            if start != incoming.offset() {
                incoming.restart()?;
            }
            while let Some(chunk) = receiver.blocking_recv() {
                incoming.write(&chunk)?;
            }
            Ok::<_, Error>(incoming)
        });
        let mut broken = None;
        let mut stream = body.stream;
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) => {
                    let bytes = chunk.len() as u64;
                    // The writer is gone only when it has failed; its own error says why.
                    if sender.send(chunk).await.is_err() {
                        break;
                    }
                    (self.report)(Event::Received { bytes });
                }
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        drop((sender, stream));
        let incoming: Incoming = writer.await.expect("writing a blob does not panic")?;
        match broken {
            Some(error) => Err(failed(&wanted.object, &wanted.digest, error)),
            None => blocking(move || incoming.finish()).await,
        }
    }

    /// Puts a manifest into the cache, checking again what it hashes to.
    fn keep(&self, object: &str, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let actual = digest_of(bytes);
        if actual != *digest {
            let (object, expected) = (object.to_owned(), digest.clone());
            return Err(Error::WrongContent {
                object,
                expected,
                actual: actual.to_string(),
            });
        }
        self.cache.insert(bytes).map(drop)
    }

    /// Returns the way upstream, or says that there is none.
    pub(crate) fn online(&self, object: &str, digest: &Digest) -> Result<&'a Puller> {
        self.puller.ok_or_else(|| not_cached(object, digest))
    }
}

fn not_cached(object: &str, digest: &Digest) -> Error {
    Error::NotCached {
        object: object.to_owned(),
        digest: digest.clone(),
    }
}

/// Names what was being fetched, and tells what has vanished and what is wrong from what failed on the way.
fn failed(object: &str, digest: &Digest, error: airgap_registry::Error) -> Error {
    let object = object.to_owned();
    match error {
        error @ airgap_registry::Error::NotFound { .. } => Error::Vanished {
            object,
            digest: digest.clone(),
            source: Box::new(error),
        },
        airgap_registry::Error::DigestMismatch { expected, got, .. } => Error::WrongContent {
            object,
            expected,
            actual: got,
        },
        error => Error::Fetch {
            object,
            source: Box::new(error),
        },
    }
}

/// Runs disk work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .expect("disk work does not panic")
}
