//! A real sshd on loopback, with host keys and logins of its own; it ends with the test.

use std::{
    io::Read,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use airgap_installer::{Connection, ConnectionError, Host};
use airgap_installer::{Inventory, SecretSource, connection, secret::Secrets};
use airgap_testkit::{ports, require_tool};
use camino::{Utf8Path, Utf8PathBuf};
use secrecy::SecretString;

/// A real sshd needs root to let anyone in.
pub(crate) fn sshd_runs_here() -> bool {
    require_tool("sshd") && require_tool("ssh-keygen") && rustix::process::geteuid().is_root()
}

/// Returns a folder that goes with the test.
pub(crate) fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
    // a login other than root must be able to reach what lies in it
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}

/// Runs a tool that must succeed.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// An RSA key that all servers of a run share: making one takes longer than most of the tests.
fn rsa_key() -> &'static Utf8Path {
    static KEY: OnceLock<(tempfile::TempDir, Utf8PathBuf)> = OnceLock::new();
    let (_, path) = KEY.get_or_init(|| {
        let (folder, path) = folder();
        let path = path.join("key");
        tool(
            "ssh-keygen",
            &["-q", "-t", "rsa", "-N", "", "-C", "", "-f", path.as_str()],
        );
        (folder, path)
    });
    path
}

/// A running sshd.
pub(crate) struct Sshd {
    pub(crate) port: u16,
    pub(crate) path: Utf8PathBuf,
    child: Child,
    _folder: tempfile::TempDir,
}

/// Starts sshd in a prepared folder and waits until it greets.
fn serve(path: &Utf8Path) -> Option<(u16, Child)> {
    // should another process take the port before sshd does, the next attempt has another
    let port = ports::unused();
    let keys: String = ["ed25519", "ecdsa", "rsa"]
        .map(|kind| format!("HostKey {path}/host_{kind}\n"))
        .concat();
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\n{keys}AuthorizedKeysFile {path}/authorized_keys\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nMaxStartups 100\nLogLevel DEBUG1\n"
    );
    fs_err::write(path.join("sshd_config"), config).unwrap();
    let log = fs_err::File::create(path.join("log")).unwrap();
    let mut child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f", path.join("sshd_config").as_str()])
        .stdin(Stdio::null())
        .stderr(log.into_parts().0)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
        if greets(port) {
            return Some((port, child));
        }
        thread::sleep(Duration::from_millis(30));
    }
    // it may have ended by itself
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn greets(port: u16) -> bool {
    let mut banner = [0; 4];
    TcpStream::connect(("127.0.0.1", port))
        .is_ok_and(|mut stream| stream.read_exact(&mut banner).is_ok() && banner == *b"SSH-")
}

impl Sshd {
    /// Starts one that lets in `client.pub` of its own folder, as any user.
    pub(crate) fn start() -> Self {
        let (folder, path) = folder();
        fs_err::create_dir_all("/run/sshd").unwrap();
        fs_err::copy(rsa_key(), path.join("host_rsa")).unwrap();
        fs_err::copy(rsa_key().with_extension("pub"), path.join("host_rsa.pub")).unwrap();
        for kind in ["ed25519", "ecdsa"] {
            tool(
                "ssh-keygen",
                &[
                    "-q",
                    "-t",
                    kind,
                    "-N",
                    "",
                    "-C",
                    "",
                    "-f",
                    path.join(format!("host_{kind}")).as_str(),
                ],
            );
        }
        tool(
            "ssh-keygen",
            &[
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                "client",
                "-f",
                path.join("client").as_str(),
            ],
        );
        fs_err::copy(path.join("client.pub"), path.join("authorized_keys")).unwrap();
        for _ in 0..5 {
            if let Some((port, child)) = serve(&path) {
                return Self {
                    port,
                    path,
                    child,
                    _folder: folder,
                };
            }
        }
        panic!(
            "sshd does not start: {}",
            fs_err::read_to_string(path.join("log")).unwrap()
        );
    }

    pub(crate) fn log(&self) -> String {
        fs_err::read_to_string(self.path.join("log")).unwrap()
    }

    /// The public host key of a type, as `*.pub` has it.
    pub(crate) fn host_key(&self, kind: &str) -> String {
        fs_err::read_to_string(self.path.join(format!("host_{kind}.pub")))
            .unwrap()
            .trim()
            .to_owned()
    }

    /// Writes a known_hosts file and returns its path.
    pub(crate) fn known_hosts(&self, text: &str) -> Utf8PathBuf {
        let path = self.path.join("known_hosts");
        fs_err::write(&path, text).unwrap();
        path
    }

    /// The line a known_hosts file needs for this server.
    pub(crate) fn known_line(&self, kind: &str) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, self.host_key(kind))
    }

    /// The `ssh` mapping of an inventory that reaches this server with its right key.
    pub(crate) fn ssh(&self) -> String {
        format!(
            "address: 127.0.0.1, port: {}, keyPath: {}/client, hostKey: \"{}\"",
            self.port,
            self.path,
            self.host_key("ed25519")
        )
    }

    /// Ends every login, and leaves the server.
    pub(crate) fn cut(&self) {
        // it fails when there are none
        let listed = Command::new("ps")
            .args(["-o", "pid=", "--ppid", &self.child.id().to_string()])
            .output()
            .unwrap();
        for pid in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
            // the login may have ended by itself
            let _ = Command::new("kill")
                .args(["-9", pid])
                .stderr(Stdio::null())
                .status();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.cut();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the operator's side answers in these tests.
#[derive(Default)]
pub(crate) struct Operator {
    pub(crate) secret: Option<&'static str>,
    pub(crate) home: Option<Utf8PathBuf>,
    pub(crate) agent: Option<Utf8PathBuf>,
}

impl SecretSource for Operator {
    fn env(&self, _name: &str) -> Option<SecretString> {
        self.secret.map(SecretString::from)
    }

    fn prompt(&self, _what: &str) -> std::io::Result<Option<SecretString>> {
        Ok(self.secret.map(SecretString::from))
    }

    fn home(&self) -> Option<Utf8PathBuf> {
        self.home.clone()
    }

    fn ssh_agent(&self) -> Option<Utf8PathBuf> {
        self.agent.clone()
    }
}

/// A host with this `ssh` mapping, and further keys of its own.
pub(crate) fn host(ssh: &str, more: &str) -> Host {
    let text = format!(
        "apiVersion: airgap/v1\nkind: Inventory\nmetadata: {{name: t}}\nsite: onprem\nregistry: {{endpoint: r.x, project: a, push: {{username: a, password: {{env: P}}}}}}\n\
         hosts: [{{name: n1, role: server, ssh: {{{ssh}}}{more}}}]\n"
    );
    let mut inventory = Inventory::from_yaml(&text, Utf8Path::new("/inventory/hosts.yaml"))
        .unwrap_or_else(|problems| panic!("{problems:#?}"));
    inventory.hosts.remove(0)
}

/// Connects to a host.
pub(crate) fn connect(
    host: &Host,
    operator: &Operator,
) -> Result<Box<dyn Connection>, ConnectionError> {
    connection::open(host, &Secrets::new(operator, Utf8Path::new("/inventory")))
}

/// Connects as root with the server's own client key.
pub(crate) fn root(sshd: &Sshd) -> Box<dyn Connection> {
    connect(&host(&sshd.ssh(), ""), &Operator::default()).unwrap()
}

/// Shows an error with its causes, as the command line does.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
