//! Tells systemd that the service is up.

use std::os::unix::net::UnixDatagram;

use super::log;

/// Sends `READY=1` where systemd asked for it.
pub(crate) fn ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1\n", path));
    if let Err(error) = sent {
        log::warn(format!("sd_notify failed: {error}"));
    }
}
