//! Blobs: look, mount, else one POST and one PUT with its length.
//!
//! After a broken PUT the registry has forgotten the upload, so a retry is the whole blob. An unclear PUT
//! is answered by asking whether the blob is there.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use oci_spec::image::Digest;
use reqwest::{Method, Response, StatusCode, header};
use url::Url;

use super::{
    ByteStream, SiteRegistry,
    connection::{COMMIT_TIMEOUT, Purpose, SMALL_TIMEOUT},
};
use crate::{
    error::{Error, Result},
    http::Refusal,
    name::RepositoryName,
    retry::{Again, Attempts, Failure},
};

impl SiteRegistry {
    /// Returns whether the repository holds the blob (one HEAD).
    pub async fn blob_exists(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool> {
        let object = self.object("blob", repository, "", digest.as_ref());
        let path = self.path(repository, &format!("blobs/{digest}"));
        let connection = &self.shared.connection;
        let response = connection.small(Method::HEAD, &path, &[], &object).await?;
        match response.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(self.no_right("pull", object, None).await)
            }
            _ => Err(connection.refusal(response, &object).await.0.error),
        }
    }

    /// Links a blob of another repository of this project; `false` when the registry would not.
    pub async fn mount(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        from: &RepositoryName,
    ) -> Result<bool> {
        let connection = &self.shared.connection;
        let object = self.object("blob", repository, "", digest.as_ref());
        let source = format!("{}/{from}", self.shared.project);
        let mut url = connection.url(&self.path(repository, "blobs/uploads/"))?;
        url.query_pairs_mut()
            .append_pair("mount", digest.as_ref())
            .append_pair("from", &source);
        let mut attempts = Attempts::new(self.shared.retry);
        loop {
            let request = connection
                .request(Method::POST, url.clone(), Purpose::Work)
                .header(header::CONTENT_LENGTH, 0);
            let failure = match connection.send(request, SMALL_TIMEOUT, &object).await {
                Ok(response) if response.status() == StatusCode::CREATED => return Ok(true),
                Ok(response) if response.status() == StatusCode::ACCEPTED => {
                    // an upload was opened instead; nobody needs it
                    let upload = connection.upload_url(&response, &object)?;
                    self.cancel(upload, &object).await;
                    return Ok(false);
                }
                Ok(response) => self.write_refusal(response, object.clone(), 0).await,
                Err(failure) => failure,
            };
            attempts.wait_or_give_up(failure).await?;
        }
    }

    /// Sends a blob of `size` bytes: one POST, one PUT. `open` is called again for each attempt.
    ///
    /// An error of the stream, or another number of bytes than `size`, cancels the upload for good:
    /// [`Error::Body`]. The stream's owner must hold back the last bytes until the digest agrees.
    pub async fn upload(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        size: u64,
        open: impl Fn() -> ByteStream + Send + Sync,
    ) -> Result<()> {
        let object = self.object("blob", repository, "", digest.as_ref());
        let mut attempts = Attempts::new(self.shared.retry);
        loop {
            let failure = match self
                .upload_once(repository, digest, size, open(), &object)
                .await
            {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if failure.again != Again::Never && is_unclear(&failure.error) {
                if matches!(self.blob_exists(repository, digest).await, Ok(true)) {
                    return Ok(());
                }
                // a registry that refuses a body closes the connection, and its reason may be lost
                if let Ok(Some(quota)) = self.quota().await
                    && quota.free().is_some_and(|free| free < size)
                {
                    return Err(self.over_quota(object, size, Some((quota.used, quota.limit))));
                }
            }
            attempts.wait_or_give_up(failure).await?;
        }
    }

    async fn upload_once(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        size: u64,
        body: ByteStream,
        object: &str,
    ) -> Result<(), Failure> {
        let connection = &self.shared.connection;
        let url = connection.url(&self.path(repository, "blobs/uploads/"))?;
        let request = connection
            .request(Method::POST, url, Purpose::Work)
            .header(header::CONTENT_LENGTH, 0);
        let opened = connection.send(request, SMALL_TIMEOUT, object).await?;
        if opened.status() != StatusCode::ACCEPTED {
            return Err(self.write_refusal(opened, object.to_owned(), size).await);
        }
        let upload = connection.upload_url(&opened, object)?;
        let mut commit = upload.clone();
        commit
            .query_pairs_mut()
            .append_pair("digest", digest.as_ref());

        let progress = Arc::new(Progress {
            sent: AtomicU64::new(0),
            total: Arc::clone(&connection.counters.bytes_sent),
            failed: Mutex::new(None),
        });
        let body = Counted {
            inner: body,
            left: size,
            progress: Arc::clone(&progress),
        };
        let request = connection
            .request(Method::PUT, commit, Purpose::Work)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, size)
            .body(reqwest::Body::wrap_stream(body));
        let sent = tokio::select! {
            sent = connection.send(request, None, object) => sent,
            () = progress.stalled() => Err(self.silent(object)),
        };
        let failed = progress
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(source) = failed {
            self.cancel(upload, object).await;
            return Err(Error::Body {
                digest: digest.clone(),
                source,
            }
            .into());
        }
        let response = sent?;
        match response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(()),
            // the registry has forgotten the upload: a new one may go better
            status @ (StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE) => {
                let (_, refusal) = connection.refusal(response, object).await;
                Err(Failure {
                    again: Again::Soon,
                    error: Error::Status {
                        host: connection.host().to_owned(),
                        object: object.to_owned(),
                        status: status.as_u16(),
                        message: refusal.words(),
                    },
                })
            }
            StatusCode::BAD_REQUEST => {
                let (failure, refusal) = connection.refusal(response, object).await;
                if refusal.code != "DIGEST_INVALID" {
                    return Err(failure);
                }
                // our own hash agreed, so the bytes changed on the way or in the registry
                Err(Failure {
                    again: Again::Soon,
                    error: Error::DigestMismatch {
                        host: connection.host().to_owned(),
                        object: object.to_owned(),
                        expected: digest.clone(),
                        got: "another digest, as the registry says of what it received".to_owned(),
                    },
                })
            }
            _ => Err(self.write_refusal(response, object.to_owned(), size).await),
        }
    }

    /// Cancels an upload as well as it can be: what stays is dropped by the registry after a week.
    async fn cancel(&self, upload: Url, object: &str) {
        let connection = &self.shared.connection;
        let request = connection.request(Method::DELETE, upload, Purpose::Work);
        if let Err(failure) = connection.send(request, SMALL_TIMEOUT, object).await {
            tracing::debug!(error = %failure.error, "an upload was not cancelled");
        }
    }

    fn silent(&self, object: &str) -> Failure {
        let source = io::Error::new(
            io::ErrorKind::TimedOut,
            format!("nothing moved for {} seconds", COMMIT_TIMEOUT.as_secs()),
        );
        let error = Error::ConnectionLost {
            host: self.host().to_owned(),
            object: object.to_owned(),
            attempts: 1,
            source: source.into(),
        };
        Failure {
            error,
            again: Again::Soon,
        }
    }

    /// Tells why something could not be written.
    pub(super) async fn write_refusal(
        &self,
        response: Response,
        object: String,
        needed: u64,
    ) -> Failure {
        let status = response.status();
        let (failure, refusal) = self.shared.connection.refusal(response, &object).await;
        match (status, failure.error) {
            (_, error @ Error::ReadOnly { .. }) => error.into(),
            (StatusCode::FORBIDDEN, _) if speaks_of_quota(&refusal) => {
                let known = match self.quota().await {
                    Ok(Some(quota)) => Some((quota.used, quota.limit)),
                    _ => None,
                };
                self.over_quota(object, needed, known).into()
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                self.no_right("push", object, refusal.said()).await.into()
            }
            (_, error) => Failure {
                error,
                again: failure.again,
            },
        }
    }

    fn over_quota(&self, object: String, needed: u64, known: Option<(u64, Option<u64>)>) -> Error {
        Error::QuotaExceeded {
            host: self.host().to_owned(),
            project: self.shared.project.to_string(),
            object,
            needed,
            used: known.map(|(used, _)| used),
            limit: known.and_then(|(_, limit)| limit),
        }
    }
}

