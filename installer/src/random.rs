//! Secrets that are made on site: once, of the system's own randomness, and never shown.

use std::collections::BTreeMap;

use airgap_manifests::{SecretKey, SecretSpec};
use secrecy::SecretString;

use crate::{Error, Result};

/// Letters and digits without those that look alike.
const LETTERS: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// Makes the values of one Secret.
pub(crate) fn make(spec: &SecretSpec) -> Result<BTreeMap<String, SecretString>> {
    let mut made: BTreeMap<String, String> = BTreeMap::new();
    for (name, key) in &spec.keys {
        let value = match key {
            SecretKey::Password { length } => password(*length)?,
            SecretKey::Hex { length } => hex(*length)?,
            SecretKey::Text { .. } => continue,
            SecretKey::Tls | SecretKey::Ssh | SecretKey::Site { .. } => {
                return Err(unsupported(spec));
            }
        };
        made.insert(name.clone(), value);
    }
    let complete = spec.complete(&made);
    Ok(complete
        .into_iter()
        .map(|(name, value)| (name, SecretString::from(value)))
        .collect())
}

/// Says before anything changes that a Secret cannot be made by this version.
pub(crate) fn check(spec: &SecretSpec) -> Result<()> {
    let known = spec.keys.values().all(|key| {
        !matches!(
            key,
            SecretKey::Tls | SecretKey::Ssh | SecretKey::Site { .. }
        )
    });
    if known {
        Ok(())
    } else {
        Err(unsupported(spec))
    }
}

fn unsupported(spec: &SecretSpec) -> Error {
    Error::Bundle {
        what: format!(
            "secret {} asks for what this version of airgap cannot make",
            spec.name
        ),
    }
}

fn random(count: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes).map_err(|error| Error::System {
        what: "get random numbers",
        source: std::io::Error::other(error),
    })?;
    Ok(bytes)
}

/// Draws letters without bias: bytes beyond the last whole multiple are drawn again.
fn password(length: usize) -> Result<String> {
    let most = 256 - 256 % LETTERS.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let drawn = random(length)?;
        let letters = drawn
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|byte| *byte < most)
            .map(|byte| char::from(LETTERS[byte % LETTERS.len()]));
        text.extend(letters.take(length - text.len()));
    }
    Ok(text)
}

fn hex(length: usize) -> Result<String> {
    let mut text = hex::encode(random(length.div_ceil(2))?);
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
fn exposed(values: &BTreeMap<String, SecretString>) -> BTreeMap<&str, &str> {
    use secrecy::ExposeSecret;

    values
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose_secret()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> SecretSpec {
        let text = r#"{"key":"${key.access}"}"#.to_owned();
        SecretSpec {
            name: "s3".into(),
            keys: BTreeMap::from([
                ("access".into(), SecretKey::Hex { length: 21 }),
                ("secret".into(), SecretKey::Password { length: 40 }),
                ("config".into(), SecretKey::Text { text }),
            ]),
            labels: BTreeMap::new(),
            shared_with: Vec::new(),
        }
    }

    #[test]
    fn values_have_the_length_and_the_letters_asked_for() {
        let made = make(&spec()).expect("made");
        let values = exposed(&made);
        assert_eq!((values["access"].len(), values["secret"].len()), (21, 40));
        assert!(
            values["access"]
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit())
        );
        assert!(values["secret"].bytes().all(|byte| LETTERS.contains(&byte)));
        assert_eq!(
            values["config"],
            format!(r#"{{"key":"{}"}}"#, values["access"])
        );
    }

    #[test]
    fn no_two_are_the_same() {
        assert_ne!(
            exposed(&make(&spec()).expect("made")),
            exposed(&make(&spec()).expect("made"))
        );
    }

    #[test]
    fn what_cannot_be_made_is_said_before() {
        let mut spec = spec();
        spec.keys.insert("tls.key".into(), SecretKey::Tls);
        assert!(check(&spec).is_err());
    }
}
