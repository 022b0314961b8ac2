//! The registry of the site: one project, looked at before anything is written.

use std::{io, net::IpAddr, pin::Pin};

use bytes::Bytes;
use futures_util::Stream;
use oci_spec::image::{Descriptor, Digest, MediaType};
use secrecy::SecretString;

use crate::{
    error::Result,
    manifest::RawManifest,
    name::{ManifestReference, ProjectName, RepositoryName, Tag},
    retry::RetryPolicy,
};

/// A blob's bytes on their way into the registry. An error ends the upload for good.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// How the site's registry is reached.
#[derive(Debug, Clone)]
pub struct SiteConfig {
    /// `host` or `host:port`, spoken to over TLS; `http://…` says plain HTTP, which tests use.
    pub endpoint: String,
    /// The project that holds everything.
    pub project: ProjectName,
    /// Addresses to use in place of DNS.
    pub addresses: Vec<IpAddr>,
    /// The authorities to trust in place of the system's, as PEM.
    pub ca_pem: Option<String>,
    /// The account; `None` for a registry that asks for none.
    pub login: Option<(String, SecretString)>,
    /// When to try again.
    pub retry: RetryPolicy,
}

/// What kind of registry answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flavour {
    /// Harbor, with its version where the account may know.
    Harbor {
        /// As it says: `v2.15.2-…`.
        version: Option<String>,
    },
    /// A registry without projects: the project is just the first segment of the path.
    Plain,
}

/// Whether the project is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectState {
    /// It is there.
    Exists,
    /// It was not, and has been made.
    Created,
    /// It is not there, or hidden.
    Missing,
}

/// The project's storage quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes allowed; `None` is without limit.
    pub limit: Option<u64>,
    /// Bytes in use.
    pub used: u64,
}

/// What this account can do in the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// What kind of registry it is.
    pub flavour: Flavour,
    /// Whether the project is there.
    pub project: ProjectState,
    /// Whether an upload could be opened (and was cancelled).
    pub push: bool,
    /// Whether the registry is read-only.
    pub read_only: bool,
    /// The quota; `None` where there is none to be read by this account.
    pub quota: Option<Quota>,
}

/// How many requests this client made, retries included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// HEAD requests.
    pub heads: u64,
    /// GET requests.
    pub reads: u64,
    /// Requests that change what the registry holds.
    pub writes: u64,
    /// Requests of the rights probe, which leave nothing behind.
    pub probes: u64,
    /// Bytes sent in blobs and manifests.
    pub bytes_sent: u64,
}

/// What became of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagOutcome {
    /// It already held this digest; nothing was written.
    Unchanged,
    /// It was made.
    Created,
    /// It held another digest.
    Moved {
        /// The digest it held.
        from: Digest,
    },
}

/// A connection to the site's registry.
///
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct SiteRegistry {}

impl SiteRegistry {
    /// Connects: proves that the name resolves, the certificate is trusted and the login is right.
    pub async fn connect(config: SiteConfig) -> Result<Self> {
        let _ = config;
        todo!()
    }

    /// Returns what kind of registry answers.
    #[must_use]
    pub fn flavour(&self) -> &Flavour {
        todo!()
    }

    /// Looks at the project, the rights, the quota. Opens and cancels an upload; leaves nothing behind.
    pub async fn probe(&self) -> Result<Access> {
        todo!()
    }

    /// Makes the project where it is missing (private, without policies); fails if the account may not.
    pub async fn ensure_project(&self) -> Result<ProjectState> {
        todo!()
    }

    /// Proves that this account may read from the project.
    pub async fn probe_pull(&self) -> Result<()> {
        todo!()
    }

    /// Returns the project's quota; `None` where there is none or this account may not read it.
    pub async fn quota(&self) -> Result<Option<Quota>> {
        todo!()
    }

    /// Returns whether the repository holds the blob (one HEAD).
    pub async fn blob_exists(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool> {
        let _ = (repository, digest);
        todo!()
    }

    /// Links a blob of another repository of this project; `false` when the registry would not.
    pub async fn mount(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        from: &RepositoryName,
    ) -> Result<bool> {
        let _ = (repository, digest, from);
        todo!()
    }

    /// Sends a blob of `size` bytes: one POST, one PUT. `open` is called again for each attempt.
    pub async fn upload(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        size: u64,
        open: impl Fn() -> ByteStream + Send + Sync,
    ) -> Result<()> {
        let _ = (repository, digest, size, open);
        todo!()
    }

    /// Returns the digest that a tag or digest leads to (one HEAD); `None` when it is not there.
    pub async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &ManifestReference,
    ) -> Result<Option<Digest>> {
        let _ = (repository, reference);
        todo!()
    }

    /// Fetches a manifest; its digest is computed from what came.
    pub async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &ManifestReference,
    ) -> Result<Option<RawManifest>> {
        let _ = (repository, reference);
        todo!()
    }

    /// Puts a manifest under its digest. Its blobs and children must be there.
    pub async fn put_manifest(
        &self,
        repository: &RepositoryName,
        media_type: &MediaType,
        bytes: &Bytes,
    ) -> Result<Digest> {
        let _ = (repository, media_type, bytes);
        todo!()
    }

    /// Points a tag at a manifest: looks first, writes only if it differs, then reads back.
    pub async fn tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        media_type: &MediaType,
        bytes: &Bytes,
    ) -> Result<TagOutcome> {
        let _ = (repository, tag, media_type, bytes);
        todo!()
    }

    /// Puts a manifest that has a `subject`, and lists it under the fallback tag where there is no referrers API.
    pub async fn put_referrer(
        &self,
        repository: &RepositoryName,
        media_type: &MediaType,
        bytes: &Bytes,
    ) -> Result<Digest> {
        let _ = (repository, media_type, bytes);
        todo!()
    }

    /// Lists what refers to `subject`.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>> {
        let _ = (repository, subject);
        todo!()
    }

    /// Returns how many requests were made so far, by this and all its clones.
    #[must_use]
    pub fn stats(&self) -> Stats {
        todo!()
    }
}
