//! What can go wrong with keys, signatures and trust.
//!
//! Messages name the operation and the object; the cause is in the source chain only. No message ever holds key
//! material or a passphrase.

use camino::Utf8PathBuf;

use crate::KeyId;

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error about a key, a signature or the trust in them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key or policy file could not be read or written; the source names the path.
    #[error("failed to {operation} {what}")]
    File {
        /// `read` or `write`.
        operation: &'static str,
        /// The kind of file and its path.
        what: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A key file exists already and is never overwritten.
    #[error("key file exists and is not overwritten: {path}")]
    Exists {
        /// The file that is there.
        path: Utf8PathBuf,
    },
    /// A key could not be used.
    #[error("cannot use {what}")]
    Key {
        /// Which key: its file, or what it was read from.
        what: String,
        /// Why not.
        #[source]
        source: KeyProblem,
    },
    /// A signature is not base64 of 64 bytes and a line feed.
    #[error("malformed signature: expected 88 base64 characters and a line feed")]
    MalformedSignature,
    /// A key id is not 16 lower-case hexadecimal digits.
    #[error("malformed key id `{text}`: expected 16 lower-case hexadecimal digits")]
    MalformedKeyId {
        /// What was given.
        text: String,
    },
    /// `policy.yaml` does not say what it must.
    #[error("invalid trust policy {path}: {reason}")]
    Policy {
        /// The policy file.
        path: Utf8PathBuf,
        /// What is wrong, with line and column where known.
        reason: String,
    },
    /// There is no key to trust.
    #[error("no trusted key in {place}")]
    NoKeys {
        /// The folder or the list that was empty.
        place: String,
    },
    /// Too few trusted keys signed the message.
    #[error("signed by {} of the {needed} trusted keys needed{}", .trusted.len(), revoked_text(.revoked))]
    Untrusted {
        /// Distinct trusted keys needed.
        needed: usize,
        /// Trusted keys whose signature holds.
        trusted: Vec<KeyId>,
        /// Revoked keys whose signature holds; they never count.
        revoked: Vec<KeyId>,
    },
}

impl Error {
    /// Says whether this means "do not trust what was signed", rather than "could not look".
    #[must_use]
    pub fn is_trust_failure(&self) -> bool {
        match self {
            Self::Untrusted { .. } | Self::MalformedSignature => true,
            Self::File { .. }
            | Self::Exists { .. }
            | Self::Key { .. }
            | Self::MalformedKeyId { .. }
            | Self::Policy { .. }
            | Self::NoKeys { .. } => false,
        }
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyProblem {
    /// The text is not PEM of the expected kind.
    #[error("not a PEM file that begins with `-----BEGIN {expected}-----`")]
    NotPem {
        /// The label or labels that would do.
        expected: &'static str,
    },
    /// The key is for another algorithm, or its structure is broken.
    #[error("not an Ed25519 key")]
    NotEd25519,
    /// The key is of small order, so anyone could make signatures for it.
    #[error("a weak key, for which anyone can make signatures")]
    Weak,
    /// The key is encrypted and no passphrase was given.
    #[error("the key is encrypted and needs its passphrase")]
    PassphraseNeeded,
    /// The key does not open with the passphrase given.
    #[error("the passphrase is wrong, or the key's encryption is not supported")]
    WrongPassphrase,
    /// The file holds more than a key can be.
    #[error("larger than 64 KiB")]
    TooLarge,
}

fn revoked_text(revoked: &[KeyId]) -> String {
    if revoked.is_empty() {
        return String::new();
    }
    let ids: Vec<String> = revoked.iter().map(ToString::to_string).collect();
    format!(" (revoked keys do not count: {})", ids.join(", "))
}
