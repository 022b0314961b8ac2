//! Public keys: SPKI in PEM, as openssl and cosign read them.

use std::fmt;

use camino::Utf8Path;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::{
    DecodePublicKey as _, EncodePublicKey as _, spki::der::pem::LineEnding,
};
use sha2::{Digest as _, Sha256};

use crate::{Error, KeyId, KeyProblem, Result, Signature, files};

/// An Ed25519 public key that is not weak.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Bytes of [`PublicKey::to_pem`]; the same for every key.
    pub const PEM_LENGTH: usize = 113;

    pub(crate) fn new(key: VerifyingKey) -> Self {
        Self(key)
    }

    /// Parses an SPKI PEM text (`-----BEGIN PUBLIC KEY-----`).
    pub fn from_pem(pem: &str) -> Result<Self> {
        Self::parse(pem).map_err(|source| Error::Key {
            what: "public key".to_owned(),
            source,
        })
    }

    /// Reads an SPKI PEM file.
    pub fn read(path: &Utf8Path) -> Result<Self> {
        let text = files::read("public key", path)?;
        Self::parse(&text).map_err(|source| Error::Key {
            what: format!("public key {path}"),
            source,
        })
    }

    fn parse(pem: &str) -> Result<Self, KeyProblem> {
        let pem = pem.trim_ascii();
        if !pem.starts_with("-----BEGIN PUBLIC KEY-----") {
            return Err(KeyProblem::NotPem {
                expected: "PUBLIC KEY",
            });
        }
        let key = VerifyingKey::from_public_key_pem(pem).map_err(|_| KeyProblem::NotEd25519)?;
        if key.is_weak() {
            return Err(KeyProblem::Weak);
        }
        Ok(Self(key))
    }

    /// Writes the key as a new SPKI PEM file, readable by all; refuses to overwrite.
    pub fn write_new(&self, path: &Utf8Path) -> Result<()> {
        files::write_new("public key", path, &self.to_pem(), true)
    }

    /// Returns the key as SPKI PEM with line feeds.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.0
            .to_public_key_pem(LineEnding::LF)
            .expect("an Ed25519 public key always has an SPKI form")
    }

    fn sha256(&self) -> [u8; 32] {
        let der = self
            .0
            .to_public_key_der()
            .expect("an Ed25519 public key always has an SPKI form");
        Sha256::digest(der.as_bytes()).into()
    }

    /// Returns the short name: the first 16 digits of [`PublicKey::fingerprint`].
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        KeyId::from_fingerprint(&self.sha256())
    }

    /// Returns all 64 hexadecimal digits of sha256 over the SPKI DER.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(self.sha256())
    }

    /// Says whether `signature` is this key's over exactly `message`.
    ///
    /// Crate-internal on purpose: trust is asked of a [`crate::TrustRoot`], which knows what is revoked.
    pub(crate) fn made(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.to_bytes());
        self.0.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.key_id())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;
    use crate::SigningKey;

    #[test]
    fn pem_round_trips_and_has_a_fixed_length() {
        let key = SigningKey::generate().unwrap().public_key();
        let pem = key.to_pem();
        assert_eq!(pem.len(), PublicKey::PEM_LENGTH);
        assert_eq!(PublicKey::from_pem(&pem).unwrap(), key);
        assert!(key.fingerprint().starts_with(&key.key_id().to_string()));
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        // SPKI prefix of RFC 8410, then the neutral element, for which any message "verifies"
        let mut der = hex::decode("302a300506032b6570032100").unwrap();
        der.extend([1]);
        der.extend([0; 31]);
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        let error = PublicKey::parse(&pem).unwrap_err();
        assert_eq!(error, KeyProblem::Weak);
    }

    #[test]
    fn other_texts_are_named_for_what_they_are() {
        assert_eq!(
            PublicKey::parse("ssh-ed25519 AAAA").unwrap_err(),
            KeyProblem::NotPem {
                expected: "PUBLIC KEY"
            }
        );
        let text = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        assert_eq!(PublicKey::parse(text).unwrap_err(), KeyProblem::NotEd25519);
    }
}
