//! A site for end-to-end tests: systemd nodes on a private network that leads nowhere, a name server, SSH keys, faults.
//!
//! Invariants: the nodes reach each other and the host's address on their bridge, nothing else; every attempt at more is counted and
//! can be asked for; everything that was started is ended on drop, on Ctrl-C, and by the next run if this one was killed.

mod network;
mod node;
mod spec;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

pub use self::node::{Node, Output};
pub use self::spec::{ClusterSpec, NodeSpec, Sudo};
use crate::docker::Docker;
use crate::nameserver::NameServer;

/// The domain of every name at the site.
pub const ZONE: &str = "site.test";
/// The name of the site's registry, which leads to the host's address on the bridge.
pub const REGISTRY: &str = "harbor.site.test";

/// What can go wrong while a site is set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tool of Debian's is missing or cannot be run.
    #[error("cannot run {tool}: apt-get install docker.io debootstrap iptables openssh-client")]
    Tool {
        /// The tool.
        tool: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The Docker engine did not come up.
    #[error("dockerd did not come up: see {log}")]
    Engine {
        /// Its log.
        log: Utf8PathBuf,
    },
    /// debootstrap failed.
    #[error("debootstrap failed: see {log}")]
    NodeImage {
        /// Its log.
        log: Utf8PathBuf,
    },
    /// A command failed.
    #[error("{command}: {message}")]
    Docker {
        /// The command.
        command: String,
        /// Its own words.
        message: String,
    },
    /// A node did not come up in time.
    #[error("node {node} did not come up: {message}")]
    Node {
        /// The node.
        node: String,
        /// What was last seen.
        message: String,
    },
    /// An I/O error.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Tells the person at the terminal what takes time.
pub(crate) fn say(text: &str) {
    // nowhere is left to report that standard error is gone
    let _ = writeln!(std::io::stderr().lock(), "[testkit] {text}");
}

/// Names of the tools that a site needs and this machine lacks; empty where it can be set up. Root is one of them.
#[must_use]
pub fn missing() -> Vec<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |name: &str| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|dir| dir.join(name).is_file())
    };
    let mut missing: Vec<&str> = ["dockerd", "docker", "debootstrap", "iptables", "ssh-keygen"]
        .into_iter()
        .filter(|name| !there(name))
        .collect();
    if !Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
    {
        missing.push("root");
    }
    missing
}

/// Removes what killed runs left, and ends the engine they used where nobody else does.
///
/// # Errors
/// Fails where the engine's gate cannot be taken.
pub fn clean_up() -> Result<(), Error> {
    if let Some(docker) = Docker::join()? {
        network::remove_leftovers(&docker);
    }
    Ok(())
}

/// A running site.
#[derive(Debug)]
pub struct Cluster {
    nodes: BTreeMap<String, Node>,
    dns: NameServer,
    network: network::Network,
    folder: tempfile::TempDir,
    image: String,
    docker: Arc<Docker>,
}

