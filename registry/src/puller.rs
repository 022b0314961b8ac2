//! Reading from upstream registries and file servers.
//!
//! Own code on `reqwest`, for what a general client does not give: the header `Retry-After`, a limit on a
//! manifest's size, a renewed token in the middle of a long run, resume by Range, one idea of TLS.
//! Invariants: a login goes only to the host it is configured for and to the token service which that host
//! names, never over plain HTTP if the host has TLS, and to nobody that either redirects to; a descriptor's
//! `urls` are never followed.

mod body;
mod challenge;
mod fetch;

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use oci_spec::{
    distribution::Reference,
    image::{Descriptor, Digest, ImageIndex},
};
use tokio::sync::Mutex;
use url::Url;

use crate::{
    credentials::DockerConfig,
    error::{Error, Result},
    http::authority,
    manifest::{ACCEPT, MAX_MANIFEST_BYTES, RawManifest, digest_of},
    name::Tag,
    retry::RetryPolicy,
    upstreams::{Endpoint, Upstreams},
};
use fetch::{Place, Source};

/// An HTTP proxy for the connected side.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// The proxy.
    pub url: Url,
    /// Hosts reached without it, in the usual comma-separated form.
    pub exceptions: Option<String>,
}

/// How a [`Puller`] behaves.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// When to try again.
    pub retry: RetryPolicy,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest silence inside an answer.
    pub read_timeout: Duration,
    /// The proxy, if any.
    pub proxy: Option<Proxy>,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_mins(1),
            proxy: None,
        }
    }
}

/// A blob or file on its way, resumed by Range behind the scenes when the connection breaks.
///
/// Its content is **not verified**: whoever writes it down hashes it.
pub struct BlobBody {
    /// The bytes from `start` on.
    pub stream: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>,
    /// Where the stream begins: the offset asked for, or 0 where the server cannot do that.
    pub start: u64,
    /// The size of the whole blob in bytes, where the server said.
    pub total: Option<u64>,
}

impl fmt::Debug for BlobBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BlobBody")
            .field("start", &self.start)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// A file on its way: the same promises as a blob's.
pub type FileBody = BlobBody;

/// Reads manifests, blobs and files from where [`Upstreams`] says they are.
///
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Puller {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstreams: Upstreams,
    logins: DockerConfig,
    options: PullOptions,
    /// One client per host, made when it is first asked for.
    sources: Mutex<HashMap<String, Arc<Source>>>,
    /// Answers 429 of all hosts.
    complaints: Arc<AtomicU64>,
}

impl Puller {
    /// Prepares a puller; nothing is connected yet.
    #[must_use]
    pub fn new(upstreams: Upstreams, logins: DockerConfig, options: PullOptions) -> Self {
        let sources = Mutex::default();
        Self {
            shared: Arc::new(Shared {
                upstreams,
                logins,
                options,
                sources,
                complaints: Arc::default(),
            }),
        }
    }

    /// Returns how often any host answered 429 so far, for [`crate::Pace`].
    #[must_use]
    pub fn complaints(&self) -> u64 {
        self.shared.complaints.load(Ordering::Relaxed)
    }

    /// Fetches the manifest that `reference` names now: by its digest if it has one, else by its tag.
    pub async fn resolve(&self, reference: &Reference) -> Result<RawManifest> {
        if let Some(digest) = reference.digest() {
            let digest: Digest = digest.parse().map_err(|_| Error::InvalidName {
                kind: "digest",
                name: digest.to_owned(),
                reason: "it must be sha256: and 64 hex digits",
            })?;
            return self.manifest(reference, &digest).await;
        }
        let tag = reference.tag().unwrap_or("latest");
        let object = format!("manifest {}:{tag}", full_name(reference));
        self.fetch_manifest(reference, "manifests", tag, &object, None)
            .await
    }

    /// Fetches the manifest `digest` of the repository of `reference`.
    ///
    /// Content with another digest is [`Error::DigestMismatch`].
    pub async fn manifest(&self, reference: &Reference, digest: &Digest) -> Result<RawManifest> {
        let object = format!("manifest {}@{digest}", full_name(reference));
        let name = digest.to_string();
        self.fetch_manifest(reference, "manifests", &name, &object, Some(digest))
            .await
    }

