//! Logins, and where docker keeps them.
//!
//! Invariant: a login that cannot be used is an error that says so when it is needed, never silence.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use camino::{Utf8Path, Utf8PathBuf};
use secrecy::SecretString;
use serde::Deserialize;

use crate::error::{Error, Result};

/// A login to one registry.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A name and password, sent as HTTP Basic or to the registry's token service.
    Basic {
        /// The account.
        username: String,
        /// Its password or access token.
        password: SecretString,
    },
    /// A long-lived token that is exchanged for short ones (docker's `identitytoken`).
    IdentityToken(SecretString),
}

impl Credentials {
    /// Takes apart docker's and RKE2's `auth`: base64 of `name:password`.
    pub(crate) fn from_encoded(encoded: &str) -> Option<Self> {
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (username, password) = decoded.split_once(':')?;
        // docker pads with NUL what it writes with some helpers
        let password = password.trim_end_matches('\0');
        Some(Self::Basic {
            username: username.to_owned(),
            password: password.into(),
        })
    }

    /// Returns the account's name.
    pub(crate) fn username(&self) -> Option<&str> {
        match self {
            Self::Basic { username, .. } => Some(username),
            Self::IdentityToken(_) => None,
        }
    }
}

/// The logins of a docker `config.json`.
#[derive(Debug, Clone, Default)]
pub struct DockerConfig {
    logins: BTreeMap<String, Credentials>,
    /// Hosts whose login a helper keeps, with the helper.
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
}

impl DockerConfig {
    /// Reads `auths`, and notes what helpers keep; `path` is only named in errors.
    pub fn from_json(text: &str, path: &Utf8Path) -> Result<Self> {
        let fail = |line, message| Error::Config {
            path: Utf8PathBuf::from(path),
            line,
            message,
        };
        let file: File = serde_json::from_str(text).map_err(|error| {
            let line = u64::try_from(error.line()).ok().filter(|line| *line > 0);
            // the parser's own words quote what it found, which may be the secret
            let message = format!(
                "not of the form that docker writes, at column {}; correct it, or log in again with `docker login`",
                error.column()
            );
            fail(line, message)
        })?;
        let mut config = Self::default();
        for (host, helper) in file.cred_helpers {
            config.helpers.insert(host_of(&host), helper);
        }
        for (name, entry) in file.auths {
            let host = host_of(&name);
            let login = if !entry.identitytoken.is_empty() {
                Some(Credentials::IdentityToken(entry.identitytoken.into()))
            } else if !entry.auth.is_empty() {
                let login = Credentials::from_encoded(&entry.auth);
                Some(login.ok_or_else(|| {
                    fail(
                        None,
                        format!("`auth` of {name} is not the base64 of name:password"),
                    )
                })?)
            } else if !entry.username.is_empty() {
                let password = entry.password.into();
                Some(Credentials::Basic {
                    username: entry.username,
                    password,
                })
            } else {
                None
            };
            match (login, &file.creds_store) {
                (Some(login), _) => drop(config.logins.insert(host, login)),
                // docker leaves an empty entry for a login that it gave to the store
                (None, Some(store)) => {
                    config.helpers.entry(host).or_insert_with(|| store.clone());
                }
                (None, None) => {}
            }
        }
        Ok(config)
    }

    /// Returns the login for a registry, or an error that names the helper which keeps it.
    pub fn login(&self, host: &str) -> Result<Option<&Credentials>> {
        let host = host_of(host);
        if let Some(login) = self.logins.get(&host) {
            return Ok(Some(login));
        }
        match self.helpers.get(&host) {
            Some(helper) => Err(Error::CredentialHelper {
                host,
                helper: helper.clone(),
            }),
            None => Ok(None),
        }
    }
}

/// Returns the host of docker's keys, which may be URLs; its own registry has several names.
fn host_of(key: &str) -> String {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" | "docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn parse(text: &str) -> Result<DockerConfig> {
        DockerConfig::from_json(text, "config.json".into())
    }

    #[test]
    fn reads_every_form_of_login() {
        let config = parse(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "YTpwOnc="},
                "quay.io": {"username": "b", "password": "q"},
                "ghcr.io": {"identitytoken": "long"}},
              "HttpHeaders": {"User-Agent": "x"}}"#,
        )
        .unwrap();
        for name in ["docker.io", "registry-1.docker.io"] {
            let Some(Credentials::Basic { username, password }) = config.login(name).unwrap()
            else {
                panic!("no login for {name}")
            };
            assert_eq!((username.as_str(), password.expose_secret()), ("a", "p:w"));
        }
        assert_eq!(
            config
                .login("quay.io")
                .unwrap()
                .and_then(Credentials::username),
            Some("b")
        );
        assert!(matches!(
            config.login("ghcr.io"),
            Ok(Some(Credentials::IdentityToken(_)))
        ));
        assert!(config.login("registry.k8s.io").unwrap().is_none());
    }

    #[test]
    fn a_credential_helper_is_named_when_its_login_is_needed() {
        let config = parse(
            r#"{"auths": {"quay.io": {}}, "credsStore": "pass", "credHelpers": {"gcr.io": "gcloud"}}"#,
        )
        .unwrap();
        let error = config.login("gcr.io").unwrap_err().to_string();
        assert!(
            error.contains("gcr.io") && error.contains("`gcloud`"),
            "{error}"
        );
        assert!(
            config
                .login("quay.io")
                .unwrap_err()
                .to_string()
                .contains("`pass`")
        );
        assert!(config.login("ghcr.io").unwrap().is_none());
    }

    #[test]
    fn damage_is_named_with_its_place_and_without_the_secret() {
        let error = parse("{\n \"auths\": 7}").unwrap_err().to_string();
        assert!(error.starts_with("config.json:2: "), "{error}");
        let error = parse(r#"{"auths": {"quay.io": "dXNlcjpwYXNz"}}"#).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("column 36") && error.contains("docker login"),
            "{error}"
        );
        assert!(!error.contains("dXNlcjpwYXNz"), "{error}");
        let error = parse(r#"{"auths": {"quay.io": {"auth": "c2VjcmV0"}}}"#).unwrap_err();
        assert!(error.to_string().contains("quay.io") && !error.to_string().contains("secret"));
        let config = parse(r#"{"auths": {"quay.io": {"username": "b", "password": "canary"}}}"#);
        assert!(!format!("{config:?}").contains("canary"));
    }
}
