//! What a host is like, gathered with one command.
//!
//! One fixed POSIX script is sent over stdin and answers in lines of `key value…`, parsed strictly: an unknown key or a missing one is an
//! error, so script and parser cannot drift apart. Nothing on the host is changed.

mod parse;

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Deref, DerefMut},
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use camino::Utf8PathBuf;
use serde::Serialize;

use crate::Command;

/// What to look for besides the host's own nature.
#[derive(Clone, Debug, Default)]
pub struct FactsQuery {
    /// Files whose state (digest, mode, owner) is wanted, read as root.
    pub states: Vec<Utf8PathBuf>,
    /// Small files (at most 256 KiB each) whose content is wanted, read as root.
    pub contents: Vec<Utf8PathBuf>,
    /// The site registry, to be tried from the host.
    pub registry: Option<RegistryQuery>,
    /// Names that the host must resolve, such as the cluster's endpoint.
    pub resolve: Vec<String>,
}

/// The site registry as a host should be able to reach it.
#[derive(Clone, Debug)]
pub struct RegistryQuery {
    /// Its name, without a port.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Addresses to use where no DNS knows the name.
    pub addresses: Vec<String>,
    /// The CA that signs the registry's certificate, PEM; `None` for the host's own store.
    pub ca_pem: Option<String>,
}

/// What one host said about itself.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The host's name in the inventory.
    pub host: String,
    /// `ID`, `VERSION_ID` and `PRETTY_NAME` of os-release.
    pub os: Os,
    /// Architecture in OCI's words: `amd64`, `arm64`, else what uname says.
    pub arch: String,
    /// Kernel release.
    pub kernel: String,
    /// Its own host name.
    pub hostname: String,
    /// `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// Whether systemd is running.
    pub systemd: bool,
    /// Usable processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// The host's clock minus ours, in milliseconds: the middle of what is possible.
    pub clock_skew_ms: i64,
    /// How far off the above may be, in milliseconds.
    pub clock_error_ms: u64,
    /// Free space and options of the file systems under the paths RKE2 uses.
    pub mounts: BTreeMap<String, Mount>,
    /// The interface of the default route.
    pub default_route: Option<String>,
    /// Addresses of the host, without loopback.
    pub addresses: Vec<String>,
    /// Name servers of resolv.conf (of systemd-resolved's upstream file, where that is in use).
    pub nameservers: Vec<String>,
    /// Whether SELinux enforces; `None` without SELinux.
    pub selinux_enforcing: Option<bool>,
    /// Programs of interest that were found.
    pub programs: Vec<String>,
    /// Kernel modules of interest that are loaded, built in or loadable.
    pub modules: Vec<String>,
    /// Whether the kernel's modules are there to be looked at; a container, or a kernel without modules, does not show what it can.
    pub modules_known: bool,
    /// Controllers of the cgroup root.
    pub cgroup_controllers: Vec<String>,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Kernel settings of interest.
    pub sysctls: BTreeMap<String, i64>,
    /// systemd units of interest: active and enabled state.
    pub units: BTreeMap<String, Unit>,
    /// Packages of interest that are installed.
    pub packages: Vec<String>,
    /// NetworkManager's `unmanaged-devices` cover the CNI's interfaces.
    pub network_manager_ignores_cni: bool,
    /// TCP ports that something on the host listens on.
    pub listening: Vec<u16>,
    /// Whether a proxy is set for root (`http_proxy` and its like in /etc/environment).
    pub proxy: bool,
    /// RKE2 as found.
    pub rke2: Rke2Found,
    /// States of the files asked for; absent files are absent here.
    pub files: BTreeMap<Utf8PathBuf, FileState>,
    /// Contents of the files asked for; absent files are absent here.
    #[serde(skip)]
    pub contents: Contents,
    /// The names asked for, with the addresses DNS (not /etc/hosts) gave.
    pub resolved: BTreeMap<String, Vec<String>>,
    /// How the registry answered, by the address tried; by `host:port` where DNS was used.
    pub registry: BTreeMap<String, RegistryAnswer>,
}

/// Contents of files by path. Some are secret, so only paths and lengths are ever shown.
#[derive(Clone, Default)]
pub struct Contents(BTreeMap<Utf8PathBuf, Vec<u8>>);

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = self.0.iter().map(|(path, content)| (path, content.len()));
        f.debug_map().entries(lengths).finish()
    }
}

impl Deref for Contents {
    type Target = BTreeMap<Utf8PathBuf, Vec<u8>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Contents {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// An operating system's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Os {
    /// `ID`.
    pub id: String,
    /// `VERSION_ID`.
    pub version: String,
    /// `PRETTY_NAME`.
    pub name: String,
}

/// A file system under some path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Where it is mounted.
    pub mount_point: String,
    /// Bytes in all.
    pub total: u64,
    /// Bytes free for root.
    pub available: u64,
    /// Whether programs on it may not be run.
    pub noexec: bool,
}

/// A systemd unit's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Word of `systemctl is-active`.
    pub active: String,
    /// Word of `systemctl is-enabled`.
    pub enabled: String,
}

