//! Secrets by reference: an inventory names where a secret is, never the secret.
//!
//! The library itself opens only the files that the inventory names. The environment and the terminal belong to the caller, who
//! answers through [`SecretSource`]. Each distinct reference is resolved once, so one prompt serves all hosts that inherit it.

use std::{collections::BTreeMap, fmt, io, sync::Mutex};

use camino::{Utf8Path, Utf8PathBuf};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

/// Where a secret is to be found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SecretRef {
    /// The environment variable of this name, of the process that runs the installer.
    Env(String),
    /// The contents of this file, without a trailing line break; relative to the inventory's folder.
    File(Utf8PathBuf),
    /// Asked for on the terminal.
    Prompt,
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Prompt => f.write_str("prompt"),
        }
    }
}

/// The caller's side of the references that a library must not follow by itself.
pub trait SecretSource: Sync {
    /// Returns the environment variable `name`, if it is set.
    fn env(&self, name: &str) -> Option<SecretString>;
    /// Asks for `what` without echo; `None` where nobody can be asked.
    fn prompt(&self, what: &str) -> io::Result<Option<SecretString>>;
    /// Returns the operator's home folder, for paths that begin with `~/`.
    fn home(&self) -> Option<Utf8PathBuf>;
    /// Returns the socket of the operator's SSH agent.
    fn ssh_agent(&self) -> Option<Utf8PathBuf>;
    /// Is told of every secret before it is used, wherever it came from, so that the caller can keep it out of what is shown.
    fn resolved(&self, _secret: &SecretString) {}
}

/// Why a secret could not be had. No variant ever holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set, or empty.
    #[error("failed to read {what}: environment variable {name} is not set")]
    EnvUnset {
        /// What the secret is for.
        what: String,
        /// The variable's name.
        name: String,
    },
    /// The file cannot be read.
    #[error("failed to read {what} from its file")]
    File {
        /// What the secret is for.
        what: String,
        /// The cause; names the path.
        #[source]
        source: io::Error,
    },
    /// The file is readable by others than its owner.
    #[error(
        "failed to read {what}: {path} has mode {mode:04o} and is open to others (chmod 600 {path})"
    )]
    FileOpen {
        /// What the secret is for.
        what: String,
        /// The file.
        path: Utf8PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds nothing, or more than a secret can be.
    #[error("failed to read {what}: {path} is empty, longer than 64 KiB, or not text")]
    FileContent {
        /// What the secret is for.
        what: String,
        /// The file.
        path: Utf8PathBuf,
    },
    /// There is no terminal to ask on, or it failed.
    #[error(
        "failed to ask for {what}: no terminal (use `env:` or `file:` instead of `prompt:` for unattended runs)"
    )]
    Prompt {
        /// What the secret is for.
        what: String,
        /// The terminal's error, if it had one.
        #[source]
        source: Option<io::Error>,
    },
}

/// Resolves references, each once, and remembers the answers for the length of a run.
pub struct Secrets<'a> {
    source: &'a dyn SecretSource,
    folder: Utf8PathBuf,
    known: Mutex<BTreeMap<(SecretRef, String), SecretString>>,
}

impl fmt::Debug for Secrets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl<'a> Secrets<'a> {
    /// Resolves relative paths against `folder`: the one that holds the inventory.
    pub fn new(source: &'a dyn SecretSource, folder: &Utf8Path) -> Self {
        Self {
            source,
            folder: folder.to_owned(),
            known: Mutex::default(),
        }
    }

    /// Returns the secret; `what` says in the operator's words what it is for (`sudo password`).
    pub fn resolve(&self, reference: &SecretRef, what: &str) -> Result<SecretString, SecretError> {
        // the lock is held while asking, so two hosts never prompt at once; a prompt is known by what it is for
        let purpose = if *reference == SecretRef::Prompt {
            what.to_owned()
        } else {
            String::new()
        };
        let mut known = self
            .known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (reference.clone(), purpose);
        if let Some(secret) = known.get(&key) {
            return Ok(secret.clone());
        }
        let secret = self.look_up(reference, what)?;
        self.source.resolved(&secret);
        known.insert(key, secret.clone());
        Ok(secret)
    }

    /// Makes a path of the inventory absolute: `~/` is the operator's home, the rest is relative to the inventory.
    pub fn path(&self, path: &Utf8Path) -> Utf8PathBuf {
        match (path.strip_prefix("~"), self.source.home()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => self.folder.join(path),
        }
    }

    /// Returns the socket of the operator's SSH agent.
    pub fn ssh_agent(&self) -> Option<Utf8PathBuf> {
        self.source.ssh_agent()
    }

