//! Debian's `docker-registry` as a child process on loopback.
//!
//! Invariant: the process ends with its owner, also when the owner is killed.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use camino::Utf8PathBuf;
use fs_err as fs;

use crate::{ports, tls::ServerCert};

/// How a registry is started.
#[derive(Debug, Clone, Default)]
pub struct DockerRegistryConfig {
    /// TLS; plain HTTP without.
    pub tls: Option<ServerCert>,
    /// Accounts and passwords; everybody may do everything without.
    pub accounts: Vec<(String, String)>,
    /// Where data is kept; a temporary folder without.
    pub data: Option<Utf8PathBuf>,
}

/// A running `docker-registry`.
#[derive(Debug)]
pub struct DockerRegistry {
    address: SocketAddr,
    tls: bool,
    child: Child,
    _folder: tempfile::TempDir,
}

impl DockerRegistry {
    /// Starts the registry and waits until it accepts connections.
    ///
    /// It ends with the calling thread, so call it from one that lives as long as the registry shall.
    ///
    /// # Panics
    /// Panics when it cannot be started; gate on [`crate::require_tool`].
    #[must_use]
    pub fn start(config: &DockerRegistryConfig) -> Self {
        for _ in 0..5 {
            if let Some(started) = Self::try_start(config) {
                return started;
            }
        }
        panic!("docker-registry does not start");
    }

    fn try_start(config: &DockerRegistryConfig) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = camino::Utf8Path::from_path(folder.path()).expect("temporary paths are UTF-8");
        let data = config.data.clone().unwrap_or_else(|| path.join("data"));
        let tls = config.tls.as_ref().map_or_else(String::new, |tls| {
            let (certificate, key) = tls.write(path);
            format!(", tls: {{certificate: {certificate}, key: {key}}}")
        });
        let auth = if config.accounts.is_empty() {
            String::new()
        } else {
            let mut lines = String::new();
            for (user, password) in &config.accounts {
                lines.push_str(user);
                lines.push(':');
                lines.push_str(&bcrypt::hash(password, 4).expect("passwords are short"));
                lines.push('\n');
            }
            fs::write(path.join("htpasswd"), lines).expect("the password file can be written");
            format!("auth: {{htpasswd: {{realm: r, path: {path}/htpasswd}}}}\n")
        };
        // should another process take the port before the registry does, the next attempt has another
        let address = SocketAddr::from(([127, 0, 0, 1], ports::unused()));
        fs::write(
            path.join("config.yml"),
            format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{cache: {{blobdescriptor: inmemory}}, filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}\n\
                 {auth}http: {{addr: \"{address}\", secret: placeholder{tls}}}\nvalidation: {{disabled: true}}\n"
            ),
        )
        .expect("the configuration can be written");
        let log = fs::File::create(path.join("log")).expect("the log can be made");
        // setpriv: the kernel ends the registry when this thread ends, however it ends
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(path.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.into_parts().0)
            .spawn()
            .expect("docker-registry is installed");
        let mut registry = Self {
            address,
            tls: config.tls.is_some(),
            child,
            _folder: folder,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if TcpStream::connect(address).is_ok() {
                return Some(registry);
            }
            if registry.child.try_wait().ok().flatten().is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Returns the address it listens at.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns `http://…` or `https://…` with the address.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "{}://{}",
            if self.tls { "https" } else { "http" },
            self.address
        )
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
