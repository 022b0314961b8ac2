//! Join tokens: the short form, and `K10<sha256 of the CA>::<user>:<password>`, which pins the CA.

use super::fail::{Fail, Result};
use super::pull::sha256;

/// A parsed token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) ca_hash: Option<String>,
    pub(crate) password: String,
}

impl Token {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let Some(rest) = text.strip_prefix("K10") else {
            return Ok(Self {
                ca_hash: None,
                password: text.to_owned(),
            });
        };
        let bad = || Fail::new("invalid token format");
        let (hash, user) = rest.split_once("::").ok_or_else(bad)?;
        if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Fail::new("invalid token CA hash length"));
        }
        let (_, password) = user.split_once(':').ok_or_else(bad)?;
        Ok(Self {
            ca_hash: Some(hash.to_owned()),
            password: password.to_owned(),
        })
    }

    /// The full form over a CA's PEM bytes.
    pub(crate) fn full(ca_cert: &str, user: &str, password: &str) -> String {
        format!("K10{}::{user}:{password}", &sha256(ca_cert.as_bytes())[7..])
    }

    /// Checks that `ca_cert` is the CA that the token pins.
    pub(crate) fn check_ca(&self, ca_cert: &str) -> Result<()> {
        let found = sha256(ca_cert.as_bytes())[7..].to_owned();
        match &self.ca_hash {
            Some(pinned) if *pinned != found => Err(Fail::new(format!(
                "token CA hash does not match the Cluster CA certificate hash: {pinned} != {found}"
            ))),
            _ => Ok(()),
        }
    }

    /// 32 hex digits of randomness.
    pub(crate) fn random() -> String {
        use std::io::Read as _;
        let mut bytes = [0_u8; 16];
        match fs_err::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)) {
            Ok(()) => hex::encode(bytes),
            // without randomness the clock has to do: a test cluster guards nothing
            Err(_) => sha256(jiff::Timestamp::now().to_string().as_bytes())[7..39].to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_form_pins_the_ca() {
        let token = Token::parse(&Token::full("ca", "server", "pw")).unwrap();
        assert_eq!(token.password, "pw");
        assert!(token.check_ca("ca").is_ok());
        assert!(
            token
                .check_ca("other")
                .unwrap_err()
                .0
                .contains("does not match")
        );
    }

    #[test]
    fn a_mangled_full_form_is_refused() {
        assert!(Token::parse("K10abc::server:pw").is_err());
        assert!(Token::parse(&format!("K10{}server", "a".repeat(64))).is_err());
    }
}
