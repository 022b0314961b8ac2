//! A running command's streams over SSH.
//!
//! libssh2 must be asked for nothing else between the parts of a packet that the socket did not take at once; reads wait for that.

use std::{
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use ssh2::{Channel, Stream};

use super::{
    exchange::Streams,
    ssh::{EAGAIN, KEEPALIVE, Line, sends, wait_for},
};

/// A command's streams over SSH.
pub(super) struct Remote<'a> {
    line: &'a Line,
    channel: Channel,
    stderr: Stream,
    /// libssh2 has sent part of a packet: until the rest is gone it must be asked for nothing else.
    half_sent: bool,
    next_keepalive: Instant,
    broken: &'a mut bool,
}

impl<'a> Remote<'a> {
    pub(super) fn new(line: &'a Line, channel: Channel, broken: &'a mut bool) -> Self {
        let stderr = channel.stderr();
        Self {
            line,
            channel,
            stderr,
            half_sent: false,
            next_keepalive: Instant::now() + KEEPALIVE,
            broken,
        }
    }

    /// Takes note whether libssh2 stopped in the middle of a packet.
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        let waits = result
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.half_sent = waits && sends(&self.line.session);
        result
    }
}

impl Streams for Remote<'_> {
    fn read_stdout(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.half_sent {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            self.channel.read(buffer)
        }
    }

    fn read_stderr(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.half_sent {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            self.stderr.read(buffer)
        }
    }

    fn write_stdin(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.channel.eof() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let result = self.channel.write(bytes);
        self.note(result)
    }

    fn close_stdin(&mut self) -> io::Result<()> {
        let result = self.channel.send_eof().map_err(io::Error::from);
        self.note(result)
    }

    fn ended(&mut self) -> bool {
        self.channel.eof()
    }

    fn wait(&mut self, _writing: bool, at_most: Duration) -> io::Result<()> {
        if !self.half_sent && Instant::now() >= self.next_keepalive {
            self.next_keepalive = Instant::now() + KEEPALIVE;
            match self.line.session.keepalive_send() {
                Err(error) if error.code() != EAGAIN => return Err(error.into()),
                _ => {}
            }
        }
        wait_for(&self.line.session, &self.line.socket, at_most)
    }

    fn status(&mut self, at_most: Duration) -> io::Result<i32> {
        let deadline = Instant::now() + at_most;
        loop {
            match self.channel.wait_close() {
                Ok(()) => break,
                Err(error) if error.code() == EAGAIN => {
                    let left = deadline
                        .checked_duration_since(Instant::now())
                        .ok_or(io::ErrorKind::TimedOut)?;
                    wait_for(&self.line.session, &self.line.socket, left.min(KEEPALIVE))?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let signal = self.channel.exit_signal()?.exit_signal;
        match signal {
            None => Ok(self.channel.exit_status()?),
            Some(name) => Ok(128 + signal_number(&name)),
        }
    }

    fn abandon(&mut self) {
        *self.broken = true;
        // the host's side then sees the end of the connection, and its script removes what it was writing
        let _ = rustix::net::shutdown(&self.line.socket, rustix::net::Shutdown::Both);
    }
}

fn signal_number(name: &str) -> i32 {
    match name {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ABRT" => 6,
        "KILL" => 9,
        "SEGV" => 11,
        "PIPE" => 13,
        "ALRM" => 14,
        "TERM" => 15,
        _ => 0,
    }
}
