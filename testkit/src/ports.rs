//! Ports for programs that bind them only later.
//!
//! A port that the kernel hands out is handed out again once it is closed: to another test, or to a client's end of a connection. These lie
//! below the range it hands out by itself (`ip_local_port_range`, 32768 and up), and a process gives each of them once.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

static GIVEN: AtomicU16 = AtomicU16::new(0);

/// Returns a port of 127.0.0.1 that nobody listens at and that this process has not given before.
///
/// # Panics
/// Panics when all of them are taken.
#[must_use]
pub fn unused() -> u16 {
    listener().1
}

/// Listens at a port of 127.0.0.1 that this process has not given before.
pub(crate) fn listener() -> (TcpListener, u16) {
    // processes begin at places of their own
    let begin = std::process::id().wrapping_mul(61) % u32::from(COUNT);
    let begin = u16::try_from(begin).unwrap_or_default();
    for _ in 0..COUNT {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (begin + given) % COUNT;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return (listener, port);
        }
    }
    panic!("ports {FIRST} to {} are all taken", FIRST + COUNT - 1);
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, thread};

    use super::*;

    #[test]
    fn a_port_is_given_once_and_never_while_it_is_in_use() {
        let taken = TcpListener::bind(("127.0.0.1", unused())).unwrap();
        let given: Vec<u16> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..20).map(|_| unused()).collect::<Vec<_>>()))
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        let distinct: BTreeSet<u16> = given.iter().copied().collect();
        assert_eq!(distinct.len(), given.len());
        assert!(!distinct.contains(&taken.local_addr().unwrap().port()));
    }
}
