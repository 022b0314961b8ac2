//! One host under way: its connection, what it said of itself, and the steps that phases take on it.

use std::{
    io::Read,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use camino::Utf8Path;

use crate::{
    Command, Connection, ConnectionError, Error, Facts, Host, Limit, Output, Put, PutOutcome,
    Report, Result,
    event::Event,
    host::Role,
    render::{NodeFile, TOKEN_PATH},
};

/// How often RKE2 may fail to start before waiting longer makes no sense; systemd tries again every 5 s.
const MOST_RESTARTS: u64 = 8;

/// A host with its connection and its facts.
pub(crate) struct Machine<'a> {
    pub(crate) host: &'a Host,
    pub(crate) connection: Counting,
    pub(crate) facts: Facts,
}

impl Machine<'_> {
    /// Returns RKE2's unit for the host's role.
    pub(crate) fn unit(&self) -> &'static str {
        match self.host.role {
            Role::Server => "rke2-server.service",
            Role::Agent => "rke2-agent.service",
        }
    }

    /// Tells whether the host has been a node before: it keeps the password that the cluster knows it by.
    pub(crate) fn was_node(&self) -> bool {
        self.facts.rke2.active
            || self.facts.rke2.has_etcd_data
            || self.facts.files.contains_key(Utf8Path::new(NODE_PASSWORD))
    }

    /// Tells whether a file of the host is as it should be, going by its facts.
    pub(crate) fn has(&self, file: &Put) -> bool {
        self.facts.files.get(&file.path).is_some_and(|found| {
            found.sha256 == file.sha256 && found.mode == file.mode && found.owner == file.owner
        })
    }

    /// Makes a file what it should be; tells whether that changed anything.
    pub(crate) fn put(&mut self, file: &NodeFile) -> Result<bool> {
        let outcome = self
            .connection
            .put(&put_of(file), &mut file.content.as_slice())?;
        Ok(outcome != PutOutcome::Unchanged)
    }

    /// Puts the token of a joiner where its configuration says.
    pub(crate) fn put_token(&mut self, token: &secrecy::SecretString) -> Result<()> {
        use secrecy::ExposeSecret;
        let content = format!("{}\n", token.expose_secret());
        let file = Put::of(TOKEN_PATH, 0o600, content.as_bytes());
        self.connection.put(&file, &mut content.as_bytes())?;
        Ok(())
    }

    /// Enables RKE2's unit and starts or restarts it, without waiting. Returns systemd's name of the run that this ends, if it ends one.
    pub(crate) fn start(&mut self, verb: &str) -> Result<Option<String>> {
        let unit = self.unit();
        let ended = if verb == "restart" {
            Some(self.unit_state()?.invocation)
        } else {
            None
        };
        self.connection.check(&systemctl(&["enable", unit]))?;
        // a unit that systemd has given up on would refuse
        self.connection.run(&systemctl(&["reset-failed", unit]))?;
        self.connection
            .check(&systemctl(&[verb, "--no-block", unit]))?;
        Ok(ended)
    }

    /// Waits until RKE2 says that it is ready: a server has its API server and a vote in etcd then, an agent its node.
    pub(crate) fn wait_active(
        &mut self,
        ended: Option<&str>,
        limit: Duration,
        poll: Duration,
        report: Report<'_>,
    ) -> Result<()> {
        let started = Instant::now();
        let mut shown = String::new();
        let mut before = None;
        loop {
            let mut state = self.unit_state()?;
            // a unit that was started earlier has its former failures behind it
            state.restarts = state
                .restarts
                .saturating_sub(*before.get_or_insert(state.restarts));
            if state.active == "active" && ended != Some(&state.invocation) {
                return Ok(());
            }
            let hopeless = state.active == "failed" || state.restarts >= MOST_RESTARTS;
            if hopeless || started.elapsed() >= limit {
                return Err(Error::Gate {
                    host: self.host.name.clone(),
                    what: "the start of RKE2",
                    waited: started.elapsed(),
                    reason: self.last_words(&state)?,
                    limit: (!hopeless).then_some(Limit::Node),
                });
            }
            let text = if state.restarts > 0 {
                format!(
                    "RKE2 is {} (restarted {} times)",
                    state.active, state.restarts
                )
            } else {
                format!("RKE2 is {}", state.active)
            };
            if text != shown {
                report(Event::Host {
                    host: self.host.name.clone(),
                    message: text.clone(),
                });
                shown = text;
            }
            std::thread::sleep(poll);
        }
    }

    fn unit_state(&mut self) -> Result<UnitState> {
        let unit = self.unit();
        let output = self.connection.check(&systemctl(&[
            "show",
            unit,
            "-p",
            "ActiveState,NRestarts,Result,InvocationID",
        ]))?;
        let text = output.text();
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .unwrap_or_default()
                .to_owned()
        };
        Ok(UnitState {
            active: value("ActiveState"),
            restarts: value("NRestarts").parse().unwrap_or(0),
            result: value("Result"),
            invocation: value("InvocationID"),
        })
    }

    /// Returns the end of RKE2's log: the one place where it says what it waits for.
    fn last_words(&mut self, state: &UnitState) -> Result<String> {
        let unit = self.unit();
        let output = self.connection.run(
            &Command::new("journalctl")
                .args(["-u", unit, "-n", "40", "--no-pager", "-o", "cat"])
                .as_root(),
        )?;
        let text = output.text();
        let telling = |line: &&str| {
            ["level=fatal", "level=error", "level=warning", "rror"]
                .iter()
                .any(|word| line.contains(word))
        };
        let lines: Vec<&str> = text.lines().filter(telling).collect();
        let lines = if lines.is_empty() {
            text.lines().collect()
        } else {
            lines
        };
        let tail = lines
            .iter()
            .rev()
            .take(3)
            .rev()
            .copied()
            .collect::<Vec<_>>()
            .join(" | ");
        Ok(format!(
            "{} is {} (result {}, {} restarts); its log ends: {tail}",
            unit, state.active, state.result, state.restarts
        ))
    }
}

