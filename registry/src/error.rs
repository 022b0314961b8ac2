//! What can go wrong between us and a registry, told apart as far as a remedy differs.
//!
//! Invariant: a variant carries the facts that a hint needs (host, account, object, digests) as fields, and
//! its message never repeats its source. Hints themselves belong to the command line.

use std::{io, time::Duration};

use camino::Utf8PathBuf;
use oci_spec::image::Digest;

use crate::tls::{CertificateFacts, Untrusted};

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a registry or file server could not be read from or written to.
///
/// `object` always names what the operation was about, as a phrase: `manifest quay.io/argoproj/argocd:v3.4.4`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration file that does not say what it must.
    #[error("{path}{}: {message}", line.map(|line| format!(":{line}")).unwrap_or_default())]
    Config {
        /// The file.
        path: Utf8PathBuf,
        /// The line, counted from 1, where it is known.
        line: Option<u64>,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// A name that no registry would accept.
    #[error("`{name}` is not a valid {kind}: {reason}")]
    InvalidName {
        /// What kind of name was expected.
        kind: &'static str,
        /// The name as given.
        name: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// The login for a host is kept by a docker credential helper, which is never run.
    #[error(
        "the docker configuration keeps the login for {host} in the credential helper `{helper}`, which is not supported"
    )]
    CredentialHelper {
        /// The registry.
        host: String,
        /// The helper's name, as in `docker-credential-NAME`.
        helper: String,
    },
    /// The resolver knows no such name.
    #[error("the name {host} cannot be resolved")]
    NameUnresolved {
        /// The host.
        host: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// No connection could be made.
    #[error("cannot connect to {host}")]
    Unreachable {
        /// The host, with its port.
        host: String,
        /// Refused, timed out, no route.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server's certificate is not one to trust here.
    #[error("the certificate of {host} is not trusted: {reason}")]
    CertificateUntrusted {
        /// The host, with its port.
        host: String,
        /// Why.
        reason: Untrusted,
        /// What the server presented, its own certificate first; empty when it could not be read.
        presented: Vec<CertificateFacts>,
    },
    /// The account or its password is wrong, or an account is needed and none was given.
    #[error("{host} refuses the login{} for {object}", account(user.as_ref()))]
    Unauthorized {
        /// The host, with its port.
        host: String,
        /// The account, `None` when there was none.
        user: Option<String>,
        /// What was asked for.
        object: String,
    },
    /// The account is right, but lacks a right.
    #[error(
        "{host} does not allow{} to {action} {object}{}",
        account(user.as_ref()),
        message.as_ref().map(|words| format!(": {words}")).unwrap_or_default()
    )]
    Forbidden {
        /// The host, with its port.
        host: String,
        /// The account, `None` when there was none.
        user: Option<String>,
        /// `pull`, `push` or `create`.
        action: &'static str,
        /// What was asked for.
        object: String,
        /// The server's words, where it had any: the right may be there, and the project a proxy.
        message: Option<String>,
    },
    /// The project's storage quota does not allow so many bytes more.
    #[error(
        "the quota of project {project} at {host} does not allow {needed} bytes more for {object}"
    )]
    QuotaExceeded {
        /// The host, with its port.
        host: String,
        /// The project.
        project: String,
        /// What was to be stored.
        object: String,
        /// Bytes that were to be added.
        needed: u64,
        /// Bytes in use, where the account may know.
        used: Option<u64>,
        /// Bytes allowed, where the account may know.
        limit: Option<u64>,
    },
    /// The project is not there, or hidden from this account.
    #[error("there is no project {project} at {host}, or{} may not see it", account(user.as_ref()))]
    ProjectMissing {
        /// The host, with its port.
        host: String,
        /// The project.
        project: String,
        /// The account.
        user: Option<String>,
    },
    /// The tag exists with another digest and a rule forbids moving it.
    #[error("the tag of {object} is immutable at {host} and already holds another digest")]
    ImmutableTag {
        /// The host, with its port.
        host: String,
        /// The manifest with its tag.
        object: String,
        /// What the tag holds, where it could be read.
        present: Option<Digest>,
        /// What was to be put there.
        wanted: Box<Digest>,
    },
    /// A policy of the project (content trust, vulnerabilities) hides or refuses the object.
    #[error("a policy of the project at {host} refuses {object}: {message}")]
    Policy {
        /// The host, with its port.
        host: String,
        /// What was asked for.
        object: String,
        /// The server's words.
        message: String,
    },
    /// The registry is switched to read-only.
    #[error("{host} is in read-only mode, so {object} cannot be written")]
    ReadOnly {
        /// The host, with its port.
        host: String,
        /// What was to be written.
        object: String,
    },
    /// The server kept asking for patience.
    #[error(
        "{host} limits the rate of requests and still did so after {attempts} attempts for {object}"
    )]
    RateLimited {
        /// The host, with its port.
        host: String,
        /// What was asked for.
        object: String,
        /// How often it was tried.
        attempts: u32,
        /// What the last answer asked for, where it did.
        retry_after: Option<Duration>,
    },
    /// The object is not there.
    #[error("{object} is not at {host}")]
    NotFound {
        /// The host, with its port.
        host: String,
        /// What was asked for.
        object: String,
    },
    /// What the server sent, or took, has another digest than asked for.
    #[error("{host} answered with wrong content for {object}: expected {expected}, got {got}")]
    DigestMismatch {
        /// The host, with its port.
        host: String,
        /// What was asked for.
        object: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        got: String,
    },
    /// Our own source of a blob failed or did not agree with its digest; nothing was committed.
    #[error("the source of blob {digest} failed while it was pushed; the upload was cancelled")]
    Body {
        /// The blob.
        digest: Digest,
        /// What the source said.
        #[source]
        source: io::Error,
    },
    /// The connection was lost while it was in use, at the last attempt too.
    #[error("the connection to {host} was lost {attempts} times while working on {object}")]
    ConnectionLost {
        /// The host, with its port.
        host: String,
        /// What was transferred.
        object: String,
        /// How often it was tried.
        attempts: u32,
        /// The last failure.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer that fits nothing above.
    #[error("{host} answered {status} for {object}: {message}")]
    Status {
        /// The host, with its port.
        host: String,
        /// What was asked for.
        object: String,
        /// The HTTP status.
        status: u16,
        /// The server's words, cut to a line.
        message: String,
    },
    /// An answer that the protocol does not allow, or that is refused for safety.
    #[error("{host} broke the protocol for {object}: {message}")]
    Protocol {
        /// The host, with its port.
        host: String,
        /// What was asked for.
        object: String,
        /// What was wrong.
        message: String,
    },
    /// The client itself could not be set up.
    #[error("cannot set up the connection to {host}")]
    Setup {
        /// The host, with its port.
        host: String,
        /// What TLS or HTTP said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Notes how many attempts led to this error, where it says so.
    pub(crate) fn after(mut self, made: u32) -> Self {
        if let Self::RateLimited { attempts, .. } | Self::ConnectionLost { attempts, .. } =
            &mut self
        {
            *attempts = made;
        }
        self
    }
}

fn account(user: Option<&String>) -> String {
    user.map_or_else(
        || " without an account".to_owned(),
        |user| format!(" of account {user}"),
    )
}
