//! hosts.yaml: which machines become which nodes, and what the site gives.
//!
//! An [`Inventory`] exists only if every rule held: the parser reports all problems of a file at once, each with its line. It holds no
//! secret, only references to them.

mod extra;
mod form;
mod owned;
mod read;
mod rules;
mod schema;
mod shape;

use std::{collections::BTreeMap, net::IpAddr};

pub use airgap_manifests::Problem;
use airgap_manifests::{SiteKind, strict};
use camino::{Utf8Path, Utf8PathBuf};
pub use extra::{ExtraRegistries, RegistryConfig};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{Host, Role, SecretRef};
use form::INVENTORY;
use shape::Checker;

/// A commented hosts.yaml, to begin with.
pub const EXAMPLE: &str = include_str!("inventory/example.yaml");

/// Returns the JSON schema of hosts.yaml, for editors; it comes from the same table as the parser's checks.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = INVENTORY.schema();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("airgap inventory");
    schema
}

/// A site's description, checked.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// The file it came from.
    pub path: Utf8PathBuf,
    /// `metadata.name`: the cluster's name, an RFC 1123 label.
    pub name: String,
    /// The kind of site.
    pub site: SiteKind,
    /// The DNS domain under which the platform's services appear.
    pub domain: Option<String>,
    /// The cluster's own settings.
    pub cluster: Cluster,
    /// Addresses the cluster may use.
    pub network: Network,
    /// Who issues the platform's certificates.
    pub tls: Tls,
    /// The site's DNS, where the platform may write to it.
    pub dns: Option<Dns>,
    /// AWS, on such a site.
    pub aws: Option<Aws>,
    /// The site's registry.
    pub registry: Registry,
    /// Registries of the customer's own.
    pub extra_registries: ExtraRegistries,
    /// The machines, in the file's order.
    pub hosts: Vec<Host>,
    /// Licence files of the customer's own.
    pub licences: Licences,
    /// Values per component, merged last.
    pub values: BTreeMap<String, Value>,
    /// How much happens at once.
    pub options: Options,
}

impl Inventory {
    /// Parses and checks hosts.yaml; `path` names the file in problems, and its folder is where relative paths begin.
    ///
    /// ```
    /// use airgap_installer::Inventory;
    ///
    /// let text = "apiVersion: airgap/v1\nkind: Inventory\nhostss: []\n";
    /// let problems = Inventory::from_yaml(text, "hosts.yaml".into()).unwrap_err();
    /// let typo = problems.iter().map(ToString::to_string).find(|p| p.contains("hostss")).unwrap();
    /// assert!(typo.contains("hosts.yaml:3") && typo.contains("did you mean `hosts`"), "{typo}");
    /// ```
    pub fn from_yaml(text: &str, path: &Utf8Path) -> Result<Self, Vec<Problem>> {
        let root = strict::parse_node(text, path)?;
        let mut checker = Checker {
            path,
            problems: Vec::new(),
        };
        checker.check(&root, &INVENTORY, "", false);
        read::check_defaults(&mut checker, &root);
        let inventory = read::inventory(&mut checker, &root);
        let mut problems = checker.problems;
        problems.sort_by(|a, b| (a.line, &a.message).cmp(&(b.line, &b.message)));
        // what is wrong in `defaults` is wrong once, however many hosts inherit it
        problems.dedup();
        match inventory {
            Some(inventory) if problems.is_empty() => Ok(inventory),
            // an inventory is absent only for a reason that the check has noted
            _ => Err(problems),
        }
    }

    /// Returns the folder relative paths begin at.
    #[must_use]
    pub fn folder(&self) -> &Utf8Path {
        self.path.parent().unwrap_or(Utf8Path::new(""))
    }

    /// Returns the registry's name and port: 443 where none is given.
    #[must_use]
    pub fn registry_address(&self) -> (String, u16) {
        let (name, port) =
            rules::split_port(&self.registry.endpoint).unwrap_or((&self.registry.endpoint, None));
        (name.to_owned(), port.unwrap_or(443))
    }

