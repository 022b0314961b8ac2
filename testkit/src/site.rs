//! A customer's site: nodes, a registry like Harbor, and the folder from which a field engineer installs.
//!
//! The folder holds `hosts.yaml` and all it refers to: SSH key, known hosts, the registry's authority, passwords in files of their own.
//! Invariant: each password is made anew for each site and stands nowhere but in its file and in the registry's memory.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::cluster::{Cluster, ClusterSpec, Error, REGISTRY, ZONE};
use crate::harbor::{Account, HarborConfig, HarborEmulation, Project};
use crate::tls::TestCa;

/// The registry's project.
pub const PROJECT: &str = "airgap";
/// The cluster's name.
pub const CLUSTER: &str = "demo";

/// Addresses for load balancers, which nothing here answers at.
const POOL: &str = "203.0.113.200-203.0.113.220";

/// A running site.
#[derive(Debug)]
pub struct Site {
    cluster: Cluster,
    harbor: HarborEmulation,
    ca: TestCa,
    passwords: [String; 2],
    inventory: Utf8PathBuf,
}

impl Site {
    /// Starts nodes and registry, and writes `hosts.yaml` and what it needs into `folder`.
    ///
    /// # Errors
    /// Fails where a node does not come up, or the folder cannot be written.
    ///
    /// # Panics
    /// Panics when the registry cannot listen; gate on [`crate::cluster::missing`] and [`crate::require_tool`].
    pub fn start(spec: ClusterSpec, folder: &Utf8Path) -> Result<Self, Error> {
        let cluster = Cluster::start(spec)?;
        let ca = TestCa::new("site CA");
        let passwords = [password()?, password()?];
        let harbor = HarborEmulation::start(HarborConfig {
            listen: SocketAddr::from((cluster.gateway(), 443)),
            tls: Some(ca.server(&[REGISTRY])),
            accounts: vec![
                Account::pusher(PROJECT, &passwords[0]),
                Account::puller(PROJECT, &passwords[1]),
            ],
            projects: vec![Project::named(PROJECT)],
            ..HarborConfig::default()
        });
        let site = Self {
            inventory: folder.join("hosts.yaml"),
            cluster,
            harbor,
            ca,
            passwords,
        };
        site.write(folder)?;
        Ok(site)
    }

    fn write(&self, folder: &Utf8Path) -> std::io::Result<()> {
        fs_err::create_dir_all(folder.join("secrets"))?;
        let secret = |name: &str, content: &[u8]| {
            let path = folder.join(name);
            fs_err::write(&path, content)?;
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        };
        secret("secrets/harbor-push", self.passwords[0].as_bytes())?;
        secret("secrets/harbor-pull", self.passwords[1].as_bytes())?;
        // what a name server's key is: 256 bits in base64
        secret(
            "secrets/tsig",
            b"c3RhbmQtaW4gc3RhbmQtaW4gc3RhbmQtaW4gc3RhbmQ=",
        )?;
        secret("id_ed25519", &fs_err::read(self.cluster.key())?)?;
        fs_err::copy(self.cluster.known_hosts(), folder.join("known_hosts"))?;
        fs_err::write(folder.join("site-ca.pem"), self.ca.pem())?;
        fs_err::write(&self.inventory, self.hosts_yaml())
    }

    /// The inventory: `cp…` and `solo` are servers, `w…` are agents, `jump` is the bastion of whoever is behind it.
    fn hosts_yaml(&self) -> String {
        let (push, pull) = (
            Account::pusher(PROJECT, "").name,
            Account::puller(PROJECT, "").name,
        );
        let mut yaml = format!(
            "apiVersion: airgap/v1\n\
             kind: Inventory\n\
             metadata: {{name: {CLUSTER}}}\n\
             site: onprem\n\
             domain: platform.{ZONE}\n\
             network: {{loadBalancerPools: [{POOL}]}}\n\
             dns: {{provider: rfc2136, server: {0}, zone: {ZONE}, tsigKeyName: airgap, tsigSecret: {{file: ./secrets/tsig}}}}\n\
             registry:\n  \
               endpoint: {REGISTRY}\n  \
               addresses: [{0}]\n  \
               project: {PROJECT}\n  \
               caFile: ./site-ca.pem\n  \
               push: {{username: \"{push}\", password: {{file: ./secrets/harbor-push}}}}\n  \
               pull: {{username: \"{pull}\", password: {{file: ./secrets/harbor-pull}}}}\n\
             defaults:\n  \
               ssh: {{user: ops, keyPath: ./id_ed25519, knownHosts: ./known_hosts}}\n  \
               sudo: {{}}\n\
             hosts:\n",
            self.cluster.gateway()
        );
        let bastion = self.cluster.nodes().find(|node| node.is_bastion());
        for node in self.cluster.nodes().filter(|node| !node.is_bastion()) {
            let role = if node.name().starts_with('w') {
                "agent"
            } else {
                "server"
            };
            let through = bastion
                .filter(|_| node.is_behind_bastion())
                .map(|jump| format!(", bastion: {{address: {}}}", jump.address()))
                .unwrap_or_default();
            let _ = writeln!(
                yaml,
                "  - {{name: {}, role: {role}, ssh: {{address: {}{through}}}}}",
                node.name(),
                node.address()
            );
        }
        yaml
    }

    /// The inventory's path.
    #[must_use]
    pub fn inventory(&self) -> &Utf8Path {
        &self.inventory
    }

    /// The nodes.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The nodes, to be changed.
    pub fn cluster_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// The registry.
    #[must_use]
    pub fn harbor(&self) -> &HarborEmulation {
        &self.harbor
    }

    /// The authority of the registry's certificate.
    #[must_use]
    pub fn ca(&self) -> &TestCa {
        &self.ca
    }

    /// The passwords of the push and the pull account: words that must never show.
    #[must_use]
    pub fn passwords(&self) -> &[String; 2] {
        &self.passwords
    }
}

/// A password of 96 random bits, with characters that careless quoting would break.
fn password() -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 12];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("canary-{}-$'\"\\ x", hex::encode(bytes)))
}
