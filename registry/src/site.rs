//! The registry of the site: one project, looked at before anything is written.
//!
//! Works with Harbor and with a plain registry. Every request carries the login as HTTP Basic, which Harbor
//! takes everywhere: no token can end in the middle of a blob, and no cookie brings CSRF checks with it.
//! Invariants: only the configured host is spoken to, redirects and foreign upload addresses included; a
//! blob whose source fails is never committed; what a name holds is looked at before it is written.
//! Left out: deleting, and everything of Harbor's API that pushing does not need.

mod connection;
mod harbor;
mod listing;
mod manifests;
mod upload;

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::Stream;
use oci_spec::image::Digest;
use secrecy::SecretString;

use crate::{
    error::Result,
    name::{ProjectName, RepositoryName, Tag},
    retry::RetryPolicy,
};
use connection::Connection;

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
    /// It is there, or the registry has no projects.
    Exists,
    /// It was not, and has been made.
    Created,
    /// It is not there.
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

impl Quota {
    /// Returns how many bytes may be added; `None` is without limit.
    #[must_use]
    pub fn free(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.used))
    }
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
    /// What the registry says of it where it is not allowed.
    pub refusal: Option<String>,
    /// Whether the registry is read-only.
    pub read_only: bool,
    /// The quota; `None` where there is none or this account may not read it.
    pub quota: Option<Quota>,
}

/// How many requests this client made, retries included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// HEAD requests.
    pub heads: u64,
    /// GET requests.
    pub reads: u64,
    /// Requests that change what the registry holds, and those that cancel an upload.
    pub writes: u64,
    /// Requests of the rights probe, which leave nothing behind.
    pub probes: u64,
    /// Bytes sent in blobs and manifests.
    pub bytes_sent: u64,
}

#[derive(Debug, Default)]
struct Counters {
    heads: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    probes: AtomicU64,
    bytes_sent: Arc<AtomicU64>,
}

/// What proves that a tag was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The digest that the registry names in its answer.
    Answer,
    /// The tag, asked for again.
    ReadBack,
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
pub struct SiteRegistry {
    shared: Arc<Shared>,
}

/// What whoever changes a list holds.
type List = Arc<tokio::sync::Mutex<()>>;

#[derive(Debug)]
struct Shared {
    connection: Connection,
    project: ProjectName,
    flavour: Flavour,
    retry: RetryPolicy,
    /// The lists of referrers that are being changed, by repository and tag.
    lists: Mutex<HashMap<String, List>>,
}

impl Shared {
    /// Returns what to hold while the list of referrers under a tag is read and written again.
    fn list(&self, repository: &RepositoryName, tag: &Tag) -> List {
        let key = format!("{repository}:{tag}");
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lists.entry(key).or_default())
    }
}

impl SiteRegistry {
    /// Connects: proves that the name resolves, the certificate is trusted and the login is right.
    pub async fn connect(config: SiteConfig) -> Result<Self> {
        let connection = Connection::new(&config)?;
        connection.prove_login().await?;
        let flavour = harbor::flavour(&connection).await?;
        let SiteConfig { project, retry, .. } = config;
        Ok(Self {
            shared: Arc::new(Shared {
                connection,
                project,
                flavour,
                retry,
                lists: Mutex::default(),
            }),
        })
    }

    /// Returns what kind of registry answers.
    #[must_use]
    pub fn flavour(&self) -> &Flavour {
        &self.shared.flavour
    }

    /// Returns the registry's host, with its port where that is not the usual one.
    #[must_use]
    pub fn host(&self) -> &str {
        self.shared.connection.host()
    }

    /// Returns the project.
    #[must_use]
    pub fn project(&self) -> &ProjectName {
        &self.shared.project
    }

    /// Returns how many requests were made so far, by this and all its clones.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.shared.connection.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            heads: read(&counters.heads),
            reads: read(&counters.reads),
            writes: read(&counters.writes),
            probes: read(&counters.probes),
            bytes_sent: read(&counters.bytes_sent),
        }
    }

    /// Returns how often the registry answered 429 so far, for [`crate::Pace`].
    #[must_use]
    pub fn complaints(&self) -> u64 {
        self.shared.connection.complaints.load(Ordering::Relaxed)
    }

    /// Returns `/v2/<project>/<repository>/<rest>`.
    fn path(&self, repository: &RepositoryName, rest: &str) -> String {
        format!("/v2/{}/{repository}/{rest}", self.shared.project)
    }

    /// Names an object for messages: `blob sha256:… of airgap/quay.io/argoproj/argocd`.
    fn object(
        &self,
        kind: &str,
        repository: &RepositoryName,
        separator: &str,
        name: &str,
    ) -> String {
        let project = &self.shared.project;
        if kind == "blob" {
            format!("blob {name} of {project}/{repository}")
        } else {
            format!("{kind} {project}/{repository}{separator}{name}")
        }
    }
}
