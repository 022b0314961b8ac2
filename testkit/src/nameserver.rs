//! The site's DNS server: answers for the site's own names and writes down every question.
//!
//! A question for any other name is what the tests look for: on a site without internet nothing should ask one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The node that asked.
    pub from: IpAddr,
    /// The name, lower case, without the last dot.
    pub name: String,
}

#[derive(Debug, Default)]
struct Shared {
    names: Mutex<BTreeMap<String, Vec<Ipv4Addr>>>,
    queries: Mutex<Vec<Query>>,
    stop: AtomicBool,
}

/// A running server.
#[derive(Debug)]
pub struct NameServer {
    shared: Arc<Shared>,
    zone: String,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Listens on `address`, port 53; `zone` is the site's own domain.
    ///
    /// # Errors
    /// Fails where the address cannot be bound.
    pub fn start(address: Ipv4Addr, zone: &str) -> std::io::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::from((address, 53)))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || serve(&socket, &own));
        Ok(Self {
            shared,
            zone: zone.to_owned(),
            thread: Some(thread),
        })
    }

    /// Gives a name its addresses; none takes the name away.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        if let Ok(mut names) = self.shared.names.lock() {
            names.insert(name.to_ascii_lowercase(), addresses.to_vec());
        }
    }

    /// Every question so far.
    #[must_use]
    pub fn queries(&self) -> Vec<Query> {
        self.shared
            .queries
            .lock()
            .map(|all| all.clone())
            .unwrap_or_default()
    }

    /// The questions for names outside the site: attempts to reach the internet. Reverse look-ups are none.
    #[must_use]
    pub fn foreign(&self) -> Vec<Query> {
        let own = |name: &str| {
            name == self.zone
                || name.ends_with(&format!(".{}", self.zone))
                || name.rsplit('.').next() == Some("arpa")
                || !name.contains('.')
        };
        self.queries()
            .into_iter()
            .filter(|query| !own(&query.name))
            .collect()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // a panic of the thread has been printed already
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0_u8; 1024];
    while !shared.stop.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let Some((name, kind, end)) = question(&buffer[..length]) else {
            continue;
        };
        let addresses = shared
            .names
            .lock()
            .ok()
            .and_then(|names| names.get(&name).cloned())
            .unwrap_or_default();
        if let Ok(mut queries) = shared.queries.lock() {
            queries.push(Query {
                from: from.ip(),
                name,
            });
        }
        // a lost answer is asked for again
        let _ = socket.send_to(&answer(&buffer[..end], kind, &addresses), from);
    }
}

/// Name, type and end of the question.
fn question(packet: &[u8]) -> Option<(String, u16, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        if length == 0 {
            break;
        }
        if length > 63 {
            return None;
        }
        labels.push(
            String::from_utf8_lossy(packet.get(at + 1..at + 1 + length)?).to_ascii_lowercase(),
        );
        at += length + 1;
    }
    let kind = u16::from_be_bytes([*packet.get(at + 1)?, *packet.get(at + 2)?]);
    packet.get(at + 4)?;
    Some((labels.join("."), kind, at + 5))
}

fn answer(question: &[u8], kind: u16, addresses: &[Ipv4Addr]) -> Vec<u8> {
    let count = if kind == 1 {
        u16::try_from(addresses.len()).unwrap_or(0)
    } else {
        0
    };
    let code = if addresses.is_empty() { 3 } else { 0 };
    let mut packet = question.to_vec();
    packet[2] = 0x85;
    packet[3] = 0x80 | code;
    packet[6..8].copy_from_slice(&count.to_be_bytes());
    packet[8..12].fill(0);
    for address in addresses.iter().take(usize::from(count)) {
        packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        packet.extend(address.octets());
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_and_answered() {
        let mut packet = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        packet.extend(b"\x06Harbor\x04site\x04test\x00\x00\x01\x00\x01");
        let (name, kind, end) = question(&packet).unwrap();
        assert_eq!(
            (name.as_str(), kind, end),
            ("harbor.site.test", 1, packet.len())
        );
        let known = answer(&packet[..end], kind, &[Ipv4Addr::new(10, 0, 0, 5)]);
        assert_eq!(
            (known[3] & 15, &known[known.len() - 4..]),
            (0, &[10, 0, 0, 5][..])
        );
        let unknown = answer(&packet[..end], kind, &[]);
        assert_eq!(unknown[3] & 15, 3);
    }

    #[test]
    fn a_cut_packet_is_ignored() {
        assert!(question(&[0; 13]).is_none());
        assert!(question(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1]).is_none());
    }
}