    /// Opens the blob `digest` of the repository of `reference`, from `offset` on where the server can.
    ///
    /// Do not ask for an offset at or past the end.
    pub async fn blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        offset: u64,
    ) -> Result<BlobBody> {
        let object = format!("blob {digest} of {}", full_name(reference));
        let path = format!("blobs/{digest}");
        let mut failed = None;
        for endpoint in self.endpoints(reference)? {
            let place = self.place(&endpoint, &path, &object).await?;
            match body::open(place, offset, self.shared.options.retry).await {
                Ok(body) => return Ok(body),
                Err(error) => keep_first(&mut failed, error),
            }
        }
        Err(failed.unwrap_or_else(|| nowhere(reference, object)))
    }

    /// Lists what refers to `subject`: the referrers API, else the fallback tag. Cosign's tags are apart.
    pub async fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>> {
        let object = format!("referrers of {}@{subject}", full_name(reference));
        let name = subject.to_string();
        let listed = match self
            .fetch_manifest(reference, "referrers", &name, &object, None)
            .await
        {
            Err(error) if lacks_api(&error) => {
                let tag = Tag::referrers(subject);
                self.fetch_manifest(reference, "manifests", tag.as_str(), &object, None)
                    .await
            }
            other => other,
        };
        let listed = match listed {
            Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        let index = ImageIndex::from_reader(listed.bytes.as_ref());
        let index = index.map_err(|error| Error::Protocol {
            host: full_name(reference),
            object,
            message: format!("the list is no index: {error}"),
        })?;
        Ok(index.manifests().clone())
    }

    /// Returns the manifest that cosign keeps beside `subject` under `sha256-<hex>.<suffix>`
    /// (`sig`, `att`, `sbom`).
    pub async fn companion(
        &self,
        reference: &Reference,
        subject: &Digest,
        suffix: &str,
    ) -> Result<Option<RawManifest>> {
        let tag = Tag::companion(subject, suffix);
        let object = format!("manifest {}:{tag}", full_name(reference));
        match self
            .fetch_manifest(reference, "manifests", tag.as_str(), &object, None)
            .await
        {
            Ok(manifest) => Ok(Some(manifest)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a file, from `offset` on where the server can; `url` is mapped by [`Upstreams::file_url`].
    pub async fn file(&self, url: &Url, offset: u64) -> Result<FileBody> {
        let at = self.shared.upstreams.file_url(url);
        let source = self.shared.source(&at).await?;
        let place = Place {
            source,
            url: at,
            repository: None,
            object: format!("file {url}"),
        };
        body::open(place, offset, self.shared.options.retry).await
    }

    /// Fetches a manifest from the first endpoint that has it.
    async fn fetch_manifest(
        &self,
        reference: &Reference,
        kind: &str,
        name: &str,
        object: &str,
        expected: Option<&Digest>,
    ) -> Result<RawManifest> {
        let mut failed = None;
        for endpoint in self.endpoints(reference)? {
            let place = self
                .place(&endpoint, &format!("{kind}/{name}"), object)
                .await?;
            let retry = self.shared.options.retry;
            match place.read(ACCEPT, MAX_MANIFEST_BYTES, retry).await {
                Ok((bytes, content_type)) => {
                    let got = digest_of(&bytes);
                    if let Some(expected) = expected.filter(|expected| **expected != got) {
                        return Err(Error::DigestMismatch {
                            host: authority(&endpoint.base),
                            object: object.to_owned(),
                            expected: expected.clone(),
                            got: got.to_string(),
                        });
                    }
                    let manifest = RawManifest::new(bytes.into(), content_type.as_deref());
                    return manifest.ok_or_else(|| Error::Protocol {
                        host: authority(&endpoint.base),
                        object: object.to_owned(),
                        message: "what it sent is no JSON object".to_owned(),
                    });
                }
                Err(error) => keep_first(&mut failed, error),
            }
        }
        Err(failed.unwrap_or_else(|| nowhere(reference, object.to_owned())))
    }

    fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        self.shared
            .upstreams
            .endpoints(reference.registry(), reference.repository())
    }

    async fn place(&self, endpoint: &Endpoint, path: &str, object: &str) -> Result<Place> {
        let url = format!("{}v2/{}/{path}", endpoint.base, endpoint.repository);
        let url = Url::parse(&url).map_err(|_| Error::InvalidName {
            kind: "object name",
            name: path.to_owned(),
            reason: "it does not fit a URL",
        })?;
        Ok(Place {
            source: self.shared.source(&endpoint.base).await?,
            url,
            repository: Some(endpoint.repository.clone()),
            object: object.to_owned(),
        })
    }
}

impl Shared {
    /// Returns the client for the host of `url`.
    async fn source(&self, url: &Url) -> Result<Arc<Source>> {
        let key = format!("{}://{}", url.scheme(), authority(url));
        let mut sources = self.sources.lock().await;
        if let Some(source) = sources.get(&key) {
            return Ok(Arc::clone(source));
        }
        let configured = self.upstreams.host(url);
        let login = match configured.and_then(|host| host.login.as_ref()) {
            Some(login) => Some(login.clone()),
            None => self.logins.login(&authority(url))?.cloned(),
        };
        let source = Arc::new(Source::new(
            url,
            configured,
            login,
            &self.options,
            Arc::clone(&self.complaints),
        )?);
        sources.insert(key, Arc::clone(&source));
        Ok(source)
    }
}

/// Of several endpoints' failures the first that is not "not there" tells the most.
fn keep_first(kept: &mut Option<Error>, error: Error) {
    if !kept
        .as_ref()
        .is_some_and(|kept| !matches!(kept, Error::NotFound { .. }))
    {
        *kept = Some(error);
    }
}

fn nowhere(reference: &Reference, object: String) -> Error {
    Error::NotFound {
        host: reference.registry().to_owned(),
        object,
    }
}

/// Whether an answer means that there is no referrers API: 404, or what proxies and old registries say.
fn lacks_api(error: &Error) -> bool {
    matches!(
        error,
        Error::NotFound { .. }
            | Error::Status {
                status: 400 | 405 | 501,
                ..
            }
            | Error::Protocol { .. }
    )
}

/// Returns `quay.io/argoproj/argocd`.
fn full_name(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}
