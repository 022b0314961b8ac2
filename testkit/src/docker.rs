//! A Docker engine of the harness's own: started by hand, with its own data, socket and pid file, ended by the last user.
//!
//! Invariant: only an engine that this harness started (its pid file lies in the harness's own run directory) is ever ended, and only
//! containers, networks and firewall rules with the harness's label are removed.

use fs_err::File;
use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

use crate::cluster::Error;

/// The label of everything the harness makes; its value is the pid of the process that made it.
pub(crate) const LABEL: &str = "airgap.testkit";

/// A handle on the engine.
#[derive(Debug)]
pub struct Docker {
    run: Utf8PathBuf,
    users: Option<File>,
    /// The engine itself, where this process started it: a child has to be waited for.
    engine: Option<Child>,
}

/// Where the harness keeps what outlives a run: `AIRGAP_TESTKIT_STATE`, else `testkit` in cargo's target directory.
#[must_use]
pub fn state_dir() -> Utf8PathBuf {
    if let Ok(path) = std::env::var("AIRGAP_TESTKIT_STATE") {
        return path.into();
    }
    let exe = std::env::current_exe()
        .ok()
        .and_then(|path| Utf8PathBuf::from_path_buf(path).ok());
    let target = exe.as_deref().and_then(|exe| {
        exe.ancestors()
            .find(|dir| dir.join("CACHEDIR.TAG").exists())
    });
    target.map_or_else(
        || "/var/tmp/airgap-testkit".into(),
        |dir| dir.join("testkit"),
    )
}

impl Docker {
    /// Starts the engine, or joins the users of the one that runs.
    ///
    /// # Errors
    /// Fails where dockerd cannot be started; its log is named.
    pub fn start() -> Result<Self, Error> {
        let state = state_dir();
        let mut docker = Self::at(&state)?;
        let gate = docker.gate()?;
        if !docker.answers() {
            docker.launch(&state)?;
        }
        docker.enlist()?;
        drop(gate);
        Ok(docker)
    }

    /// Joins the users of the engine if it runs.
    pub(crate) fn join() -> Result<Option<Self>, Error> {
        let mut docker = Self::at(&state_dir())?;
        let gate = docker.gate()?;
        if !docker.answers() {
            return Ok(None);
        }
        docker.enlist()?;
        drop(gate);
        Ok(Some(docker))
    }

    fn at(state: &Utf8Path) -> Result<Self, Error> {
        fs_err::create_dir_all(state)?;
        let name = hex::encode(sha2_short(state.as_str()));
        let run = Utf8PathBuf::from(format!("/run/airgap-testkit-{name}"));
        fs_err::create_dir_all(&run)?;
        Ok(Self {
            run,
            users: None,
            engine: None,
        })
    }

    fn enlist(&mut self) -> Result<(), Error> {
        let users = File::create(self.run.join("users.lock"))?;
        users.lock_shared()?;
        self.users = Some(users);
        Ok(())
    }

    /// One process at a time starts or ends the engine.
    fn gate(&self) -> Result<File, Error> {
        let gate = File::create(self.run.join("gate.lock"))?;
        gate.lock()?;
        Ok(gate)
    }

    fn answers(&self) -> bool {
        self.command(&["version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    fn launch(&mut self, state: &Utf8Path) -> Result<(), Error> {
        let log_path = state.join("dockerd.log");
        let log = File::create(&log_path)?.into_file();
        let config = self.run.join("daemon.json");
        fs_err::write(&config, "{}")?;
        let pid_file = self.run.join("docker.pid");
        // a pid file without an engine that answers is one of a run that was killed
        let _ = fs_err::remove_file(&pid_file);
        // the firewall is ours: the engine's own chains would be shared with any other engine on the machine
        let engine = Command::new("dockerd")
            .args([
                "--config-file",
                config.as_str(),
                "--data-root",
                state.join("docker").as_str(),
                "--exec-root",
                self.run.join("exec").as_str(),
            ])
            .args([
                "--pidfile",
                pid_file.as_str(),
                "--host",
                &format!("unix://{}", self.socket()),
            ])
            .args([
                "--bridge=none",
                "--iptables=false",
                "--ip-forward=false",
                "--ip-masq=false",
                "--userland-proxy=false",
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group_of_its_own()
            .spawn()
            .map_err(|source| Error::Tool {
                tool: "dockerd",
                source,
            })?;
        self.engine = Some(engine);
        let start = Instant::now();
        while !self.answers() {
            if start.elapsed() > Duration::from_mins(5) {
                return Err(Error::Engine { log: log_path });
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn socket(&self) -> Utf8PathBuf {
        self.run.join("docker.sock")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        // Debian's client, where another one comes first on the path
        let client = if Utf8Path::new("/usr/bin/docker").exists() {
            "/usr/bin/docker"
        } else {
            "docker"
        };
        let mut command = Command::new(client);
        command
            .arg("--host")
            .arg(format!("unix://{}", self.socket()))
            .args(args)
            .env_remove("DOCKER_CONTEXT")
            .env_remove("DOCKER_HOST");
        command
    }

    /// Runs one client command; its standard output, trimmed.
    ///
    /// # Errors
    /// Fails with the client's own words where it does.
    pub fn run(&self, args: &[&str]) -> Result<String, Error> {
        text(args, &self.command(args).stdin(Stdio::null()).output()?)
    }

    /// Runs one client command with `input` on its standard input.
    ///
    /// # Errors
    /// As [`Docker::run`].
    pub fn feed(&self, args: &[&str], input: &[u8]) -> Result<String, Error> {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // a command that ended early says why itself
            let _ = stdin.write_all(input);
        }
        text(args, &child.wait_with_output()?)
    }

    fn ended(&mut self, pid: u32) -> bool {
        match &mut self.engine {
            Some(engine) => !matches!(engine.try_wait(), Ok(None)),
            None => !Utf8Path::new("/proc").join(pid.to_string()).exists(),
        }
    }

    fn stop(&mut self) {
        let Ok(gate) = self.gate() else { return };
        match self.users.take() {
            Some(users) => {
                let _ = users.unlock();
                if users.try_lock().is_err() {
                    return;
                }
            }
            // neither joined nor started by this handle: not its to end
            None if self.engine.is_none() => return,
            None => {}
        }
        let pid = fs_err::read_to_string(self.run.join("docker.pid")).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse::<u32>() {
            // the engine ends its containerd and its shims itself
            let _ = Command::new("kill")
                .arg(pid.to_string())
                .stderr(Stdio::null())
                .status();
            let start = Instant::now();
            while start.elapsed() < Duration::from_mins(2) && !self.ended(pid) {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        drop(gate);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn text(args: &[&str], output: &Output) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let command = args.first().copied().unwrap_or_default().to_owned();
    Err(Error::Docker {
        command,
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn sha2_short(text: &str) -> [u8; 4] {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(text.as_bytes());
    [hash[0], hash[1], hash[2], hash[3]]
}

/// Keeps a terminal's Ctrl-C from reaching a child before the harness has cleaned up.
trait OwnGroup {
    fn process_group_of_its_own(&mut self) -> &mut Self;
}

impl OwnGroup for Command {
    fn process_group_of_its_own(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::process_group(self, 0)
    }
}