impl Cluster {
    /// Sets up a site.
    ///
    /// # Errors
    /// Fails where a node does not come up within a minute.
    pub fn start(spec: ClusterSpec) -> Result<Self, Error> {
        let docker = Arc::new(Docker::start()?);
        network::remove_leftovers(&docker);
        let image = crate::node_image::ensure(&docker)?;
        let network = network::Network::create(&docker)?;
        let dns = NameServer::start(network.gateway(), ZONE)?;
        dns.set(REGISTRY, &[network.gateway()]);
        let folder = tempfile::Builder::new().prefix("airgap-site-").tempdir()?;
        let site = Site {
            docker: &docker,
            network: &network,
            image: &image,
            key: &make_key(folder.path())?,
        };
        let started: Vec<Result<Node, Error>> = std::thread::scope(|scope| {
            let all: Vec<_> = spec
                .nodes
                .into_iter()
                .map(|node| scope.spawn(|| Node::start(&site, node)))
                .collect();
            all.into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|_| {
                        Err(std::io::Error::other("a node's thread panicked").into())
                    })
                })
                .collect()
        });
        let mut nodes = BTreeMap::new();
        for node in started {
            let node = node?;
            dns.set(&format!("{}.{ZONE}", node.name()), &[node.address()]);
            nodes.insert(node.name().to_owned(), node);
        }
        let bastion = nodes
            .values()
            .find(|node| node.spec().bastion)
            .map(Node::address);
        for node in nodes.values().filter(|node| node.spec().behind_bastion) {
            if let Some(bastion) = bastion {
                node.hide_behind(bastion)?;
            }
        }
        let cluster = Self {
            nodes,
            dns,
            network,
            folder,
            image,
            docker,
        };
        cluster.write_known_hosts()?;
        Ok(cluster)
    }

    /// Ends every site of this process when it is interrupted, then leaves with 130. For programs, not for tests within one.
    pub fn end_on_interrupt() {
        network::end_on_interrupt();
    }

    /// The host's address on the nodes' network: where a registry has to listen.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.network.gateway()
    }

    /// The site's name server.
    #[must_use]
    pub fn dns(&self) -> &NameServer {
        &self.dns
    }

    /// A node by name.
    ///
    /// # Panics
    /// Panics where the specification has no such node: a defect of the test.
    #[must_use]
    pub fn node(&self, name: &str) -> &Node {
        self.nodes
            .get(name)
            .unwrap_or_else(|| panic!("the site has no node {name}"))
    }

    /// Every node.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The private key that every node's user accepts; its public half is beside it.
    #[must_use]
    pub fn key(&self) -> Utf8PathBuf {
        self.folder().join("id_ed25519")
    }

    /// A known_hosts file with every node's key.
    #[must_use]
    pub fn known_hosts(&self) -> Utf8PathBuf {
        self.folder().join("known_hosts")
    }

    /// A folder of this site's own, removed with it.
    #[must_use]
    pub fn folder(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap_or(Utf8Path::new("/tmp"))
    }

    fn write_known_hosts(&self) -> Result<(), Error> {
        let lines = self
            .nodes
            .values()
            .map(|node| format!("{} {}\n", node.address(), node.host_key()));
        Ok(fs_err::write(
            self.known_hosts(),
            lines.collect::<Vec<_>>().concat(),
        )?)
    }

    /// Replaces a node by a fresh machine of the same name, address and host key: nothing of its disk is left.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    ///
    /// # Panics
    /// As [`Cluster::node`].
    pub fn reimage(&mut self, name: &str) -> Result<(), Error> {
        let spec = self.node(name).spec().clone();
        let host_key = self.node(name).host_key_files()?;
        self.docker
            .run(&["rm", "--force", "--volumes", &self.node(name).container()])?;
        let key = fs_err::read_to_string(self.key().with_extension("pub"))?;
        let site = Site {
            docker: &self.docker,
            network: &self.network,
            image: &self.image,
            key: key.trim(),
        };
        let node = Node::start(&site, spec)?;
        node.put_host_key(&host_key)?;
        self.nodes
            .insert(name.to_owned(), node.with_host_key(&host_key));
        Ok(())
    }

    /// Every attempt to leave the site: packets that were dropped, and questions for names that are not the site's.
    #[must_use]
    pub fn escapes(&self) -> Vec<String> {
        let mut out = self.network.dropped();
        out.extend(
            self.dns
                .foreign()
                .into_iter()
                .map(|query| format!("{} asked for {}", query.from, query.name)),
        );
        out
    }
}

/// What every node of a site shares.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) docker: &'a Arc<Docker>,
    pub(crate) network: &'a network::Network,
    pub(crate) image: &'a str,
    pub(crate) key: &'a str,
}

fn make_key(folder: &std::path::Path) -> Result<String, Error> {
    let path = folder.join("id_ed25519");
    let done = Command::new("ssh-keygen")
        .args([
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "airgap-testkit",
            "-f",
        ])
        .arg(&path)
        .stdin(Stdio::null())
        .status()
        .map_err(|source| Error::Tool {
            tool: "ssh-keygen",
            source,
        })?;
    if !done.success() {
        return Err(Error::Docker {
            command: "ssh-keygen".into(),
            message: done.to_string(),
        });
    }
    Ok(fs_err::read_to_string(path.with_extension("pub"))?
        .trim()
        .to_owned())
}
