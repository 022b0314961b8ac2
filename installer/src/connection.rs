//! The only way anything happens on a host.
//!
//! A [`Connection`] belongs to one thread at a time, and a host has one. It never trusts a host key it was not told to trust, never puts a
//! secret into a command line, and leaves no half-written file: [`Connection::put`] renames only what hashes right on the host.

mod bastion;
mod error;
mod exchange;
pub mod known_hosts;
mod local;
mod login;
mod remote;
mod scan;
mod ssh;
mod transfer;
mod trouble;

use std::io::Read;

use camino::{Utf8Path, Utf8PathBuf};
pub use error::ConnectionError;
pub use scan::{ScannedKey, scan_keys};
use secrecy::SecretString;
pub use trouble::{HostKeyProblem, SudoFailure};

use crate::{Access, Command, Host, Output, Secrets};

/// Runs commands on one host and moves files to and from it.
pub trait Connection: Send {
    /// Returns the host's name in the inventory.
    fn host(&self) -> &str;

    /// Runs a command to its end. A non-zero exit status is an answer, not an error.
    fn run(&mut self, command: &Command) -> Result<Output, ConnectionError>;

    /// Makes the host's file what `file` says, unless it already is: one command, whatever the outcome.
    ///
    /// `content` is read only if the host lacks it, and must yield exactly `file.size` bytes with the digest `file.sha256`. They go to a
    /// temporary name in the target's folder (which is created if need be, 0755), are hashed there, flushed to disk and renamed.
    fn put(&mut self, file: &Put, content: &mut dyn Read) -> Result<PutOutcome, ConnectionError>;

    /// Reads a file of the host as root, up to 16 MiB; `None` when there is none.
    fn read(&mut self, path: &Utf8Path) -> Result<Option<Vec<u8>>, ConnectionError>;

    /// Runs a command that must succeed.
    fn check(&mut self, command: &Command) -> Result<Output, ConnectionError> {
        let output = self.run(command)?;
        if output.success() {
            return Ok(output);
        }
        Err(ConnectionError::CommandFailed {
            host: self.host().to_owned(),
            command: command.to_string(),
            status: output.status,
            stderr: error::tail(&output.stderr),
        })
    }
}

/// Connects to a host: logs in over SSH, or takes this machine. Secrets are resolved here, once.
pub fn open(host: &Host, secrets: &Secrets<'_>) -> Result<Box<dyn Connection>, ConnectionError> {
    let sudo = match &host.sudo {
        None => None,
        Some(sudo) => {
            let what = || "the sudo password".to_owned();
            let password = login::secret(&host.name, secrets, sudo.password.as_ref(), what)?;
            Some(Elevation { password })
        }
    };
    Ok(match &host.access {
        Access::Local => Box::new(local::LocalConnection::new(&host.name, sudo)),
        Access::Ssh(target) => {
            let mut connection = ssh::SshConnection::new(
                &host.name,
                login::Login::prepare(&host.name, target, secrets)?,
                sudo,
            );
            connection.connect()?;
            Box::new(connection)
        }
    })
}

/// Becoming root with sudo, with its password at hand if there is one.
#[derive(Debug)]
struct Elevation {
    password: Option<SecretString>,
}

/// Puts the end of a conversation into words.
fn broken(host: &str, user: &str, command: &Command, broken: exchange::Broken) -> ConnectionError {
    let host = host.to_owned();
    match broken {
        exchange::Broken::Lost(source) => ConnectionError::Lost {
            host,
            during: command.to_string(),
            source,
        },
        exchange::Broken::TimedOut => ConnectionError::TimedOut {
            host,
            command: command.to_string(),
            limit: command.time_limit(),
        },
        exchange::Broken::Sudo(reason) => sudo_failure(&host, user, reason),
        exchange::Broken::NotStarted { status, stderr } => ConnectionError::CommandFailed {
            host,
            command: command.to_string(),
            status,
            stderr,
        },
        exchange::Broken::Source(source) => ConnectionError::Content {
            host,
            path: Utf8PathBuf::new(),
            source,
        },
    }
}

fn sudo_failure(host: &str, user: &str, reason: SudoFailure) -> ConnectionError {
    ConnectionError::Sudo {
        host: host.to_owned(),
        user: user.to_owned(),
        reason,
    }
}

/// A file as it should be on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The absolute path.
    pub path: Utf8PathBuf,
    /// Permission bits, such as `0o600`.
    pub mode: u32,
    /// `user:group`.
    pub owner: String,
    /// The content's length in bytes.
    pub size: u64,
    /// The content's sha256, 64 hex digits.
    pub sha256: String,
}

impl Put {
    /// Describes a file of root's with this content.
    pub fn of(path: impl Into<Utf8PathBuf>, mode: u32, content: &[u8]) -> Self {
        use sha2::Digest;
        Self {
            path: path.into(),
            mode,
            owner: "root:root".to_owned(),
            size: content.len() as u64,
            sha256: hex::encode(sha2::Sha256::digest(content)),
        }
    }
}

/// What [`Connection::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The host had this content already; mode and owner were right, too.
    Unchanged,
    /// The content was there, mode or owner were mended.
    Mended,
    /// The file was written.
    Written,
}
