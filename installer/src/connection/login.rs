//! Everything a login needs, read and resolved before the first packet leaves.

use std::{fmt, io};

use camino::{Utf8Path, Utf8PathBuf};
use secrecy::{ExposeSecret, SecretString};
use ssh2::Session;

use super::{ConnectionError, HostKeyProblem, known_hosts::KnownHosts};
use crate::{HostKey, SecretRef, Secrets, SshTarget};

/// A target with its key, its secrets, and what is known of its host key.
pub(super) struct Login {
    pub(super) host: String,
    pub(super) target: SshTarget,
    key: Option<(Utf8PathBuf, SecretString, Option<SecretString>)>,
    password: Option<SecretString>,
    agent: Option<Utf8PathBuf>,
    known: KnownHosts,
    pub(super) bastion: Option<Box<Login>>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("host", &self.host)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// Resolves a secret that may be absent.
pub(super) fn secret(
    host: &str,
    secrets: &Secrets<'_>,
    reference: Option<&SecretRef>,
    what: impl Fn() -> String,
) -> Result<Option<SecretString>, ConnectionError> {
    let resolve = |reference| {
        secrets
            .resolve(reference, &what())
            .map_err(|source| ConnectionError::Secret {
                host: host.to_owned(),
                source,
            })
    };
    reference.map(resolve).transpose()
}

impl Login {
    /// Reads key and known_hosts files and resolves secrets, the bastion's too.
    pub(super) fn prepare(
        host: &str,
        target: &SshTarget,
        secrets: &Secrets<'_>,
    ) -> Result<Self, ConnectionError> {
        let key = match &target.key_path {
            None => None,
            Some(path) => {
                let path = secrets.path(path);
                let text = read_key(host, &path)?;
                let passphrase = secret(host, secrets, target.key_passphrase.as_ref(), || {
                    format!("the passphrase of {path}")
                })?;
                Some((path, text, passphrase))
            }
        };
        let password = secret(host, secrets, target.password.as_ref(), || {
            format!("the SSH password of {}", target.user)
        })?;
        let bastion = match &target.bastion {
            None => None,
            Some(bastion) => Some(Box::new(Self::prepare(
                &format!("{host} (bastion {})", bastion.address),
                bastion,
                secrets,
            )?)),
        };
        let known = known_hosts(host, target, secrets)?;
        Ok(Self {
            host: host.to_owned(),
            target: target.clone(),
            key,
            password,
            agent: secrets.ssh_agent(),
            known,
            bastion,
        })
    }

    /// Returns the key types on record for the host: what it should be asked for.
    pub(super) fn known_kinds(&self) -> Vec<String> {
        match &self.target.host_key {
            Some(pinned) => vec![pinned.kind.clone()],
            None => self
                .known
                .kinds(&self.target.address, self.target.port)
                .into_iter()
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Judges the key that the host showed. Nothing else in this crate lets a session proceed.
    pub(super) fn judge(&self, shown: &HostKey) -> Result<(), ConnectionError> {
        let SshTarget { address, port, .. } = &self.target;
        let verdict = match &self.target.host_key {
            Some(pinned) if pinned == shown => Ok(()),
            Some(pinned) => Err(HostKeyProblem::Changed {
                name: super::known_hosts::lookup_name(address, *port),
                kind: shown.kind.clone(),
                fingerprint: shown.fingerprint(),
                expected: format!("{} {}", pinned.kind, pinned.fingerprint()),
                place: "`hostKey` in the inventory".to_owned(),
            }),
            None => self.known.verify(address, *port, shown),
        };
        verdict.map_err(|problem| ConnectionError::HostKey {
            host: self.host.clone(),
            problem: Box::new(problem),
        })
    }

    /// Authenticates: with the key file if one is given, else with the agent's keys; then with the password if one is given.
    pub(super) fn authenticate(&self, session: &Session) -> Result<(), ConnectionError> {
        let user = &self.target.user;
        let mut tried = Vec::new();
        if let Some((path, text, passphrase)) = &self.key {
            let passphrase = passphrase.as_ref().map(ExposeSecret::expose_secret);
            match session.userauth_pubkey_memory(user, None, text.expose_secret(), passphrase) {
                Ok(()) => return Ok(()),
                Err(error) => tried.push(format!("key {path}: {}", error.message())),
            }
        } else if let Some(socket) = &self.agent {
            match self.ask_agent(session, socket) {
                Ok(true) => return Ok(()),
                Ok(false) => tried.push("the SSH agent: none of its keys was accepted".to_owned()),
                Err(error) => tried.push(format!("the SSH agent at {socket}: {}", error.message())),
            }
        } else if self.password.is_none() {
            tried.push("no keyPath is given and there is no SSH agent".to_owned());
        }
        if let Some(password) = &self.password {
            match session.userauth_password(user, password.expose_secret()) {
                Ok(()) => return Ok(()),
                Err(error) => tried.push(format!("password: {}", error.message())),
            }
        }
        Err(ConnectionError::Login {
            host: self.host.clone(),
            user: user.clone(),
            reason: tried.join("; "),
        })
    }

    fn ask_agent(&self, session: &Session, socket: &Utf8Path) -> Result<bool, ssh2::Error> {
        let mut agent = session.agent()?;
        agent.set_identity_path(socket.as_std_path())?;
        agent.connect()?;
        agent.list_identities()?;
        Ok(agent
            .identities()?
            .iter()
            .any(|identity| agent.userauth(&self.target.user, identity).is_ok()))
    }
}

fn read_key(host: &str, path: &Utf8Path) -> Result<SecretString, ConnectionError> {
    use std::os::unix::fs::PermissionsExt;
    let unusable = |reason: String| ConnectionError::LocalFile {
        host: host.to_owned(),
        path: path.to_owned(),
        reason,
    };
    let describe = |error: io::Error| unusable(error.kind().to_string());
    let mode = fs_err::metadata(path)
        .map_err(describe)?
        .permissions()
        .mode()
        & 0o7777;
    if mode & 0o077 != 0 {
        return Err(unusable(format!(
            "its mode {mode:04o} lets others read the private key (chmod 600 {path})"
        )));
    }
    fs_err::read_to_string(path)
        .map(SecretString::from)
        .map_err(describe)
}

/// Reads the known_hosts file the target names, else `~/.ssh/known_hosts`, which need not exist.
fn known_hosts(
    host: &str,
    target: &SshTarget,
    secrets: &Secrets<'_>,
) -> Result<KnownHosts, ConnectionError> {
    if target.host_key.is_some() {
        return Ok(KnownHosts::default());
    }
    let path = secrets.path(
        target
            .known_hosts
            .as_deref()
            .unwrap_or(Utf8Path::new("~/.ssh/known_hosts")),
    );
    let unusable = |reason: String| ConnectionError::LocalFile {
        host: host.to_owned(),
        path: path.clone(),
        reason,
    };
    let text = match fs_err::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound && target.known_hosts.is_none() => {
            return Ok(KnownHosts::default());
        }
        Err(error) => return Err(unusable(error.kind().to_string())),
    };
    KnownHosts::parse(&text, &path).map_err(|error| unusable(error.to_string()))
}
