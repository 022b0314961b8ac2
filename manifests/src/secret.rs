//! Secrets of a component: what is made on site, what the operator brings, and where an administrator's password lies.
//!
//! Invariant: nothing here is a secret; a declaration says what to make, and the value exists on the site alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::SiteKind;

/// Where an administrator's password is kept. It is shown as a kubectl line, never as a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdminSecret {
    /// The user's name.
    pub username: String,
    /// The secret's name, in the component's namespace.
    pub secret: String,
    /// The key within it.
    pub key: String,
}

/// A secret made on site, once, create-only; the same on a later run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretSpec {
    /// The secret's name, in the component's namespace.
    pub name: String,
    /// Its labels; Argo CD, for one, reads only secrets that carry its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its keys.
    pub keys: BTreeMap<String, SecretKey>,
    /// The installer leaves a copy in the operator's recovery folder: without it, data is lost with the cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovery: bool,
    /// The kinds of site that have it; every kind where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sites: Option<Vec<SiteKind>>,
    /// Components whose namespaces get a copy under the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_with: Vec<String>,
}

/// One key of a secret made on site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
pub enum SecretKey {
    /// Random letters and digits.
    Password {
        /// How many characters.
        length: usize,
    },
    /// Random bytes in lower-case hex.
    Hex {
        /// How many characters, an even number.
        length: usize,
    },
    /// A text; `${key.NAME}` stands for another key of the same secret.
    Text {
        /// The text.
        text: String,
    },
    /// The line of an htpasswd file for one user: a bcrypt hash of another key of the same secret.
    Htpasswd {
        /// The user's name.
        user: String,
        /// The key that holds the password.
        of: String,
    },
    /// The private key of a self-signed certificate in the secret's name; the certificate is `tls.crt` beside it.
    Tls,
    /// A private SSH key in OpenSSH's form.
    Ssh,
    /// What the operator brings: a certificate, a key.
    Site {
        /// Which entry of hosts.yaml names it: a [`SiteSecret`]; with `?` behind it, the key is left out where that is
        /// absent.
        from: String,
    },
}

impl SecretKey {
    /// Returns what the operator is to bring, and whether it may be absent; `None` for every other kind of key.
    #[must_use]
    pub fn site(&self) -> Option<(SiteSecret, bool)> {
        let Self::Site { from } = self else {
            return None;
        };
        let name = from.strip_suffix('?').unwrap_or(from);
        Some((name.parse().ok()?, from.ends_with('?')))
    }
}

/// What a site may bring for a secret, by the entry of hosts.yaml that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SiteSecret {
    /// The certificate of the CA that issues the platform's certificates. The installer makes a CA where none is given.
    CaCertificate,
    /// The private key of that CA.
    CaKey,
    /// The key that updates of the site's DNS are signed with.
    TsigSecret,
    /// The registry's pull account, as a pod's pull secret has it.
    RegistryPull,
    /// The licence file of Teleport Enterprise.
    TeleportLicence,
}

impl SiteSecret {
    /// Every one, in order.
    pub const ALL: [Self; 5] = [
        Self::CaCertificate,
        Self::CaKey,
        Self::TsigSecret,
        Self::RegistryPull,
        Self::TeleportLicence,
    ];

    /// Returns the entry of hosts.yaml: `dns.tsigSecret`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CaCertificate => "tls.issuer.ca.certFile",
            Self::CaKey => "tls.issuer.ca.key",
            Self::TsigSecret => "dns.tsigSecret",
            Self::RegistryPull => "registry.pull",
            Self::TeleportLicence => "licences.teleport",
        }
    }
}

impl std::str::FromStr for SiteSecret {
    type Err = String;

    /// Parses an entry of hosts.yaml; the error is the remedy.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|secret| secret.name() == text)
            .ok_or_else(|| crate::suggest(text, Self::ALL.into_iter().map(Self::name)))
    }
}

impl SecretSpec {
    /// Tells whether a kind of site has it.
    #[must_use]
    pub fn on(&self, site: SiteKind) -> bool {
        self.sites
            .as_ref()
            .is_none_or(|sites| sites.contains(&site))
    }

    /// Adds the keys that are texts to those that were generated.
    #[must_use]
    pub fn complete(&self, generated: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut keys = generated.clone();
        for (name, key) in &self.keys {
            let SecretKey::Text { text } = key else {
                continue;
            };
            let mut text = text.clone();
            for (other, value) in generated {
                text = text.replace(&format!("${{key.{other}}}"), value);
            }
            keys.insert(name.clone(), text);
        }
        keys
    }
}
