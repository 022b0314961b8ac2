//! What the stand-in programs share: reading their files, and ending when their starter does.

use std::io;

use camino::Utf8Path;
use serde::de::DeserializeOwned;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Reads a YAML file; what is wrong with it is named with its path.
pub fn read_yaml<T: DeserializeOwned>(path: &Utf8Path) -> io::Result<T> {
    let text = fs_err::read_to_string(path)?;
    serde_saphyr::from_str(&text)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {error}")))
}

/// Reads a secret from a file, without the line end.
pub fn read_secret(path: &Utf8Path) -> io::Result<String> {
    Ok(fs_err::read_to_string(path)?
        .trim_end_matches(['\r', '\n'])
        .to_owned())
}

/// Waits for SIGTERM, SIGINT or the end of stdin.
///
/// # Panics
/// Panics when signals cannot be received.
pub fn wait_for_end() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime can be made");
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).expect("signals can be received");
        let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be received");
        let (closed, stdin) = oneshot::channel();
        std::thread::spawn(move || {
            drop(io::copy(&mut io::stdin(), &mut io::sink()));
            let _ = closed.send(());
        });
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = stdin => {}
        }
    });
}
