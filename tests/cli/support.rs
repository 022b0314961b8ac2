//! A folder of its own for each test, and commands run in it without anything of the user's.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};

/// A test's own world.
pub(crate) struct World {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// What a command did.
#[must_use = "either snapshot the outcome or assert on it"]
pub(crate) struct Outcome {
    /// What was typed.
    pub(crate) command: String,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// The exit code.
    pub(crate) code: i32,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    /// Sets an environment variable for all commands.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.folder.path()).unwrap().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs_err::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path(name)).unwrap()
    }

    /// Runs `airgap` with arguments as they would be typed, without quoting.
    pub(crate) fn airgap(&self, arguments: &str) -> Outcome {
        let output = self
            .command(env!("CARGO_BIN_EXE_airgap"))
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        self.outcome(format!("airgap {arguments}"), &output)
    }

    /// Runs a line of shell.
    pub(crate) fn shell(&self, line: &str) -> Outcome {
        let output = self
            .command("bash")
            .args(["-euo", "pipefail", "-c", line])
            .output()
            .unwrap();
        self.outcome(line.to_owned(), &output)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Replaces what differs from run to run.
    fn outcome(&self, command: String, output: &std::process::Output) -> Outcome {
        let clean = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes).replace(self.folder.path().to_str().unwrap(), "[DIR]")
        };
        Outcome {
            command,
            stdout: clean(&output.stdout),
            stderr: clean(&output.stderr),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

impl Outcome {
    /// Returns the whole as one text, for a snapshot.
    pub(crate) fn transcript(&self) -> String {
        let mut text = format!("$ {}\n", self.command);
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                // writing to a string cannot fail
                let _ = write!(text, "── {name}\n{stream}");
                if !stream.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
        let _ = writeln!(text, "── exit {}", self.code);
        without_log_names(&text)
    }

    /// Asserts success and returns standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.transcript());
        self.stdout
    }

    /// Parses standard output as the one document of `--json`.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.transcript()))
    }
}

/// A log's name holds time and process.
fn without_log_names(text: &str) -> String {
    let clean = |line: &str| match line.split_once("/log/") {
        Some((before, _)) if before.contains("state/airgap") => format!("{before}/log/[LOG]"),
        _ => line.to_owned(),
    };
    text.lines().map(|line| clean(line) + "\n").collect()
}
