//! Secrets of a component: what is made on site, what the operator brings, and where an administrator's password lies.
//!
//! Invariant: nothing here is a secret; a declaration says what to make, and the value exists on the site alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// The private key of a self-signed certificate for the component's service; the certificate is `tls.crt` beside it.
    Tls,
    /// A private SSH key in OpenSSH's form.
    Ssh,
    /// What the operator brings: a certificate, a key, a licence file.
    Site {
        /// Which entry of hosts.yaml names it.
        from: String,
    },
}

impl SecretSpec {
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
