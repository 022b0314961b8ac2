//! What the stand-in programs share: reading their files, and ending when their starter does.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

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

/// Refuses an address that machines outside could reach: only loopback and private networks are served.
pub fn check_listen(address: SocketAddr) -> io::Result<()> {
    let private = match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    };
    if private {
        return Ok(());
    }
    let message = format!("{address} is neither loopback nor of a private network");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Waits for SIGTERM, SIGINT or the end of stdin.
///
/// # Panics
/// Panics when signals cannot be received.
pub fn wait_for_end() {
    let (closed, stdin) = oneshot::channel();
    std::thread::spawn(move || {
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        let _ = closed.send(());
    });
    wait(async move { drop(stdin.await) });
}

/// Waits for SIGTERM or SIGINT.
///
/// # Panics
/// Panics when signals cannot be received.
pub fn wait_for_signal() {
    wait(std::future::pending());
}

fn wait(other: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime can be made");
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).expect("signals can be received");
        let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be received");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = other => {}
        }
    });
}