    fn look_up(&self, reference: &SecretRef, what: &str) -> Result<SecretString, SecretError> {
        let what = what.to_owned();
        match reference {
            SecretRef::Env(name) => self
                .source
                .env(name)
                .filter(|value| !value.expose_secret().is_empty())
                .ok_or_else(|| SecretError::EnvUnset {
                    what,
                    name: name.clone(),
                }),
            SecretRef::File(path) => read_secret_file(self.path(path), what),
            SecretRef::Prompt => match self.source.prompt(&what) {
                Ok(Some(secret)) => Ok(secret),
                Ok(None) => Err(SecretError::Prompt { what, source: None }),
                Err(source) => Err(SecretError::Prompt {
                    what,
                    source: Some(source),
                }),
            },
        }
    }
}

fn read_secret_file(path: Utf8PathBuf, what: String) -> Result<SecretString, SecretError> {
    use std::{io::Read, os::unix::fs::PermissionsExt};
    const LIMIT: u64 = 64 << 10;
    let mut file = match fs_err::File::open(&path) {
        Ok(file) => file,
        Err(source) => return Err(SecretError::File { what, source }),
    };
    let mode = match file.metadata() {
        Ok(metadata) => metadata.permissions().mode() & 0o7777,
        Err(source) => return Err(SecretError::File { what, source }),
    };
    if mode & 0o077 != 0 {
        return Err(SecretError::FileOpen { what, path, mode });
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    match (&mut file).take(LIMIT + 1).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(SecretError::FileContent { what, path });
        }
        Err(source) => return Err(SecretError::File { what, source }),
    }
    let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| {
        line.strip_suffix('\r').unwrap_or(line)
    });
    if secret.is_empty() || text.len() as u64 > LIMIT {
        return Err(SecretError::FileContent { what, path });
    }
    Ok(SecretString::from(secret))
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::PermissionsExt,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[derive(Default)]
    struct Operator(AtomicUsize);

    impl SecretSource for Operator {
        fn env(&self, name: &str) -> Option<SecretString> {
            match name {
                "SET" => Some("canary".into()),
                "EMPTY" => Some("".into()),
                _ => None,
            }
        }

        fn prompt(&self, what: &str) -> io::Result<Option<SecretString>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok((what != "nobody").then(|| what.into()))
        }

        fn home(&self) -> Option<Utf8PathBuf> {
            Some("/home/ops".into())
        }

        fn ssh_agent(&self) -> Option<Utf8PathBuf> {
            None
        }
    }

    fn resolve(reference: &SecretRef, what: &str) -> Result<String, String> {
        let operator = Operator::default();
        let secrets = Secrets::new(&operator, Utf8Path::new("/site"));
        match secrets.resolve(reference, what) {
            Ok(secret) => Ok(secret.expose_secret().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_variable_must_be_set() {
        assert_eq!(
            resolve(&SecretRef::Env("SET".to_owned()), "x"),
            Ok("canary".to_owned())
        );
        for name in ["EMPTY", "UNSET"] {
            let error = resolve(&SecretRef::Env(name.to_owned()), "the sudo password").unwrap_err();
            assert_eq!(
                error,
                format!("failed to read the sudo password: environment variable {name} is not set")
            );
        }
    }

    #[test]
    fn a_file_is_private_text_of_one_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("s")).unwrap();
        let with = |content: &[u8], mode| {
            fs_err::write(&path, content).unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            resolve(&SecretRef::File(path.clone()), "x")
        };
        assert_eq!(with(b"canary\n", 0o600), Ok("canary".to_owned()));
        assert_eq!(with(b"canary\r\n", 0o400), Ok("canary".to_owned()));
        assert_eq!(with(b"two\nlines\n", 0o600), Ok("two\nlines".to_owned()));
        assert!(with(b"canary", 0o640).unwrap_err().contains("chmod 600"));
        for content in [&b""[..], b"\n", b"\xff", "a".repeat(70_000).as_bytes()] {
            let error = with(content, 0o600).unwrap_err();
            assert!(
                error.contains("empty, longer than 64 KiB, or not text"),
                "{error}"
            );
        }
        assert!(resolve(&SecretRef::File("none".into()), "x").is_err());
    }

    #[test]
    fn each_thing_is_asked_for_once() {
        let operator = Operator::default();
        let secrets = Secrets::new(&operator, Utf8Path::new("/site"));
        for what in ["a", "b", "a", "a", "b"] {
            assert_eq!(
                secrets
                    .resolve(&SecretRef::Prompt, what)
                    .unwrap()
                    .expose_secret(),
                what
            );
        }
        assert_eq!(operator.0.load(Ordering::SeqCst), 2);
        assert!(
            secrets
                .resolve(&SecretRef::Prompt, "nobody")
                .unwrap_err()
                .to_string()
                .contains("unattended")
        );
    }

    #[test]
    fn paths_begin_at_home_or_at_the_inventory() {
        let operator = Operator::default();
        let secrets = Secrets::new(&operator, Utf8Path::new("/site"));
        for (path, absolute) in [
            ("~/k", "/home/ops/k"),
            ("./k", "/site/./k"),
            ("/k", "/k"),
            ("~k", "/site/~k"),
        ] {
            assert_eq!(secrets.path(Utf8Path::new(path)), absolute);
        }
    }
}
