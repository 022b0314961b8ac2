//! A host over SSH, through libssh2: one session, one command at a time.
//!
//! No session exists that [`Login::judge`] has not let pass. A session that broke is dropped, and the next command logs in anew.
//! While nothing runs, a small thread keeps the session alive, so that firewalls and sshd do not end it between phases.

use std::{
    fmt,
    io::{self, Read},
    net::{TcpStream, ToSocketAddrs},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError, TryLockError, mpsc},
    thread,
    time::Duration,
};

use camino::Utf8Path;
use rustix::event::{PollFd, PollFlags, poll};
use ssh2::{BlockDirections, Channel, ErrorCode, MethodType, Session};

use super::{
    Connection, ConnectionError, Elevation, Put, PutOutcome, SudoFailure, bastion,
    exchange::{Input, converse, line},
    local::timespec,
    login::Login,
    remote::Remote,
    transfer::{self, Exactly},
};
use crate::{Command, HostKey, Output};

/// AES-GCM first: it is the fastest where processors help with AES, and libssh2's own first choice is half as fast.
const CIPHERS: &str = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr";
/// No SHA-1, no CBC, nothing below 2048 bits.
const KEY_EXCHANGES: &str = "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group18-sha512,diffie-hellman-group16-sha512,diffie-hellman-group-exchange-sha256,diffie-hellman-group14-sha256";
const MACS: &str =
    "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512";
const HOST_KEYS: &[&str] = &[
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
];
pub(super) const KEEPALIVE: Duration = Duration::from_secs(15);
/// A peer that has not acknowledged anything for this long is gone.
const DEAD_AFTER: Duration = Duration::from_mins(1);
/// How long opening a channel may take.
const OPEN_LIMIT_MS: u32 = 30_000;
/// What libssh2 says when it would have to wait.
pub(super) const EAGAIN: ErrorCode = ErrorCode::Session(-37);
/// sshd drops connections at random while many others log in.
const ATTEMPTS: u32 = 4;

/// One host over SSH.
pub(super) struct SshConnection {
    host: String,
    login: Login,
    sudo: Option<Elevation>,
    live: Option<Live>,
}

impl fmt::Debug for SshConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshConnection")
            .field("host", &self.host)
            .field("connected", &self.live.is_some())
            .finish_non_exhaustive()
    }
}

/// A session that has been let pass and has logged in.
struct Live {
    line: Arc<Mutex<Line>>,
    /// Dropping it ends the keep-alive thread.
    _keeper: mpsc::Sender<()>,
}

/// A session and the socket under it.
pub(super) struct Line {
    pub(super) session: Session,
    pub(super) socket: OwnedFd,
}

impl SshConnection {
    pub(super) fn new(host: &str, login: Login, sudo: Option<Elevation>) -> Self {
        Self {
            host: host.to_owned(),
            login,
            sudo,
            live: None,
        }
    }

    /// Connects and logs in, unless that is done already.
    pub(super) fn connect(&mut self) -> Result<(), ConnectionError> {
        if self.live.is_none() {
            let line = establish(&self.login)?;
            line.session
                .set_keepalive(true, u32::try_from(KEEPALIVE.as_secs()).unwrap_or(15));
            line.session.set_blocking(false);
            let line = Arc::new(Mutex::new(line));
            self.live = Some(Live {
                _keeper: keep_alive(&line),
                line,
            });
        }
        Ok(())
    }

