//! What is wrong with a host's key, or with becoming root, in words an operator can act on.

use std::fmt;

use camino::Utf8PathBuf;

/// Why a host key was not accepted. Fingerprints are as `ssh-keygen -l` shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKeyProblem {
    /// No entry for this host.
    Unknown {
        /// The name that was looked up, with the port if it is not 22.
        name: String,
        /// The key's type.
        kind: String,
        /// The fingerprint of the key the host showed.
        fingerprint: String,
        /// The file that was searched; `None` where there is none.
        file: Option<Utf8PathBuf>,
        /// The lines that name the host in a way that never counts, such as `@cert-authority`.
        unsupported: Vec<u64>,
    },
    /// An entry for this host names another key.
    Changed {
        /// The name that was looked up, with the port if it is not 22.
        name: String,
        /// The key's type.
        kind: String,
        /// The fingerprint of the key the host showed.
        fingerprint: String,
        /// The fingerprint of the key on record.
        expected: String,
        /// Where the record is: `file:line`, or the inventory's `hostKey`.
        place: String,
    },
    /// The key is marked `@revoked`.
    Revoked {
        /// The name that was looked up, with the port if it is not 22.
        name: String,
        /// The fingerprint of the key the host showed.
        fingerprint: String,
        /// `file:line` of the mark.
        place: String,
    },
}

impl HostKeyProblem {
    /// Returns the sentence for the error message.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Unknown {
                name,
                kind,
                fingerprint,
                file,
                unsupported,
            } => {
                let place = file.as_ref().map_or_else(
                    || "no known_hosts file".to_owned(),
                    |file| format!("no entry for it in {file}"),
                );
                let mut marks = String::new();
                if !unsupported.is_empty() {
                    let lines: Vec<String> = unsupported.iter().map(u64::to_string).collect();
                    marks = format!(
                        "; line {} is a @cert-authority entry, which airgap does not support",
                        lines.join(", ")
                    );
                }
                format!(
                    "{name} showed {kind} key {fingerprint}, and there is {place}{marks} (compare the fingerprint with the host's console, then add the line that `airgap inventory scan-keys` prints)"
                )
            }
            Self::Changed {
                name,
                kind,
                fingerprint,
                expected,
                place,
            } => format!(
                "{name} showed {kind} key {fingerprint}, but {place} expects {expected}; the host was re-imaged, or someone is in between (if re-imaged: remove that entry and run `airgap inventory scan-keys`)"
            ),
            Self::Revoked {
                name,
                fingerprint,
                place,
            } => format!("{name} showed key {fingerprint}, which {place} marks as revoked"),
        }
    }
}

/// Why sudo did not give us root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SudoFailure {
    /// There is no sudo on the host.
    Missing,
    /// sudo refused the password.
    WrongPassword,
    /// sudo asks for a password and the inventory names none.
    PasswordNeeded,
    /// The login is not allowed to use sudo.
    NotAllowed,
    /// sudo insists on a terminal (`requiretty`).
    NeedsTerminal,
    /// The login is not root, and the inventory has no `sudo` for this host.
    NotConfigured,
}

impl fmt::Display for SudoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "there is no sudo on the host (log in as root, or install sudo)",
            Self::WrongPassword => "sudo refused the password",
            Self::PasswordNeeded => "sudo asks for a password, and the inventory gives none (set `sudo: {password: {file: …}}` or `{prompt: true}`)",
            Self::NotAllowed => "this user is not allowed to run commands as root (see /etc/sudoers)",
            Self::NeedsTerminal => "sudo insists on a terminal (remove `requiretty` from /etc/sudoers for this user)",
            Self::NotConfigured => "the login is not root and the inventory gives no `sudo` (set `sudo: {}` where it asks for no password)",
        })
    }
}
