//! A hop through a bastion: a socket pair, and a thread that carries bytes between it and a channel of the outer session.
//!
//! The thread alone owns the outer session and never blocks in it: libssh2 guards a session with one lock, so two blocking directions
//! would wait for each other. It ends when either side does.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, poll};
use ssh2::Channel;

use super::{
    local::timespec,
    ssh::{Line, sends},
};
use crate::SshTarget;

const BUFFER: usize = 128 << 10;
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Opens a way from the bastion to the target; the stream is the near end.
pub(super) fn hop(outer: Line, target: &SshTarget) -> io::Result<UnixStream> {
    outer.session.set_blocking(true);
    let channel = outer
        .session
        .channel_direct_tcpip(&target.address, target.port, None)
        .map_err(|error| {
            io::Error::new(
                io::ErrorKind::ConnectionRefused,
                format!("the bastion cannot reach it: {}", error.message()),
            )
        })?;
    outer.session.set_keepalive(true, 15);
    outer.session.set_blocking(false);
    let (near, far) = UnixStream::pair()?;
    far.set_nonblocking(true)?;
    thread::spawn(move || {
        if let Err(error) = Pump::new(outer, channel, far).run() {
            tracing::debug!(%error, "the way through the bastion ended");
        }
    });
    Ok(near)
}

/// Bytes on their way in one direction.
struct Flow {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
    ended: bool,
}

impl Flow {
    fn new() -> Self {
        Self {
            bytes: vec![0; BUFFER],
            from: 0,
            to: 0,
            ended: false,
        }
    }

    fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Takes more if there is nothing left; tells whether anything moved.
    fn fill(&mut self, source: &mut dyn Read) -> io::Result<bool> {
        if !self.is_empty() || self.ended {
            return Ok(false);
        }
        match source.read(&mut self.bytes) {
            Ok(count) => {
                (self.from, self.to) = (0, count);
                self.ended = count == 0;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Passes on what is there; tells whether anything moved.
    fn drain(&mut self, sink: &mut dyn Write) -> io::Result<bool> {
        if self.is_empty() {
            return Ok(false);
        }
        match sink.write(&self.bytes[self.from..self.to]) {
            Ok(count) => {
                self.from += count;
                Ok(count > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

struct Pump {
    outer: Line,
    channel: Channel,
    pipe: UnixStream,
    up: Flow,
    down: Flow,
}

impl Pump {
    fn new(outer: Line, channel: Channel, pipe: UnixStream) -> Self {
        Self {
            outer,
            channel,
            pipe,
            up: Flow::new(),
            down: Flow::new(),
        }
    }

    fn run(mut self) -> io::Result<()> {
        let mut next_keepalive = Instant::now() + KEEPALIVE;
        loop {
            let mut moved = self.up.fill(&mut self.pipe)?;
            let wrote = self.up.drain(&mut self.channel)?;
            moved |= wrote;
            // in the middle of a packet libssh2 must be asked for nothing but the rest of it
            let half_sent = !wrote && !self.up.is_empty() && sends(&self.outer.session);
            if !half_sent {
                moved |= self.down.fill(&mut self.channel)?;
            }
            moved |= self.down.drain(&mut self.pipe)?;
            if (self.up.ended && self.up.is_empty())
                || ((self.down.ended || self.channel.eof()) && self.down.is_empty())
            {
                return Ok(());
            }
            if moved {
                continue;
            }
            if !half_sent && Instant::now() >= next_keepalive {
                next_keepalive = Instant::now() + KEEPALIVE;
                match self.outer.session.keepalive_send() {
                    Err(error) if error.code() != ssh2::ErrorCode::Session(-37) => {
                        return Err(error.into());
                    }
                    _ => {}
                }
            }
            self.wait(half_sent)?;
        }
    }

    fn wait(&self, half_sent: bool) -> io::Result<()> {
        let mut near = PollFlags::empty();
        near.set(PollFlags::IN, self.up.is_empty());
        near.set(PollFlags::OUT, !self.down.is_empty());
        let mut far = PollFlags::empty();
        far.set(PollFlags::IN, self.down.is_empty());
        far.set(PollFlags::OUT, half_sent);
        let mut fds = [
            PollFd::new(&self.pipe, near),
            PollFd::new(&self.outer.socket, far),
        ];
        match poll(&mut fds, Some(&timespec(KEEPALIVE))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
