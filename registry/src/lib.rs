//! One OCI registry: authentication, mirrors, pull and push.
//!
//! Two clients share this crate's names, errors and retry rules:
//! - [`Puller`] reads from upstream registries and file servers on the connected side. Where a name is
//!   fetched from is decided by [`Upstreams`], with which login by [`DockerConfig`].
//! - [`SiteRegistry`] writes to the registry of the site, a Harbor or a plain registry. It holds one
//!   project and never speaks to another host.
//!
//! Invariant: what a server says about a digest is never believed. A digest is computed from the bytes
//! received, and bytes are sent under a digest that their owner proved.
//!
//! Left out: caching, concurrency limits and progress. The callers own them.

mod credentials;
mod error;
mod http;
mod manifest;
mod name;
mod pace;
mod puller;
mod resolve;
mod retry;
mod site;
mod tls;
mod upstreams;

pub use credentials::{Credentials, DockerConfig};
pub use error::{Error, Result};
pub use manifest::{MAX_MANIFEST_BYTES, RawManifest};
pub use name::{ManifestReference, ProjectName, RepositoryName, Tag};
pub use pace::Pace;
pub use puller::{BlobBody, FileBody, Proxy, PullOptions, Puller};
pub use retry::RetryPolicy;
pub use site::{
    Access, ByteStream, Flavour, ProjectState, Proof, Quota, SiteConfig, SiteRegistry, Stats,
    TagOutcome,
};
pub use tls::{CertificateFacts, TlsFindings, Untrusted, tls_findings};
pub use upstreams::Upstreams;
