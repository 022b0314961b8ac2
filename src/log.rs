//! The log file: what happened, for the one who has to find out why it failed.
//!
//! Invariant: no registered secret reaches the file (every write passes [`crate::redact`]), and a
//! log that cannot be written never stops a command. Only this project's own crates are logged:
//! what libraries below say about a request may hold its headers.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use camino::{Utf8Path, Utf8PathBuf};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::redact;

/// Older logs than this many are removed.
const KEEP: usize = 20;

/// This project's crates, which are the only ones logged.
const CRATES: [&str; 7] = [
    "airgap",
    "airgap_archive",
    "airgap_bundler",
    "airgap_installer",
    "airgap_manifests",
    "airgap_registry",
    "airgap_signing",
];

/// Starts logging and returns the file's path, if there is one.
///
/// `verbosity` above zero also shows the log on standard error.
pub(crate) fn start(command: &str, verbosity: u8) -> Option<Utf8PathBuf> {
    let opened = state_dir().and_then(|dir| open(&dir.join("log"), command).ok());
    let (file, path) = match opened {
        Some((file, path)) => (Some(file), Some(path)),
        None => (None, None),
    };
    let file_layer = file.map(|file| {
        let file = Arc::new(Mutex::new(file));
        fmt::layer()
            .with_ansi(false)
            .with_writer(move || Redacted(Arc::clone(&file)))
            .with_filter(filter("debug"))
    });
    let terminal_layer = (verbosity > 0).then(|| {
        fmt::layer()
            .with_ansi(false)
            .without_time()
            .with_target(verbosity > 1)
            .with_writer(|| Redacted(Arc::new(Mutex::new(io::stderr()))))
            .with_filter(filter(if verbosity > 1 { "debug" } else { "info" }))
    });
    // only a second subscriber in one process can make this fail, and then the first one logs
    let _ = tracing_subscriber::registry()
        .with(file_layer)
        .with(terminal_layer)
        .try_init();
    path
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(CRATES.map(|name| format!("{name}={level}")).join(","))
}

/// Returns the folder for what outlives a command: `$XDG_STATE_HOME/airgap`, else
/// `~/.local/state/airgap`.
fn state_dir() -> Option<Utf8PathBuf> {
    let from_env = |name| {
        std::env::var(name)
            .ok()
            .filter(|value| value.starts_with('/'))
    };
    from_env("XDG_STATE_HOME")
        .map(Utf8PathBuf::from)
        .or_else(|| from_env("HOME").map(|home| Utf8PathBuf::from(home).join(".local/state")))
        .map(|dir| dir.join("airgap"))
}

fn open(dir: &Utf8Path, command: &str) -> io::Result<(fs_err::File, Utf8PathBuf)> {
    use fs_err::os::unix::fs::OpenOptionsExt;
    fs_err::create_dir_all(dir)?;
    remove_old(dir)?;
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let path = dir.join(format!("{now}-{command}-{}.log", std::process::id()));
    let file = fs_err::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)?;
    Ok((file, path))
}

/// Names start with the time, so the oldest sort first.
fn remove_old(dir: &Utf8Path) -> io::Result<()> {
    let mut logs: Vec<_> = fs_err::read_dir(dir)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    for old in logs.iter().rev().skip(KEEP - 1) {
        fs_err::remove_file(old)?;
    }
    Ok(())
}

/// A writer that lets no registered secret through. The formatter hands over whole lines.
struct Redacted<W>(Arc<Mutex<W>>);

impl<W: Write> Write for Redacted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = redact::text(&String::from_utf8_lossy(bytes));
        let mut inner = self
            .0
            .lock()
            .map_err(|_| io::Error::other("the log's lock is poisoned"))?;
        inner.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0
            .lock()
            .map_err(|_| io::Error::other("the log's lock is poisoned"))?
            .flush()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn a_registered_secret_never_reaches_the_file() {
        redact::register(&SecretString::from("hunter2hunter2"));
        let buffer = Arc::new(Mutex::new(Vec::new()));
        Redacted(Arc::clone(&buffer))
            .write_all(b"login as ops with hunter2hunter2\n")
            .unwrap();
        assert_eq!(*buffer.lock().unwrap(), b"login as ops with ***\n");
    }

    #[test]
    fn old_logs_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(folder.path()).unwrap();
        for number in 0..30 {
            fs_err::write(dir.join(format!("2026{number:02}-x.log")), "").unwrap();
        }
        let (_file, newest) = open(dir, "verify").unwrap();
        assert!(newest.exists());
        assert!(!dir.join("202600-x.log").exists());
        assert_eq!(fs_err::read_dir(dir).unwrap().count(), KEEP);
    }
}
