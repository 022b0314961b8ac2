//! Fetching host keys for an operator to compare: shown, never trusted.

use super::{ConnectionError, known_hosts, login::Login, ssh::greet};
use crate::{Access, Host, HostKey, Secrets};

/// The key types asked for, in the order they are shown.
const KINDS: &[&str] = &["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"];

/// A key that a host showed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScannedKey {
    /// The host's name in the inventory.
    pub host: String,
    /// The key's type.
    pub kind: String,
    /// The fingerprint to compare with what the host's console shows: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`.
    pub fingerprint: String,
    /// The line for a known_hosts file.
    pub line: String,
    /// Whether the inventory, or its known_hosts file, trusts this key already.
    pub trusted: bool,
}

/// Asks a host for its keys over SSH's handshake, without logging in; a bastion on the way must be trusted and logged in to.
///
/// A local host has none.
pub fn scan_keys(host: &Host, secrets: &Secrets<'_>) -> Result<Vec<ScannedKey>, ConnectionError> {
    let Access::Ssh(target) = &host.access else {
        return Ok(Vec::new());
    };
    let login = Login::prepare(&host.name, target, secrets)?;
    let mut found = Vec::new();
    for kind in KINDS {
        match greet(&login, Some(kind)) {
            Ok(line) => found.extend(
                line.session
                    .host_key()
                    .and_then(|(blob, _)| HostKey::from_blob(blob.to_vec())),
            ),
            // the host has no key of this type
            Err(ConnectionError::Protocol { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let scanned = |key: HostKey| ScannedKey {
        host: host.name.clone(),
        fingerprint: key.fingerprint(),
        line: known_hosts::line(&target.address, target.port, &key),
        trusted: login.judge(&key).is_ok(),
        kind: key.kind,
    };
    Ok(found.into_iter().map(scanned).collect())
}
