//! Logins, and where docker keeps them.

use std::collections::BTreeMap;

use camino::Utf8Path;
use secrecy::SecretString;

use crate::error::Result;

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

/// The logins of a docker `config.json`.
#[derive(Debug, Clone, Default)]
pub struct DockerConfig {
    logins: BTreeMap<String, Credentials>,
}

impl DockerConfig {
    /// Reads `auths`; `path` is only named in errors.
    pub fn from_json(text: &str, path: &Utf8Path) -> Result<Self> {
        let _ = (text, path);
        todo!()
    }

    /// Returns the login for a registry, or an error that names the helper which keeps it.
    pub fn login(&self, host: &str) -> Result<Option<&Credentials>> {
        Ok(self.logins.get(host))
    }
}
