//! A blob's way from the archive into one request.
//!
//! Reading, inflating and hashing block, so they have a thread of their own; one chunk waits between it and the request. The archive lends
//! its buffers from a pool of 20: an upload holds at most four (being read, withheld, waiting, being sent), hence [`MOST_UPLOADS`]. A blob
//! below a megabyte is copied out of its frame and holds none.

use std::{io, sync::Mutex};

use airgap_archive::VerifiedArchive;
use airgap_registry::{ByteStream, RepositoryName, SiteRegistry};
use bytes::Bytes;
use futures_util::stream;
use oci_spec::image::Digest;
use tokio::sync::mpsc;

use crate::{
    Error, Result,
    event::{Event, Report},
};

/// How many blobs may be under way at once without one waiting for another's buffers. More would not be faster: a registry's own hashing
/// is the limit from four on.
pub(super) const MOST_UPLOADS: usize = 5;

/// Sends one blob into one repository; the registry's client calls for the stream anew at each attempt.
pub(super) async fn upload(
    registry: &SiteRegistry,
    archive: &VerifiedArchive,
    repository: &RepositoryName,
    digest: &Digest,
    size: u64,
    report: Report<'_>,
) -> Result<()> {
    let (progress, mut sent) = mpsc::unbounded_channel();
    let attempts = Mutex::new(0u32);
    let open = || {
        let mut attempts = attempts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *attempts += 1;
        if *attempts > 1 {
            report(Event::PushRetry {
                digest: digest.to_string(),
                reason: format!("attempt {attempts}"),
            });
        }
        open(archive.clone(), digest.clone(), progress.clone())
    };
    let work = registry.upload(repository, digest, size, open);
    tokio::pin!(work);
    let outcome = loop {
        tokio::select! {
            outcome = &mut work => break outcome,
            Some(bytes) = sent.recv() => report(Event::PushProgress { bytes }),
        }
    };
    while let Ok(bytes) = sent.try_recv() {
        report(Event::PushProgress { bytes });
    }
    outcome.map_err(blame)
}

/// Opens a blob of the archive as a stream of its verified bytes.
fn open(
    archive: VerifiedArchive,
    digest: Digest,
    progress: mpsc::UnboundedSender<u64>,
) -> ByteStream {
    let (chunks, receiver) = mpsc::channel::<io::Result<Bytes>>(1);
    tokio::task::spawn_blocking(move || {
        let mut reader = match archive.blob(&digest) {
            Ok(reader) => reader,
            Err(error) => return drop(chunks.blocking_send(Err(io::Error::other(error)))),
        };
        loop {
            let chunk = match reader.next_chunk() {
                Ok(Some(chunk)) => Ok(Bytes::from_owner(chunk)),
                Ok(None) => return,
                Err(error) => Err(io::Error::other(error)),
            };
            let last = chunk.is_err();
            // a send fails when the request is over; so is this thread's work
            if chunks.blocking_send(chunk).is_err() || last {
                return;
            }
        }
    });
    Box::pin(stream::unfold(
        (receiver, progress),
        |(mut receiver, progress)| async move {
            let item = receiver.recv().await?;
            if let Ok(bytes) = &item {
                // nobody may be listening any more
                let _ = progress.send(bytes.len() as u64);
            }
            Some((item, (receiver, progress)))
        },
    ))
}

/// Names the archive, not the registry, when a blob's own bytes were wrong.
fn blame(error: airgap_registry::Error) -> Error {
    match error {
        airgap_registry::Error::Body { digest, source } => {
            match source.downcast::<airgap_archive::Error>() {
                Ok(error) => Error::Archive(error),
                Err(source) => Error::Registry(airgap_registry::Error::Body { digest, source }),
            }
        }
        error => Error::Registry(error),
    }
}
