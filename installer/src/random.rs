//! Secrets that are made on site: once, of the system's own randomness, and never shown.

use std::collections::BTreeMap;

use airgap_manifests::{SecretKey, SecretSpec};
use secrecy::{ExposeSecret, SecretString};

use crate::{Error, Result, site_secrets::Brought};

/// Letters and digits without those that look alike.
const LETTERS: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// Makes the values of one Secret; `brought` is what the site itself gives.
pub(crate) fn make(spec: &SecretSpec, brought: &Brought) -> Result<BTreeMap<String, SecretString>> {
    let mut made: BTreeMap<String, String> = BTreeMap::new();
    for (name, key) in &spec.keys {
        let value = match key {
            SecretKey::Password { length } => password(*length)?,
            SecretKey::Hex { length } => hex(*length)?,
            SecretKey::Tls => {
                let (certificate, key) = self_signed(&spec.name)?;
                made.insert("tls.crt".to_owned(), certificate);
                key
            }
            SecretKey::Site { .. } => match key.site() {
                Some((what, optional)) => match brought.get(&what) {
                    Some(value) => value.expose_secret().to_owned(),
                    None if optional => continue,
                    None => return Err(unsupported(spec)),
                },
                None => return Err(unsupported(spec)),
            },
            SecretKey::Text { .. } | SecretKey::Htpasswd { .. } => continue,
            SecretKey::Ssh => return Err(unsupported(spec)),
        };
        made.insert(name.clone(), value);
    }
    for (name, key) in &spec.keys {
        let SecretKey::Htpasswd { user, of } = key else {
            continue;
        };
        let password = made.get(of).ok_or_else(|| unsupported(spec))?;
        let line = htpasswd(user, password)?;
        made.insert(name.clone(), line);
    }
    let complete = spec.complete(&made);
    Ok(complete
        .into_iter()
        .map(|(name, value)| (name, SecretString::from(value)))
        .collect())
}

/// Says before anything changes that a Secret cannot be made by this version.
pub(crate) fn check(spec: &SecretSpec) -> Result<()> {
    let unknown = spec.keys.values().any(|key| match key {
        SecretKey::Ssh => true,
        SecretKey::Site { .. } => key.site().is_none(),
        _ => false,
    });
    if unknown {
        Err(unsupported(spec))
    } else {
        Ok(())
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

/// Makes a certificate that signs itself, and its key, both in PEM.
fn self_signed(name: &str) -> Result<(String, String)> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]);
    let made = made.map_err(|error| Error::System {
        what: "make a certificate",
        source: std::io::Error::other(error),
    })?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}

fn htpasswd(user: &str, password: &str) -> Result<String> {
    let hash = bcrypt::hash(password, bcrypt::DEFAULT_COST).map_err(|error| Error::System {
        what: "hash a password",
        source: std::io::Error::other(error),
    })?;
    Ok(format!("{user}:{hash}"))
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
    values
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose_secret()))
        .collect()
}

#[cfg(test)]
mod tests {
    use airgap_manifests::SiteSecret;

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
            recovery: false,
            sites: None,
            shared_with: Vec::new(),
        }
    }

    #[test]
    fn values_have_the_length_and_the_letters_asked_for() {
        let made = make(&spec(), &Brought::new()).expect("made");
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
            exposed(&make(&spec(), &Brought::new()).expect("made")),
            exposed(&make(&spec(), &Brought::new()).expect("made"))
        );
    }

    #[test]
    fn what_cannot_be_made_is_said_before() {
        let mut spec = spec();
        assert!(check(&spec).is_ok());
        spec.keys.insert("id".into(), SecretKey::Ssh);
        assert!(check(&spec).is_err());
        let from = "dns.tsigSecrets".to_owned();
        spec.keys = BTreeMap::from([("key".into(), SecretKey::Site { from })]);
        assert!(check(&spec).is_err());
    }

    #[test]
    fn a_registry_finds_its_password_hashed_and_its_key_with_a_certificate() {
        let keys = [
            ("pass", SecretKey::Password { length: 20 }),
            (
                "line",
                SecretKey::Htpasswd {
                    user: "core".into(),
                    of: "pass".into(),
                },
            ),
            ("tls.key", SecretKey::Tls),
        ];
        let mut spec = spec();
        spec.keys = keys.map(|(name, key)| (name.to_owned(), key)).into();
        let made = make(&spec, &Brought::new()).expect("made");
        let values = exposed(&made);
        let hash = values["line"].strip_prefix("core:").expect("the user");
        assert!(bcrypt::verify(values["pass"], hash).expect("a hash"));
        assert!(values["tls.key"].starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(values["tls.crt"].starts_with("-----BEGIN CERTIFICATE-----"));
    }

    #[test]
    fn what_the_site_brings_is_taken_as_it_is() {
        let mut spec = spec();
        let site = |from: &str| SecretKey::Site {
            from: from.to_owned(),
        };
        spec.keys = BTreeMap::from([
            ("secret".to_owned(), site("dns.tsigSecret?")),
            ("ca".to_owned(), site("tls.issuer.ca.certFile")),
        ]);
        let mut brought = Brought::from([(SiteSecret::CaCertificate, "PEM".into())]);
        let made = make(&spec, &brought).expect("made");
        assert_eq!(exposed(&made), BTreeMap::from([("ca", "PEM")]));
        brought.insert(SiteSecret::TsigSecret, "canary".into());
        let made = make(&spec, &brought).expect("made");
        assert_eq!(exposed(&made)["secret"], "canary");
        assert!(make(&spec, &Brought::new()).is_err());
    }
}