    /// Returns the servers, in the file's order.
    pub fn servers(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.role == Role::Server)
    }

    /// Returns the agents, in the file's order.
    pub fn agents(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.role == Role::Agent)
    }

    /// Returns where nodes register: `cluster.endpoint`, else `network.apiVip`, else the first server's address.
    #[must_use]
    pub fn endpoint(&self) -> Option<String> {
        let vip = || self.network.api_vip.map(|vip| vip.to_string());
        self.cluster
            .endpoint
            .clone()
            .or_else(vip)
            .or_else(|| self.servers().next()?.node_address())
    }
}

/// `cluster`: what concerns all nodes.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// The fixed registration address.
    pub endpoint: Option<String>,
    /// Further names and addresses for the API's certificate.
    pub tls_sans: Vec<String>,
    /// Raw RKE2 keys for all nodes.
    pub config: Map<String, Value>,
    /// Raw RKE2 keys for servers.
    pub server_config: Map<String, Value>,
    /// Raw RKE2 keys for agents.
    pub agent_config: Map<String, Value>,
}

/// `network`: addresses that are the cluster's to use.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// A virtual address for the API, moved between servers by kube-vip.
    pub api_vip: Option<IpAddr>,
    /// Ranges (`10.0.0.200-10.0.0.220`) or networks (`10.0.1.0/28`) for load balancers.
    pub load_balancer_pools: Vec<String>,
}

/// `tls`: who issues certificates.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The site's own CA; a CA is made on site without one.
    pub ca: Option<IssuerCa>,
}

/// `tls.issuer.ca`: a CA whose key the cluster may hold.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerCa {
    /// The certificate, PEM.
    pub cert_file: Utf8PathBuf,
    /// Its private key.
    pub key: SecretRef,
}

/// `dns`: a server that the platform may update.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dns {
    /// `rfc2136` or `route53`.
    pub provider: String,
    /// The server's address, for rfc2136.
    pub server: Option<String>,
    /// The zone.
    pub zone: String,
    /// Name of the TSIG key.
    pub tsig_key_name: Option<String>,
    /// Algorithm of the TSIG key.
    pub tsig_algorithm: Option<String>,
    /// The TSIG key.
    pub tsig_secret: Option<SecretRef>,
}

/// `licences`: what only the customer holds.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Licences {
    /// The licence file of Teleport Enterprise.
    pub teleport: Option<SecretRef>,
}

/// `aws`: the account's side of a site.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Aws {
    /// The name in the tags `kubernetes.io/cluster/<name>`.
    pub cluster_name: String,
    /// The region.
    pub region: String,
    /// The VPC.
    pub vpc_id: Option<String>,
    /// Private endpoints, by service.
    pub endpoints: BTreeMap<String, String>,
    /// The KMS key that unseals OpenBao.
    pub kms_key_id: Option<String>,
    /// Buckets of the site's own, by what they keep: `loki`, `tempo`, `mimir`, `backup`.
    pub buckets: BTreeMap<String, String>,
}

/// `registry`: the site's registry.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Registry {
    /// Name, with `:port` where it is not 443.
    pub endpoint: String,
    /// Addresses, where no DNS knows the name.
    pub addresses: Vec<IpAddr>,
    /// The project that receives everything.
    pub project: String,
    /// The CA of its certificate, PEM.
    pub ca_file: Option<Utf8PathBuf>,
    /// The account that may write.
    pub push: Account,
    /// The account that nodes and Argo CD read with; `push` is never given to them.
    pub pull: Option<Account>,
}

/// A user name and its password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The user name.
    pub username: TextRef,
    /// The password.
    pub password: SecretRef,
}

/// A text that is not secret: written out, or by reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TextRef {
    /// The text.
    Plain(String),
    /// Where it is.
    From(SecretRef),
}

/// `options`: how much happens at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// Hosts worked on at a time, 1 to 100.
    pub parallel_hosts: usize,
    /// Uploads to the registry at a time, 1 to 64.
    pub parallel_uploads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parallel_hosts: 10,
            parallel_uploads: 4,
        }
    }
}

#[cfg(test)]
mod tests;