/// The file that a node proves its identity with.
pub(crate) const NODE_PASSWORD: &str = "/etc/rancher/node/password";

struct UnitState {
    active: String,
    restarts: u64,
    result: String,
    invocation: String,
}

pub(crate) fn systemctl(words: &[&str]) -> Command {
    Command::new("systemctl").args(words).as_root()
}

/// Describes a node's file as a connection puts it.
pub(crate) fn put_of(file: &NodeFile) -> Put {
    Put::of(file.path.clone(), file.mode, &file.content)
}

/// A connection that counts what is asked of its host.
pub(crate) struct Counting {
    inner: Box<dyn Connection>,
    commands: AtomicU64,
    writes: AtomicU64,
}

impl Counting {
    pub(crate) fn new(inner: Box<dyn Connection>) -> Self {
        Self {
            inner,
            commands: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        }
    }

    /// Returns how many commands were run, and how many of them wrote a file.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (
            self.commands.load(Ordering::Relaxed),
            self.writes.load(Ordering::Relaxed),
        )
    }
}

impl Connection for Counting {
    fn host(&self) -> &str {
        self.inner.host()
    }

    fn run(&mut self, command: &Command) -> Result<Output, ConnectionError> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        self.inner.run(command)
    }

    fn put(&mut self, file: &Put, content: &mut dyn Read) -> Result<PutOutcome, ConnectionError> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        let outcome = self.inner.put(file, content)?;
        if outcome != PutOutcome::Unchanged {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(outcome)
    }

    fn read(&mut self, path: &Utf8Path) -> Result<Option<Vec<u8>>, ConnectionError> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        self.inner.read(path)
    }
}

/// Machines for this crate's unit tests: a host, its facts, and nobody at the other end.
#[cfg(test)]
pub(crate) mod fake {
    use super::{Command, Connection, ConnectionError, Counting, Machine, Output, Put, PutOutcome};
    use crate::{Facts, Inventory};
    use camino::Utf8Path;
    use std::io::Read;

    /// A connection that a pure function must not use.
    struct Nobody;

    impl Connection for Nobody {
        fn host(&self) -> &'static str {
            "nobody"
        }

        fn run(&mut self, command: &Command) -> Result<Output, ConnectionError> {
            panic!("nothing should run {command}")
        }

        fn put(&mut self, file: &Put, _: &mut dyn Read) -> Result<PutOutcome, ConnectionError> {
            panic!("nothing should write {}", file.path)
        }

        fn read(&mut self, path: &Utf8Path) -> Result<Option<Vec<u8>>, ConnectionError> {
            panic!("nothing should read {path}")
        }
    }

    /// Three servers and an agent.
    pub(crate) fn inventory() -> Inventory {
        let text = "apiVersion: airgap/v1\nkind: Inventory\nmetadata: {name: prod}\nsite: onprem\ndomain: x.example\nregistry: {endpoint: harbor.x.example, project: airgap, push: {username: u, password: {file: p}}}\nhosts:\n  - {name: cp1, role: server, ssh: {address: 10.0.0.1, user: root}}\n  - {name: cp2, role: server, ssh: {address: 10.0.0.2, user: root}}\n  - {name: cp3, role: server, ssh: {address: 10.0.0.3, user: root}}\n  - {name: w1, role: agent, ssh: {address: 10.0.0.4, user: root}}\n";
        Inventory::from_yaml(text, "hosts.yaml".into()).expect("a good inventory")
    }

    /// Every host of the inventory, its facts changed by `change`.
    pub(crate) fn machines(
        inventory: &Inventory,
        change: impl Fn(&str, &mut Facts),
    ) -> Vec<Machine<'_>> {
        inventory
            .hosts
            .iter()
            .map(|host| {
                let mut facts = Facts {
                    host: host.name.clone(),
                    ..Facts::default()
                };
                change(&host.name, &mut facts);
                Machine {
                    host,
                    connection: Counting::new(Box::new(Nobody)),
                    facts,
                }
            })
            .collect()
    }
}
