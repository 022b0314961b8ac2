//! Reading from upstream registries and file servers.

use std::{fmt, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::Stream;
use oci_spec::{
    distribution::Reference,
    image::{Descriptor, Digest},
};
use url::Url;

use crate::{
    credentials::DockerConfig,
    error::{Error, Result},
    manifest::RawManifest,
    retry::RetryPolicy,
    upstreams::Upstreams,
};

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
            read_timeout: Duration::from_secs(60),
            proxy: None,
        }
    }
}

/// A blob on its way, resumed by Range behind the scenes when the connection breaks.
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
pub struct Puller {}

impl Puller {
    /// Prepares a puller; nothing is connected yet.
    pub fn new(upstreams: Upstreams, logins: DockerConfig, options: PullOptions) -> Result<Self> {
        let _ = (upstreams, logins, options);
        todo!()
    }

    /// Fetches the manifest that `reference` names now: by its digest if it has one, else by its tag.
    pub async fn resolve(&self, reference: &Reference) -> Result<RawManifest> {
        let _ = reference;
        todo!()
    }

    /// Fetches the manifest `digest` of the repository of `reference`.
    pub async fn manifest(&self, reference: &Reference, digest: &Digest) -> Result<RawManifest> {
        let _ = (reference, digest);
        todo!()
    }

    /// Opens the blob `digest` of the repository of `reference`, from `offset` on where the server can.
    pub async fn blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        offset: u64,
    ) -> Result<BlobBody> {
        let _ = (reference, digest, offset);
        todo!()
    }

    /// Lists what refers to `subject`: the referrers API, else the fallback tag. Cosign's tags are apart.
    pub async fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>> {
        let _ = (reference, subject);
        todo!()
    }

    /// Returns the manifest that cosign keeps beside `subject` under `sha256-<hex>.<suffix>` (`sig`, `att`, `sbom`).
    pub async fn companion(
        &self,
        reference: &Reference,
        subject: &Digest,
        suffix: &str,
    ) -> Result<Option<RawManifest>> {
        let _ = (reference, subject, suffix);
        todo!()
    }

    /// Opens a file, from `offset` on where the server can; `url` is mapped by [`Upstreams::file_url`].
    pub async fn file(&self, url: &Url, offset: u64) -> Result<FileBody> {
        let _ = (url, offset);
        todo!()
    }
}