/// RKE2 on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rke2Found {
    /// The version its binary reports.
    pub version: Option<String>,
    /// Where the binary is.
    pub binary: Option<Utf8PathBuf>,
    /// Which unit is enabled or active.
    pub role: Option<crate::Role>,
    /// Whether that unit is started: it runs, or it is on its way, for the first time or once more after a failure.
    pub active: bool,
    /// Whether RKE2 has told systemd that it is up.
    pub is_up: bool,
    /// When it was started, seconds since 1970.
    pub started: Option<i64>,
    /// sha256 of the cluster's CA, on a node that has one: equal on all nodes of a cluster.
    pub cluster_ca: Option<String>,
    /// Whether the data folder of etcd exists.
    pub has_etcd_data: bool,
}

/// A file's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileState {
    /// 64 hex digits.
    pub sha256: String,
    /// Permission bits.
    pub mode: u32,
    /// `user:group`.
    pub owner: String,
    /// Seconds since 1970.
    pub modified: i64,
}

/// How the registry answered a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "answer")]
pub enum RegistryAnswer {
    /// TLS holds and HTTP answers.
    Trusted,
    /// A TCP connection, but nothing on the host can check TLS.
    ConnectedUnchecked,
    /// The certificate does not verify against the CA given.
    Untrusted {
        /// The tool's words.
        detail: String,
    },
    /// DNS does not know the name.
    UnknownName,
    /// No connection.
    Unreachable {
        /// The tool's words.
        detail: String,
    },
}

/// Why a host's answer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// A line that the parser does not know, or a value of the wrong form.
    #[error("failed to read facts of host {host}: line {line} ({text}): {reason}")]
    Malformed {
        /// The host's name.
        host: String,
        /// The line's number in the answer.
        line: usize,
        /// The line, shortened.
        text: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The answer ends before its last line.
    #[error("failed to read facts of host {host}: the answer is cut short after {lines} lines")]
    CutShort {
        /// The host's name.
        host: String,
        /// How many lines arrived.
        lines: usize,
    },
}

/// The question, as a script of functions; the calls follow it.
const SCRIPT: &str = include_str!("facts/script.sh");
/// Registry and DNS answers may take their time.
const LIMIT: Duration = Duration::from_mins(3);

/// Gathers what a host says about itself: one command, as root.
pub fn gather(connection: &mut dyn crate::Connection, query: &FactsQuery) -> crate::Result<Facts> {
    let before = SystemTime::now();
    let output = connection.check(&command(query))?;
    let after = SystemTime::now();
    Ok(parse::facts(
        connection.host(),
        &output.stdout,
        before,
        after,
    )?)
}

/// Returns the command: a shell that reads the script from stdin, with the paths and names as its arguments.
fn command(query: &FactsQuery) -> Command {
    let ca = query
        .registry
        .as_ref()
        .and_then(|registry| registry.ca_pem.as_ref());
    // base64 needs no quoting, whatever the file holds
    let ca = ca.map(|pem| STANDARD.encode(pem)).unwrap_or_default();
    let script = format!("{SCRIPT}\nca_base64={ca}\nmain \"$@\" </dev/null\n");
    let mut words: Vec<&str> = Vec::new();
    for list in [&query.states, &query.contents] {
        words.extend(list.iter().map(|path| path.as_str()));
        words.push("--");
    }
    words.extend(query.resolve.iter().map(String::as_str));
    words.push("--");
    let port;
    if let Some(registry) = &query.registry {
        port = registry.port.to_string();
        words.extend([registry.host.as_str(), &port]);
        words.extend(registry.addresses.iter().map(String::as_str));
    }
    words.push("--");
    Command::new("/bin/sh")
        .args(["-s", "--"])
        .args(words)
        .stdin(script)
        .as_root()
        .timeout(LIMIT)
}

/// What came of a connection from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Something listens.
    Open,
    /// The host answers, nothing listens yet: no firewall is in the way.
    Closed,
    /// No answer, or a firewall's.
    Blocked,
}

/// One way between two nodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Probe {
    /// The address that was tried.
    pub address: String,
    /// The TCP port.
    pub port: u16,
    /// What came of it.
    pub reach: Reach,
}

/// Tries to reach addresses and ports from a host, all at once: one command. Empty where the host has no bash to do it with.
pub fn probe(
    connection: &mut dyn crate::Connection,
    targets: &[(String, u16)],
) -> crate::Result<Vec<Probe>> {
    if targets.is_empty() {
        return Ok(Vec::new());
    }
    let words = targets
        .iter()
        .flat_map(|(address, port)| [address.clone(), port.to_string()]);
    let output = connection.check(&Command::script(PROBE).args(words))?;
    Ok(parse::probes(connection.host(), &output.stdout)?)
}

/// Address and port, in turn. A refusal is an answer; silence, "no route" and "prohibited" are a firewall's.
const PROBE: &str = r#"# ports of other hosts
command -v bash >/dev/null 2>&1 && command -v timeout >/dev/null 2>&1 || exit 0
while [ $# -gt 0 ]; do
    (
        said=$(timeout 4 bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$1" "$2" 2>&1 </dev/null)
        case $?/$said in
        0/*) reach=open ;;
        */*refused*) reach=closed ;;
        *) reach=blocked ;;
        esac
        printf '%s\t%s\t%s\n' "$1" "$2" "$reach"
    ) &
    shift 2
done
wait
"#;
