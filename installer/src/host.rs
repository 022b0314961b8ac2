//! One host of the inventory: its role in the cluster and the way to reach it.
//!
//! Every value here has been checked by the inventory's parser and has its defaults filled in.

use std::{collections::BTreeMap, fmt, net::IpAddr, time::Duration};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use camino::Utf8PathBuf;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::SecretRef;

/// What a host is in the cluster, in RKE2's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs the control plane and etcd.
    Server,
    /// Runs workloads only.
    Agent,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Agent => "agent",
        })
    }
}

/// One machine that becomes a node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// The node's name: an RFC 1123 label or subdomain, unique.
    pub name: String,
    /// Server or agent.
    pub role: Role,
    /// How to reach it.
    pub access: Access,
    /// How to become root; `None` where the login is root already or sudo asks for nothing.
    pub sudo: Option<Sudo>,
    /// The address of the node in the cluster, where it differs from the one SSH uses.
    pub node_ip: Option<IpAddr>,
    /// Node labels.
    pub labels: BTreeMap<String, String>,
    /// Node taints.
    pub taints: Vec<Taint>,
    /// Raw RKE2 keys for this host alone.
    pub config: Map<String, Value>,
    /// The line of the inventory where the host begins.
    pub line: u64,
}

impl Host {
    /// Returns the address that other nodes use: `nodeIp`, else the one of SSH; `None` for a local host without `nodeIp`.
    #[must_use]
    pub fn node_address(&self) -> Option<String> {
        match (&self.node_ip, &self.access) {
            (Some(ip), _) => Some(ip.to_string()),
            (None, Access::Ssh(ssh)) => Some(ssh.address.clone()),
            (None, Access::Local) => None,
        }
    }
}

/// The way to a host.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Access {
    /// The machine the installer runs on.
    Local,
    /// Over SSH.
    Ssh(Box<SshTarget>),
}

/// An SSH server and how to log in to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SshTarget {
    /// Name or address.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// Private key file; without one the agent's keys are tried.
    pub key_path: Option<Utf8PathBuf>,
    /// The passphrase of the key file.
    pub key_passphrase: Option<SecretRef>,
    /// The login password, where the site does not use keys.
    pub password: Option<SecretRef>,
    /// The known_hosts file; `~/.ssh/known_hosts` without one.
    pub known_hosts: Option<Utf8PathBuf>,
    /// The host's key, pinned; beats `known_hosts`.
    pub host_key: Option<HostKey>,
    /// How long connecting, and logging in, may take each.
    pub connect_timeout: Duration,
    /// The host to pass through.
    pub bastion: Option<Box<SshTarget>>,
}

/// A public host key as `known_hosts` and `*.pub` files write it: type and base64.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HostKey {
    /// The key's type, such as `ssh-ed25519`.
    pub kind: String,
    /// The key in SSH's wire format.
    #[serde(skip)]
    pub blob: Vec<u8>,
}

impl HostKey {
    /// Parses `type base64`, with whatever comment follows.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_ascii_whitespace();
        Self::from_parts(fields.next()?, fields.next()?)
    }

    /// Puts a key together from its type and its base64; `None` if they do not agree.
    #[must_use]
    pub fn from_parts(kind: &str, encoded: &str) -> Option<Self> {
        let key = Self::from_blob(STANDARD.decode(encoded).ok()?)?;
        (key.kind == kind).then_some(key)
    }

    /// Reads the type out of a key in wire format; `None` if there is none.
    pub fn from_blob(blob: Vec<u8>) -> Option<Self> {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let kind = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        // a type alone is no key
        if kind.len() == rest.len() || !kind.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let kind = String::from_utf8(kind.to_vec()).ok()?;
        Some(Self { kind, blob })
    }

    /// Returns the fingerprint as `ssh-keygen -l` shows it: `SHA256:` and unpadded base64.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!(
            "SHA256:{}",
            STANDARD_NO_PAD.encode(Sha256::digest(&self.blob))
        )
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, STANDARD.encode(&self.blob))
    }
}

/// Becoming root with sudo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sudo {
    /// The password sudo asks for; `None` where it asks for none.
    pub password: Option<SecretRef>,
}

/// A node taint, written `key=value:Effect` or `key:Effect`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Taint(pub(crate) String);

impl Taint {
    /// Returns the taint as RKE2's `node-taint` takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
