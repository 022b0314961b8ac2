//! Helpers over `oci_spec`'s digests: computing them, and the spelling of a sha256 as bare hex.
//!
//! Invariant: every digest made here is sha256. Digests of other algorithms are parsed by `oci_spec` and refused by the cache.

use std::io::{self, Read};

use oci_spec::image::{Digest, DigestAlgorithm};
use sha2::{Digest as _, Sha256};

/// Returns the sha256 digest of `bytes`.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    finish(Sha256::new_with_prefix(bytes))
}

/// Turns a running hash into a digest.
pub(crate) fn finish(hasher: Sha256) -> Digest {
    from_hex(&hex::encode(hasher.finalize())).expect("a sha256 in hex is a digest")
}

/// Reads a bare 64-digit hex sha256 as a digest; upper case is accepted, anything else is not.
#[must_use]
pub fn from_hex(hex: &str) -> Option<Digest> {
    format!("sha256:{}", hex.to_ascii_lowercase())
        .parse::<Digest>()
        .ok()
}

/// Returns the hex digits of a sha256 digest, `None` for another algorithm.
pub(crate) fn sha256_hex(digest: &Digest) -> Option<&str> {
    (*digest.algorithm() == DigestAlgorithm::Sha256).then(|| digest.digest())
}

/// Hashes a reader to its end; returns the digest and the number of bytes.
pub(crate) fn hash_reader(mut reader: impl Read) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let bytes = hash_into(&mut hasher, &mut reader)?;
    Ok((finish(hasher), bytes))
}

/// Feeds a reader to its end into `hasher`; returns the number of bytes.
pub(crate) fn hash_into(hasher: &mut Sha256, reader: &mut impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                bytes += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_input_has_the_well_known_digest() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of(b"").to_string(), empty);
        assert_eq!(
            hash_reader(io::empty()).unwrap(),
            (empty.parse().unwrap(), 0)
        );
    }

    #[test]
    fn hex_is_strict() {
        assert!(from_hex("abc").is_none());
        assert!(from_hex(&"g".repeat(64)).is_none());
        assert_eq!(from_hex(&"AB".repeat(32)), from_hex(&"ab".repeat(32)));
    }
}
