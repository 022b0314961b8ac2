//! The private network: a bridge without a way out, and the rules that count whoever tries.
//!
//! Nodes do have a default route, as RKE2 demands; it leads to the host's bridge address, where everything not for the network is logged
//! and dropped before routing. The host does not forward either.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::{Error, say};
use crate::docker::{Docker, LABEL};

/// Networks of this process, for Ctrl-C.
static LIVE: Mutex<BTreeMap<String, (Weak<Docker>, u8)>> = Mutex::new(BTreeMap::new());

/// One site's network.
#[derive(Debug)]
pub(crate) struct Network {
    name: String,
    subnet: u8,
    next: AtomicU8,
    taken: Mutex<BTreeMap<String, Ipv4Addr>>,
    docker: Arc<Docker>,
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&self.docker, &self.name, self.subnet);
    }
}

fn iptables(args: &[&str]) -> Result<String, Error> {
    let output = Command::new("iptables")
        .arg("-w")
        .args(args)
        .output()
        .map_err(|source| Error::Tool {
            tool: "iptables",
            source,
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Docker {
        command: "iptables".into(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// The rules of a network: what is for the network or a multicast passes, the rest is logged and dropped.
fn rules(subnet: u8) -> [Vec<String>; 4] {
    let bridge = bridge(subnet);
    let inside = format!("10.231.{subnet}.0/24");
    let comment = format!("{LABEL} {}", std::process::id());
    let rule = |rest: &[&str]| {
        let mut all = vec![
            "-i".to_owned(),
            bridge.clone(),
            "-m".into(),
            "comment".into(),
            "--comment".into(),
            comment.clone(),
        ];
        all.extend(rest.iter().map(|word| (*word).to_owned()));
        all
    };
    [
        rule(&["-d", &inside, "-j", "ACCEPT"]),
        rule(&["-d", "224.0.0.0/3", "-j", "DROP"]),
        rule(&[
            "-m",
            "limit",
            "--limit",
            "20/s",
            "-j",
            "LOG",
            "--log-prefix",
            &format!("{LABEL}-{subnet} "),
        ]),
        rule(&["-j", "DROP"]),
    ]
}

fn bridge(subnet: u8) -> String {
    format!("br-airgap{subnet}")
}

impl Network {
    pub(crate) fn create(docker: &Arc<Docker>) -> Result<Self, Error> {
        let pid = std::process::id();
        let mut last = None;
        // a few numbers are tried: another run beside this one has its own
        for offset in 0..40_u32 {
            let subnet = u8::try_from(1 + (pid + offset) % 250).unwrap_or(1);
            let name = format!("airgap-{pid}-{subnet}");
            let gateway = Ipv4Addr::new(10, 231, subnet, 1).to_string();
            let made = docker.run(&[
                "network",
                "create",
                "--internal",
                "--label",
                &format!("{LABEL}={pid}"),
                "--subnet",
                &format!("10.231.{subnet}.0/24"),
                "--gateway",
                &gateway,
                "--opt",
                &format!("com.docker.network.bridge.name={}", bridge(subnet)),
                &name,
            ]);
            match made {
                Ok(_) => {
                    let network = Self {
                        name: name.clone(),
                        subnet,
                        next: AtomicU8::new(10),
                        taken: Mutex::default(),
                        docker: Arc::clone(docker),
                    };
                    if let Ok(mut live) = LIVE.lock() {
                        live.insert(name, (Arc::downgrade(docker), subnet));
                    }
                    for rule in rules(subnet) {
                        let words: Vec<&str> = ["-t", "raw", "-A", "PREROUTING"]
                            .into_iter()
                            .chain(rule.iter().map(String::as_str))
                            .collect();
                        iptables(&words)?;
                    }
                    return Ok(network);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| std::io::Error::other("no free network").into()))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 231, self.subnet, 1)
    }

    /// The address of a container; a machine that is set up anew keeps the one it had.
    pub(crate) fn address_for(&self, container: &str) -> Ipv4Addr {
        let new = || {
            Ipv4Addr::new(
                10,
                231,
                self.subnet,
                self.next.fetch_add(1, Ordering::SeqCst),
            )
        };
        self.taken.lock().map_or_else(
            |_| new(),
            |mut taken| *taken.entry(container.to_owned()).or_insert_with(new),
        )
    }

    /// Destinations of the packets that were dropped; the count alone where the kernel's log cannot be read.
    pub(crate) fn dropped(&self) -> Vec<String> {
        let listing =
            iptables(&["-t", "raw", "-L", "PREROUTING", "-v", "-n", "-x"]).unwrap_or_default();
        let bridge = bridge(self.subnet);
        let count: u64 = listing
            .lines()
            .filter(|line| {
                line.contains("LOG") && line.split_whitespace().any(|word| word == bridge)
            })
            .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
            .sum();
        if count == 0 {
            return Vec::new();
        }
        let log = Command::new("dmesg")
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        let prefix = format!("{LABEL}-{} ", self.subnet);
        let field = |line: &str, name: &str| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(name).map(str::to_owned))
                .unwrap_or_default()
        };
        let mut seen: Vec<String> = log
            .lines()
            .filter(|line| line.contains(&prefix))
            .map(|line| {
                format!(
                    "{} tried {} port {}",
                    field(line, "SRC="),
                    field(line, "DST="),
                    field(line, "DPT=")
                )
            })
            .collect();
        seen.sort();
        seen.dedup();
        seen.push(format!("{count} packets were dropped on their way out"));
        seen
    }
}

fn remove(docker: &Docker, name: &str, subnet: u8) {
    if let Ok(mut live) = LIVE.lock() {
        live.remove(name);
    }
    let containers = docker
        .run(&[
            "ps",
            "--all",
            "--quiet",
            "--filter",
            &format!("network={name}"),
        ])
        .unwrap_or_default();
    for container in containers.split_whitespace() {
        if let Err(error) = docker.run(&["rm", "--force", "--volumes", container]) {
            say(&format!("cannot remove container {container}: {error}"));
        }
    }
    if let Err(error) = docker.run(&["network", "rm", name]) {
        say(&format!("cannot remove network {name}: {error}"));
    }
    for rule in rules(subnet) {
        let words: Vec<&str> = ["-t", "raw", "-D", "PREROUTING"]
            .into_iter()
            .chain(rule.iter().map(String::as_str))
            .collect();
        // gone already, where another run cleaned up after this one
        let _ = iptables(&words);
    }
}

/// Removes what earlier runs left whose process is gone.
pub(crate) fn remove_leftovers(docker: &Docker) {
    let dead = |pid: &str| {
        pid.parse::<u32>().is_ok_and(|pid| {
            pid != std::process::id()
                && !std::path::Path::new("/proc").join(pid.to_string()).exists()
        })
    };
    for (list, remove) in [
        (
            ["ps", "--all"].as_slice(),
            ["rm", "--force", "--volumes"].as_slice(),
        ),
        (&["network", "ls"], &["network", "rm"]),
    ] {
        let filter = format!("label={LABEL}");
        let format = format!("{{{{.ID}}}} {{{{.Label \"{LABEL}\"}}}}");
        let args: Vec<&str> = list
            .iter()
            .copied()
            .chain(["--filter", filter.as_str(), "--format", format.as_str()])
            .collect();
        for line in docker.run(&args).unwrap_or_default().lines() {
            if let Some((id, pid)) = line.split_once(' ')
                && dead(pid)
            {
                say(&format!("removing {id}, left by an earlier run"));
                let args: Vec<&str> = remove.iter().copied().chain([id]).collect();
                if let Err(error) = docker.run(&args) {
                    say(&format!("cannot remove {id}: {error}"));
                }
            }
        }
    }
    for line in iptables(&["-t", "raw", "-S", "PREROUTING"])
        .unwrap_or_default()
        .lines()
    {
        let marked = line
            .split(&format!("--comment \"{LABEL} "))
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        if marked.is_some_and(dead) {
            let words = line.replacen("-A ", "-D ", 1);
            // iptables-restore reads a rule as it was printed, quotes included
            let input = format!("*raw\n{words}\nCOMMIT\n");
            let fed = Command::new("iptables-restore")
                .args(["-w", "--noflush"])
                .stdin(std::process::Stdio::piped())
                .spawn()
                .and_then(|mut child| {
                    use std::io::Write as _;
                    if let Some(mut stdin) = child.stdin.take() {
                        stdin.write_all(input.as_bytes())?;
                    }
                    child.wait()
                });
            if let Err(error) = fed {
                say(&format!(
                    "cannot remove a firewall rule of an earlier run: {error}"
                ));
            }
        }
    }
}

/// Waits for SIGINT or SIGTERM in a thread of its own, removes every site of this process and leaves.
pub(crate) fn end_on_interrupt() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        else {
            return;
        };
        runtime.block_on(async {
            let mut term =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
            let terminated = async {
                match term.as_mut() {
                    Some(term) => term.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated => {}
            }
        });
        let live = LIVE.lock().map(|live| live.clone()).unwrap_or_default();
        for (name, (docker, subnet)) in live {
            if let Some(docker) = docker.upgrade() {
                remove(&docker, &name, subnet);
            }
        }
        leave();
    });
}

#[expect(
    clippy::exit,
    reason = "the process was told to end, and what it started has been"
)]
fn leave() {
    std::process::exit(130);
}
