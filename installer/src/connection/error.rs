//! Why a host could not be reached, refused us, or failed a command.

use std::{io, time::Duration};

use camino::Utf8PathBuf;

/// The error of everything that is done on a host. Every variant names the host; none holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// No TCP connection: name unknown, refused, no route, or no answer in time.
    #[error("failed to connect to host {host} at {address}")]
    Unreachable {
        /// The host's name.
        host: String,
        /// `address:port`, with the bastion if there is one.
        address: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The host's key is not the expected one, not known, or revoked.
    #[error("refused to trust host {host}: {0}", .problem.message())]
    HostKey {
        /// The host's name.
        host: String,
        /// What is wrong with the key.
        problem: Box<super::HostKeyProblem>,
    },
    /// The host accepted none of our keys.
    #[error("failed to log in to host {host} as {user}: {reason}")]
    Login {
        /// The host's name.
        host: String,
        /// The login name.
        user: String,
        /// What was tried and what the host offers.
        reason: String,
    },
    /// The login cannot become root.
    #[error("failed to become root on host {host} with sudo as {user}: {reason}")]
    Sudo {
        /// The host's name.
        host: String,
        /// The login name.
        user: String,
        /// Wrong password, no sudo, not allowed.
        reason: super::SudoFailure,
    },
    /// The connection broke in the middle of something. Running again is safe.
    #[error("lost the connection to host {host} during `{during}`")]
    Lost {
        /// The host's name.
        host: String,
        /// What was under way.
        during: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// SSH itself went wrong: no common algorithm, or a violation of the protocol.
    #[error("failed to speak SSH with host {host} ({step})")]
    Protocol {
        /// The host's name.
        host: String,
        /// What was being done.
        step: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A command ran longer than its limit.
    #[error("`{command}` on host {host} did not end within {} s", .limit.as_secs())]
    TimedOut {
        /// The host's name.
        host: String,
        /// The command.
        command: String,
        /// Its limit.
        limit: Duration,
    },
    /// A command ended with a status other than zero.
    #[error("`{command}` failed on host {host} with status {status}: {stderr}")]
    CommandFailed {
        /// The host's name.
        host: String,
        /// The command.
        command: String,
        /// Its exit status.
        status: i32,
        /// The end of its standard error.
        stderr: String,
    },
    /// The host's disk is full; nothing was left behind.
    #[error("failed to write {path} on host {host}: {needed} bytes needed, {available} free")]
    DiskFull {
        /// The host's name.
        host: String,
        /// The file.
        path: Utf8PathBuf,
        /// The file's length in bytes.
        needed: u64,
        /// The bytes that were free.
        available: u64,
    },
    /// The host holds other bytes than were sent, or the source yielded other bytes than announced; nothing was left behind.
    #[error("failed to write {path} on host {host}: sha256 is {actual}, expected {expected}")]
    ContentDiffers {
        /// The host's name.
        host: String,
        /// The file.
        path: Utf8PathBuf,
        /// The digest that was announced.
        expected: String,
        /// The digest that came out.
        actual: String,
    },
    /// The content could not be read on this side; the host's file is as it was.
    #[error("failed to read what {path} on host {host} should become")]
    Content {
        /// The host's name.
        host: String,
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file on the operator's machine that logging in needs is missing or broken: a key, a known_hosts file.
    #[error("failed to use {path} for host {host}: {reason}")]
    LocalFile {
        /// The host's name.
        host: String,
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A secret for this host could not be had.
    #[error("failed to get a secret for host {host}")]
    Secret {
        /// The host's name.
        host: String,
        /// The cause.
        #[source]
        source: crate::secret::SecretError,
    },
}

impl ConnectionError {
    /// Says what lets this host in, where it is there but does not; empty where that is not what failed.
    #[must_use]
    pub fn remedies(&self) -> Vec<String> {
        match self {
            Self::HostKey { .. } => vec![
                "if this is a new host: `airgap inventory scan-keys` shows its key, to compare on its console".to_owned(),
                "if the host was not reinstalled, somebody may stand between: do not go on".to_owned(),
            ],
            Self::Login { user, .. } => vec![format!(
                "let {user} in with the key that `ssh.keyPath` names, or with one in the SSH agent"
            )],
            Self::Sudo { user, .. } => vec![format!(
                "let {user} use sudo on that host, and name its password under `sudo.password` if it needs one"
            )],
            _ => Vec::new(),
        }
    }

    /// Tells whether the same thing may well succeed on a second try: the network failed, not the host or the inventory.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } | Self::TimedOut { .. } => true,
            Self::HostKey { .. }
            | Self::Login { .. }
            | Self::Sudo { .. }
            | Self::Protocol { .. }
            | Self::CommandFailed { .. }
            | Self::DiskFull { .. }
            | Self::ContentDiffers { .. }
            | Self::Content { .. }
            | Self::LocalFile { .. }
            | Self::Secret { .. } => false,
        }
    }

    /// Returns the name of the host concerned.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::Unreachable { host, .. }
            | Self::HostKey { host, .. }
            | Self::Login { host, .. }
            | Self::Sudo { host, .. }
            | Self::Lost { host, .. }
            | Self::Protocol { host, .. }
            | Self::TimedOut { host, .. }
            | Self::CommandFailed { host, .. }
            | Self::DiskFull { host, .. }
            | Self::ContentDiffers { host, .. }
            | Self::Content { host, .. }
            | Self::LocalFile { host, .. }
            | Self::Secret { host, .. } => host,
        }
    }
}

/// Returns the last 2 KiB of a command's standard error, as text.
pub(super) fn tail(stderr: &[u8]) -> String {
    const SHOWN: usize = 2048;
    let text = String::from_utf8_lossy(&stderr[stderr.len().saturating_sub(SHOWN)..]);
    text.trim().to_owned()
}