/// Whether the blob may be there although its PUT failed.
fn is_unclear(error: &Error) -> bool {
    matches!(
        error,
        Error::ConnectionLost { .. } | Error::Status { status: 500.., .. }
    )
}

/// Harbor has no code of its own for a quota that is used up, only these words.
fn speaks_of_quota(refusal: &Refusal) -> bool {
    refusal.message.contains("configured upper limit") || refusal.message.contains("quota")
}

/// How far a body is, and what its source died of.
struct Progress {
    sent: AtomicU64,
    total: Arc<AtomicU64>,
    failed: Mutex<Option<io::Error>>,
}

impl Progress {
    /// Ends once nothing moved for as long as a registry may be silent.
    async fn stalled(&self) {
        let mut before = self.sent.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(COMMIT_TIMEOUT).await;
            let now = self.sent.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
        }
    }

    fn fail(&self, error: io::Error) -> io::Error {
        let passed_on = io::Error::new(error.kind(), "the source of the blob failed");
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        passed_on
    }
}

/// A body that must have exactly the length it was announced with.
struct Counted {
    inner: ByteStream,
    left: u64,
    progress: Arc<Progress>,
}

impl Stream for Counted {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.inner.as_mut().poll_next(context));
        let wrong_length = || io::Error::new(io::ErrorKind::InvalidData, "it has another size");
        Poll::Ready(match next {
            Some(Ok(chunk)) => match self.left.checked_sub(chunk.len() as u64) {
                Some(left) => {
                    self.left = left;
                    self.progress
                        .sent
                        .fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    self.progress
                        .total
                        .fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    Some(Ok(chunk))
                }
                None => Some(Err(self.progress.fail(wrong_length()))),
            },
            Some(Err(error)) => Some(Err(self.progress.fail(error))),
            None if self.left > 0 => Some(Err(self.progress.fail(wrong_length()))),
            None => None,
        })
    }
}
