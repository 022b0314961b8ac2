//! A detached signature and its one textual form.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::{Error, Result};

/// A pure Ed25519 signature: 64 bytes, written as base64 and a line feed.
///
/// That line is what `cosign verify-blob` takes, and what
/// `base64 -d | openssl pkeyutl -verify -rawin` checks after decoding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Bytes of [`Signature::to_line`]: 88 base64 characters and a line feed.
    pub const LINE_LENGTH: usize = 89;

    /// Wraps the 64 bytes of a signature.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Returns the 64 bytes of the signature.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        self.0
    }

    /// Returns standard padded base64 without a line feed, as cosign's annotation holds it.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Returns the one textual form: base64 and a line feed.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = self.to_base64();
        line.push('\n');
        line
    }

    /// Parses base64 of 64 bytes, with or without one final line feed; nothing else is accepted.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let bytes = STANDARD
            .decode(text)
            .map_err(|_| Error::MalformedSignature)?;
        let bytes = bytes.try_into().map_err(|_| Error::MalformedSignature)?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", self.to_base64())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_signature_line_is_89_bytes() {
        let line = Signature::from_bytes([7; 64]).to_line();
        assert_eq!(line.len(), Signature::LINE_LENGTH);
        assert!(line.ends_with("==\n"));
    }

    #[test]
    fn only_base64_of_64_bytes_is_a_signature() {
        let good = Signature::from_bytes([7; 64]).to_line();
        for bad in [
            String::new(),
            "\n".into(),
            good[1..].into(),
            format!("{good}\n"),
            format!(" {good}"),
            good.replace('=', ""),
        ] {
            assert!(
                matches!(
                    Signature::parse(bad.as_bytes()),
                    Err(Error::MalformedSignature)
                ),
                "{bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes in proptest::array::uniform32(any::<u8>())) {
            let mut whole = [0; 64];
            whole[..32].copy_from_slice(&bytes);
            let signature = Signature::from_bytes(whole);
            prop_assert_eq!(Signature::parse(signature.to_line().as_bytes()).unwrap(), signature);
            prop_assert_eq!(Signature::parse(signature.to_base64().as_bytes()).unwrap(), signature);
        }

        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(signature) = Signature::parse(&bytes) {
                prop_assert!(signature.to_line().as_bytes().starts_with(&bytes));
            }
        }
    }
}
