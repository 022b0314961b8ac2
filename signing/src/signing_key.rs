//! Private keys: PKCS#8 version 1 in PEM, optionally under a passphrase.
//!
//! Version 1 (without the public key inside) because openssl 3.0 refuses version 2 for Ed25519. Key material is
//! wiped from memory when dropped, and no error or debug text shows any of it.

use std::fmt;

use camino::Utf8Path;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use pkcs8::der::pem::{LineEnding, PemLabel as _};
use pkcs8::der::{SecretDocument, zeroize::Zeroizing};
use pkcs8::pkcs5::pbes2;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{Error, KeyProblem, PublicKey, Result, Signature, files};

/// PBKDF2 rounds for a passphrase; scrypt at a useful strength exceeds the memory openssl allows itself.
const PBKDF2_ROUNDS: u32 = 600_000;

/// An Ed25519 private key.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Makes a new key from the system's randomness.
    pub fn generate() -> Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        random(&mut *seed)?;
        Ok(Self(ed25519_dalek::SigningKey::from_bytes(&seed)))
    }

    /// Makes the key of a 32-byte seed; the same seed gives the same key.
    ///
    /// Meant for keys kept elsewhere and for reproducible tests: whoever knows the seed has the key.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Parses a PKCS#8 PEM text, encrypted or not.
    ///
    /// A passphrase given for a key that is not encrypted is ignored.
    pub fn from_pem(pem: &str, passphrase: Option<&SecretString>) -> Result<Self> {
        Self::parse(pem, passphrase).map_err(|source| Error::Key {
            what: "private key".to_owned(),
            source,
        })
    }

    /// Reads a PKCS#8 PEM file, encrypted or not.
    pub fn read(path: &Utf8Path, passphrase: Option<&SecretString>) -> Result<Self> {
        let text = Zeroizing::new(files::read("private key", path)?);
        Self::parse(&text, passphrase).map_err(|source| Error::Key {
            what: format!("private key {path}"),
            source,
        })
    }

    /// Says whether a PEM text is an encrypted key, so that a caller can ask for the passphrase only then.
    #[must_use]
    pub fn is_encrypted(pem: &str) -> bool {
        pem.trim_ascii_start()
            .starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    }

    fn parse(pem: &str, passphrase: Option<&SecretString>) -> Result<Self, KeyProblem> {
        let pem = pem.trim_ascii();
        if Self::is_encrypted(pem) {
            let passphrase = passphrase.ok_or(KeyProblem::PassphraseNeeded)?;
            let (_, document) =
                SecretDocument::from_pem(pem).map_err(|_| KeyProblem::NotEd25519)?;
            let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
                .map_err(|_| KeyProblem::WrongPassphrase)?;
            let plain = encrypted
                .decrypt(passphrase.expose_secret())
                .map_err(|_| KeyProblem::WrongPassphrase)?;
            return ed25519_dalek::SigningKey::from_pkcs8_der(plain.as_bytes())
                .map(Self)
                .map_err(|_| KeyProblem::NotEd25519);
        }
        if !pem.starts_with("-----BEGIN PRIVATE KEY-----") {
            return Err(KeyProblem::NotPem {
                expected: "PRIVATE KEY----- or -----BEGIN ENCRYPTED PRIVATE KEY",
            });
        }
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem)
            .map(Self)
            .map_err(|_| KeyProblem::NotEd25519)
    }

    /// Returns the key as PKCS#8 v1 PEM, encrypted when a passphrase is given.
    pub fn to_pem(&self, passphrase: Option<&SecretString>) -> Result<Zeroizing<String>> {
        let keypair = KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        let document = keypair
            .to_pkcs8_der()
            .expect("an Ed25519 key always has a PKCS#8 form");
        let (label, document) = match passphrase {
            None => (PrivateKeyInfoRef::PEM_LABEL, document),
            Some(passphrase) => {
                let mut salt = [0; 16];
                let mut iv = [0; 16];
                random(&mut salt)?;
                random(&mut iv)?;
                let parameters =
                    pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(PBKDF2_ROUNDS, &salt, iv)
                        .expect("the parameters are within PBES2's limits");
                let info = PrivateKeyInfoRef::try_from(document.as_bytes())
                    .expect("a document just encoded decodes");
                let encrypted = info
                    .encrypt_with_params(parameters, passphrase.expose_secret())
                    .expect("a key document encrypts under any passphrase");
                (EncryptedPrivateKeyInfoRef::PEM_LABEL, encrypted)
            }
        };
        Ok(document
            .to_pem(label, LineEnding::LF)
            .expect("a key document fits PEM"))
    }

    /// Writes the key as a new file with mode 0600; refuses to overwrite.
    ///
    /// After a crash the file is either absent or whole.
    pub fn write_new(&self, path: &Utf8Path, passphrase: Option<&SecretString>) -> Result<()> {
        files::write_new("private key", path, &self.to_pem(passphrase)?, false)
    }

    /// Signs exactly `message` (pure Ed25519, deterministic).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::from_bytes(self.0.sign(message).to_bytes())
    }

    /// Returns the public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey::new(self.0.verifying_key())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public_key().key_id())
    }
}

fn random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|e| Error::File {
        operation: "read",
        what: "the system's randomness".to_owned(),
        source: std::io::Error::other(e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_round_trips_without_and_with_a_passphrase() {
        let key = SigningKey::generate().unwrap();
        let plain = key.to_pem(None).unwrap();
        assert!(plain.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert_eq!(
            SigningKey::from_pem(&plain, None).unwrap().public_key(),
            key.public_key()
        );

        let passphrase = SecretString::from("correct horse");
        let sealed = key.to_pem(Some(&passphrase)).unwrap();
        assert!(SigningKey::is_encrypted(&sealed));
        let opened = SigningKey::from_pem(&sealed, Some(&passphrase)).unwrap();
        assert_eq!(opened.public_key(), key.public_key());
        assert_eq!(
            SigningKey::parse(&sealed, None).unwrap_err(),
            KeyProblem::PassphraseNeeded
        );
        let wrong = SecretString::from("wrong");
        assert_eq!(
            SigningKey::parse(&sealed, Some(&wrong)).unwrap_err(),
            KeyProblem::WrongPassphrase
        );
    }

    #[test]
    fn the_private_key_is_pkcs8_version_1() {
        let keypair = KeypairBytes {
            secret_key: [1; 32],
            public_key: None,
        };
        let der = keypair.to_pkcs8_der().unwrap();
        // SEQUENCE, length 46, INTEGER 0: version 1; version 2 would say INTEGER 1 and carry the public key
        assert_eq!(&der.as_bytes()[..5], [0x30, 46, 2, 1, 0]);
    }

    #[test]
    fn debug_shows_the_key_id_only() {
        let key = SigningKey::from_seed(&[9; 32]);
        assert_eq!(
            format!("{key:?}"),
            format!("SigningKey({})", key.public_key().key_id())
        );
    }
}
