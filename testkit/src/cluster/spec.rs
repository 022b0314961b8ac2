//! What a site is asked to be.

/// How the nodes' user becomes root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Sudo {
    /// Without a password.
    #[default]
    Free,
    /// With this password.
    Password(String),
    /// Not at all.
    None,
}

/// One machine.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    pub(crate) name: String,
    pub(crate) sudo: Sudo,
    pub(crate) bastion: bool,
    pub(crate) behind_bastion: bool,
    pub(crate) small_var: Option<u64>,
    pub(crate) machine: Option<String>,
    pub(crate) default_route: bool,
    pub(crate) resolver: bool,
}

impl NodeSpec {
    /// An ordinary machine.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            sudo: Sudo::Free,
            bastion: false,
            behind_bastion: false,
            small_var: None,
            machine: None,
            default_route: true,
            resolver: true,
        }
    }

    /// Says how its user becomes root.
    #[must_use]
    pub fn sudo(mut self, sudo: Sudo) -> Self {
        self.sudo = sudo;
        self
    }

    /// Lets only the bastion reach its sshd.
    #[must_use]
    pub fn behind_bastion(mut self) -> Self {
        self.behind_bastion = true;
        self
    }

    /// Makes it the site's bastion.
    #[must_use]
    pub fn bastion(mut self) -> Self {
        self.bastion = true;
        self
    }

    /// Gives `/var/lib/rancher` a disk of its own of this many bytes.
    #[must_use]
    pub fn small_disk(mut self, bytes: u64) -> Self {
        self.small_var = Some(bytes);
        self
    }

    /// Makes `uname -m` say this.
    #[must_use]
    pub fn machine(mut self, machine: &str) -> Self {
        self.machine = Some(machine.into());
        self
    }

    /// Leaves it without a default route.
    #[must_use]
    pub fn no_default_route(mut self) -> Self {
        self.default_route = false;
        self
    }

    /// Leaves only a loopback resolver in its resolv.conf.
    #[must_use]
    pub fn loopback_resolver(mut self) -> Self {
        self.resolver = false;
        self
    }
}

/// The machines of a site.
#[derive(Debug, Clone, Default)]
pub struct ClusterSpec {
    pub(crate) nodes: Vec<NodeSpec>,
}

impl ClusterSpec {
    /// One machine named `solo`.
    #[must_use]
    pub fn single() -> Self {
        Self {
            nodes: vec![NodeSpec::new("solo")],
        }
    }

    /// Servers `cp1…` and agents `w1…`.
    #[must_use]
    pub fn of(servers: usize, agents: usize) -> Self {
        let named = |prefix: &str, count: usize| {
            (1..=count)
                .map(|number| NodeSpec::new(&format!("{prefix}{number}")))
                .collect::<Vec<_>>()
        };
        Self {
            nodes: [named("cp", servers), named("w", agents)].concat(),
        }
    }

    /// Adds a bastion named `jump`, behind which the last agent lies.
    #[must_use]
    pub fn with_bastion(mut self) -> Self {
        if let Some(last) = self.nodes.last_mut() {
            last.behind_bastion = true;
        }
        self.nodes.push(NodeSpec::new("jump").bastion());
        self
    }

    /// Adds a machine.
    #[must_use]
    pub fn node(mut self, node: NodeSpec) -> Self {
        self.nodes.push(node);
        self
    }

    /// Changes every machine.
    #[must_use]
    pub fn each(mut self, change: impl Fn(NodeSpec) -> NodeSpec) -> Self {
        self.nodes = self.nodes.into_iter().map(change).collect();
        self
    }
}
