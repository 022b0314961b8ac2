//! Commands, run without anything of the user's, and what came of them.

use std::fmt::Write as _;
use std::io::Read as _;
use std::process::{Command, Output};
use std::sync::LazyLock;

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

/// The binary under test; of a debug build a copy without debug information, which is too large to be handed over.
pub(crate) fn binary() -> Utf8PathBuf {
    static STRIPPED: LazyLock<Utf8PathBuf> = LazyLock::new(|| {
        let debug = Utf8PathBuf::from(env!("CARGO_BIN_EXE_airgap"));
        let target = Utf8Path::new(env!("CARGO_TARGET_TMPDIR")).join("airgap");
        let done = Command::new("strip")
            .args(["-o", target.as_str(), debug.as_str()])
            .status();
        if done.is_ok_and(|status| status.success()) {
            target
        } else {
            debug
        }
    });
    std::env::var("AIRGAP_BIN").map_or_else(|_| STRIPPED.clone(), Utf8PathBuf::from)
}

/// What a command did.
#[must_use = "an outcome is asserted on"]
pub(crate) struct Outcome {
    pub(crate) command: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn of(command: &str, output: &Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let status = output.status;
        Self {
            command: command.to_owned(),
            code: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The whole of it, for messages.
    pub(crate) fn transcript(&self) -> String {
        let mut text = format!("$ {}\n{}", self.command, self.stdout);
        let _ = write!(text, "{}[exit code {}]", self.stderr, self.code);
        text
    }

    /// Returns standard output of a command that succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.transcript());
        self.stdout
    }

    /// Asserts the exit code of a command that must not succeed, and words of its message.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}", self.transcript());
        for word in words {
            assert!(
                self.stderr.contains(word),
                "{word:?} is not said:\n{}",
                self.transcript()
            );
        }
        self
    }

    /// Returns the JSON document of a command that succeeded.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let transcript = self.transcript();
        serde_json::from_str(&self.ok()).unwrap_or_else(|error| panic!("{error}\n{transcript}"))
    }
}

/// The sha256 of a file as an OCI digest.
pub(crate) fn sha256(path: &Utf8Path) -> String {
    let mut file = fs_err::File::open(path).unwrap();
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).unwrap();
        if read == 0 {
            return format!("sha256:{}", hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}