    fn execute(
        &mut self,
        command: &Command,
        stdin: &mut dyn Read,
        gate: Option<&'static str>,
    ) -> Result<Output, ConnectionError> {
        self.connect()?;
        let user = &self.login.target.user;
        let sudo = command.needs_root() && user != "root";
        if sudo && self.sudo.is_none() {
            return Err(super::sudo_failure(
                &self.host,
                user,
                SudoFailure::NotConfigured,
            ));
        }
        let lost = |source| ConnectionError::Lost {
            host: self.host.clone(),
            during: command.to_string(),
            source,
        };
        let Some(live) = &self.live else {
            return Err(lost(io::ErrorKind::NotConnected.into()));
        };
        let shared = Arc::clone(&live.line);
        let line_guard = shared.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::debug!(host = self.host, command = %command, "run");
        let opened = start(&line_guard.session, &line(&command.line(), sudo));
        let mut broken = false;
        let result = match opened {
            Err(error) => {
                broken = true;
                Err(lost(error.into()))
            }
            Ok(channel) => {
                let mut streams = Remote::new(&line_guard, channel, &mut broken);
                let password = self.sudo.as_ref().and_then(|sudo| sudo.password.as_ref());
                converse(
                    &mut streams,
                    Input {
                        password,
                        stdin,
                        gate,
                        limit: command.time_limit(),
                        sudo,
                    },
                )
                .map_err(|end| super::broken(&self.host, user, command, end))
            }
        };
        drop(line_guard);
        if broken {
            self.live = None;
        }
        result
    }
}

impl Connection for SshConnection {
    fn host(&self) -> &str {
        &self.host
    }

    fn run(&mut self, command: &Command) -> Result<Output, ConnectionError> {
        let mut stdin = command
            .input()
            .map(secrecy::ExposeSecret::expose_secret)
            .unwrap_or_default();
        self.execute(command, &mut stdin, None)
    }

    fn put(&mut self, file: &Put, content: &mut dyn Read) -> Result<PutOutcome, ConnectionError> {
        let result = self.execute(
            &transfer::put_command(file),
            &mut Exactly::new(content, file.size),
            Some(transfer::SEND),
        );
        transfer::put_outcome(&self.host, file, &transfer::name_source(file, result)?)
    }

    fn read(&mut self, path: &Utf8Path) -> Result<Option<Vec<u8>>, ConnectionError> {
        let output = self.run(&transfer::read_command(path))?;
        transfer::read_outcome(&self.host, path, output)
    }
}

/// Opens a channel and starts a command in it.
fn start(session: &Session, line: &str) -> Result<Channel, ssh2::Error> {
    session.set_blocking(true);
    session.set_timeout(OPEN_LIMIT_MS);
    let channel = session
        .channel_session()
        .and_then(|mut channel| channel.exec(line).map(|()| channel));
    session.set_blocking(false);
    channel
}

/// Connects, checks the host's key, and logs in; through the bastion if there is one.
pub(super) fn establish(login: &Login) -> Result<Line, ConnectionError> {
    let line = greet(login, None)?;
    let (key, _) = line
        .session
        .host_key()
        .ok_or_else(|| protocol(login, "host key", io::ErrorKind::InvalidData.into()))?;
    let key = HostKey::from_blob(key.to_vec())
        .ok_or_else(|| protocol(login, "host key", io::ErrorKind::InvalidData.into()))?;
    login.judge(&key)?;
    login.authenticate(&line.session)?;
    Ok(line)
}

/// Connects up to the point where the host has shown its key, and no further: of the type `kind`, if one is given.
pub(super) fn greet(login: &Login, kind: Option<&str>) -> Result<Line, ConnectionError> {
    let mut attempt = 1;
    loop {
        let result = greet_once(login, kind);
        match result {
            Err(ConnectionError::Unreachable { ref source, .. })
                if attempt < ATTEMPTS
                    && matches!(
                        source.kind(),
                        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
                    ) =>
            {
                thread::sleep(Duration::from_millis(250 << attempt));
                attempt += 1;
            }
            other => return other,
        }
    }
}

