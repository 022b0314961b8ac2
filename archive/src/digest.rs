//! Sha256 digests in OCI's notation.

use std::str::FromStr as _;

use oci_spec::image::{Digest, DigestAlgorithm, Sha256Digest};
use sha2::Digest as _;

/// Returns the sha256 digest of `bytes`.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finish()
}

/// Hashes a stream.
#[derive(Debug, Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Starts with nothing hashed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Hashes further bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all bytes.
    #[must_use]
    pub fn finish(self) -> Digest {
        from_sha256(&self.0.finalize().into())
    }
}

/// Makes a digest of 32 bytes of sha256.
pub(crate) fn from_sha256(sha256: &[u8; 32]) -> Digest {
    Sha256Digest::from_str(&hex::encode(sha256))
        .expect("32 bytes in hexadecimal are a sha256 digest")
        .into()
}

/// Returns the 64 hexadecimal digits of a sha256 digest, or `None` for any other algorithm (FORMAT §3).
pub(crate) fn sha256_hex(digest: &Digest) -> Option<&str> {
    matches!(digest.algorithm(), DigestAlgorithm::Sha256).then(|| digest.digest())
}