fn greet_once(login: &Login, kind: Option<&str>) -> Result<Line, ConnectionError> {
    let timeout = login.target.connect_timeout;
    let mut session = Session::new().map_err(|error| protocol(login, "set-up", error.into()))?;
    session.set_timeout(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
    let host_keys = kind.map_or_else(
        || host_key_preference(&login.known_kinds()),
        |kind| host_key_algorithms(kind).join(","),
    );
    for (method, preference) in [
        (MethodType::Kex, KEY_EXCHANGES),
        (MethodType::HostKey, &host_keys),
        (MethodType::CryptCs, CIPHERS),
        (MethodType::CryptSc, CIPHERS),
        (MethodType::MacCs, MACS),
        (MethodType::MacSc, MACS),
    ] {
        session
            .method_pref(method, preference)
            .map_err(|error| protocol(login, "choice of algorithms", error.into()))?;
    }
    let socket = if let Some(bastion) = &login.bastion {
        let stream = bastion::hop(establish(bastion)?, &login.target)
            .map_err(|source| unreachable(login, source))?;
        let socket = stream
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| unreachable(login, source))?;
        session.set_tcp_stream(stream);
        socket
    } else {
        let stream = dial(&login.target.address, login.target.port, timeout)
            .map_err(|source| unreachable(login, source))?;
        let socket = stream
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| unreachable(login, source))?;
        session.set_tcp_stream(stream);
        socket
    };
    session.handshake().map_err(|error| match error.code() {
        // no banner: the port answered, and hung up or speaks something else
        ErrorCode::Session(-2 | -13 | -43 | -45) => unreachable(
            login,
            io::Error::new(
                io::ErrorKind::ConnectionReset,
                format!("no SSH greeting: {}", error.message()),
            ),
        ),
        ErrorCode::Session(-9 | -30) => unreachable(
            login,
            io::Error::new(io::ErrorKind::TimedOut, error.message().to_owned()),
        ),
        _ => protocol(login, "handshake", error.into()),
    })?;
    Ok(Line { session, socket })
}

/// Connects to the first of a name's addresses that answers.
fn dial(address: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in (address, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
                rustix::net::sockopt::set_tcp_user_timeout(
                    &stream,
                    u32::try_from(DEAD_AFTER.as_millis()).unwrap_or(60_000),
                )?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Puts the algorithms of the key types on record first, so that a host with several keys shows the one we know.
fn host_key_preference(known: &[String]) -> String {
    let mut preference: Vec<&str> = known
        .iter()
        .flat_map(|kind| host_key_algorithms(kind))
        .collect();
    preference.extend(HOST_KEYS);
    let mut seen = std::collections::BTreeSet::new();
    preference.retain(|algorithm| seen.insert(*algorithm));
    preference.join(",")
}

/// Returns the signature algorithms of a key type: none but RSA has several.
fn host_key_algorithms(kind: &str) -> Vec<&'static str> {
    HOST_KEYS
        .iter()
        .copied()
        .filter(|name| *name == kind || (kind == "ssh-rsa" && name.starts_with("rsa-sha2")))
        .collect()
}

fn unreachable(login: &Login, source: io::Error) -> ConnectionError {
    let way = login.bastion.as_ref().map_or_else(String::new, |bastion| {
        format!(
            " through {}:{}",
            bastion.target.address, bastion.target.port
        )
    });
    ConnectionError::Unreachable {
        host: login.host.clone(),
        address: format!("{}:{}{way}", login.target.address, login.target.port),
        source,
    }
}

fn protocol(login: &Login, step: &'static str, source: io::Error) -> ConnectionError {
    ConnectionError::Protocol {
        host: login.host.clone(),
        step,
        source,
    }
}

/// Starts the thread that keeps an idle session alive, until the sender is dropped.
fn keep_alive(line: &Arc<Mutex<Line>>) -> mpsc::Sender<()> {
    let (sender, receiver) = mpsc::channel();
    let line = Arc::downgrade(line);
    thread::spawn(move || {
        while receiver.recv_timeout(KEEPALIVE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let Some(line) = line.upgrade() else { break };
            match line.try_lock() {
                Ok(line) => drop(line.session.keepalive_send()),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Poisoned(_)) => break,
            }
        }
    });
    sender
}

/// Tells whether libssh2 waits for the socket to take more.
pub(super) fn sends(session: &Session) -> bool {
    matches!(
        session.block_directions(),
        BlockDirections::Outbound | BlockDirections::Both
    )
}

/// Waits until the socket is ready for what libssh2 wants to do next.
pub(super) fn wait_for(session: &Session, socket: &OwnedFd, at_most: Duration) -> io::Result<()> {
    let mut flags = PollFlags::IN;
    if sends(session) {
        flags |= PollFlags::OUT;
    }
    match poll(&mut [PollFd::new(socket, flags)], Some(&timespec(at_most))) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
