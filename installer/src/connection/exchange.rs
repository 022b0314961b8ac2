//! The conversation with one running command, the same over SSH and on this machine.
//!
//! Every command is started by a fixed shell line that says when it has begun, so that
//! - a password is sent only when sudo asks for it, and input only to the command itself;
//! - whatever a login shell prints first is not taken for the command's output;
//! - "sudo would not" and "the command failed" are never confused.
//!
//! Reading and writing never wait for each other, so neither side can block the other.

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::SudoFailure;
use crate::{Output, command::quote};

/// What the fixed line prints once the command is about to run.
const STARTED: &[u8] = b"airgap-started\n";
/// What sudo is told to ask with.
const PROMPT: &str = "airgap-password:";
/// The most that is kept of each output stream.
const OUTPUT_LIMIT: usize = 64 << 20;
/// The most that may come before [`STARTED`].
const PREAMBLE_LIMIT: usize = 64 << 10;
/// After this long, an unfinished line is taken for a prompt that a PAM module worded its own way.
const FOREIGN_PROMPT_AFTER: Duration = Duration::from_secs(3);
const CHUNK: usize = 128 << 10;

/// The fixed start of every command: a sane PATH, messages in English, and the mark.
const STARTER: &str = "PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C; export PATH LC_ALL; echo airgap-started; exec \"$@\"";

/// Returns the line for the host's shell.
pub(super) fn line(command: &str, sudo: bool) -> String {
    let started = format!("/bin/sh -c {} airgap {command}", quote(STARTER));
    if sudo {
        format!("env LC_ALL=C sudo -S -p {PROMPT} -- {started}")
    } else {
        started
    }
}

/// A running command's three streams and its end; reads and writes return [`io::ErrorKind::WouldBlock`] rather than wait.
pub(super) trait Streams {
    /// Reads standard output; 0 at its end.
    fn read_stdout(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Reads standard error; 0 at its end.
    fn read_stderr(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes standard input; [`io::ErrorKind::BrokenPipe`] if the command reads no more.
    fn write_stdin(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Ends standard input.
    fn close_stdin(&mut self) -> io::Result<()>;
    /// Tells whether both output streams have ended.
    fn ended(&mut self) -> bool;
    /// Waits until something may have changed, at most this long. `writing`: there is input to be sent.
    fn wait(&mut self, writing: bool, at_most: Duration) -> io::Result<()>;
    /// Returns the exit status, once the streams have ended, waiting at most this long.
    fn status(&mut self, at_most: Duration) -> io::Result<i32>;
    /// Gives up on the command.
    fn abandon(&mut self);
}

/// What the command is to be given.
pub(super) struct Input<'a> {
    /// For sudo, if the command runs under it and it asks.
    pub(super) password: Option<&'a SecretString>,
    /// Standard input.
    pub(super) stdin: &'a mut dyn Read,
    /// Standard input is held back until standard output begins with this line.
    pub(super) gate: Option<&'static str>,
    /// How long the command may take.
    pub(super) limit: Duration,
    /// Whether the command runs under sudo.
    pub(super) sudo: bool,
}

/// Why a conversation had no proper end.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection failed.
    Lost(io::Error),
    /// The time was up.
    TimedOut,
    /// sudo did not start the command.
    Sudo(SudoFailure),
    /// The host's shell did not start the command.
    NotStarted { status: i32, stderr: String },
    /// The source of standard input failed.
    Source(io::Error),
}

/// What has been heard so far.
#[derive(Default)]
struct Heard {
    started: bool,
    password_sent: bool,
    preamble: Vec<u8>,
    complaint: Vec<u8>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Heard {
    fn stdout(&mut self, bytes: &[u8]) {
        if self.started {
            append(&mut self.stdout, bytes, OUTPUT_LIMIT);
            return;
        }
        append(&mut self.preamble, bytes, PREAMBLE_LIMIT);
        if let Some(at) = find(&self.preamble, STARTED) {
            self.started = true;
            self.stdout = self.preamble.split_off(at + STARTED.len());
        }
    }

    fn stderr(&mut self, bytes: &[u8]) {
        let (buffer, limit) = if self.started {
            (&mut self.stderr, OUTPUT_LIMIT)
        } else {
            (&mut self.complaint, PREAMBLE_LIMIT)
        };
        append(buffer, bytes, limit);
    }

    /// Takes note of a prompt, if sudo waits for an answer.
    fn take_prompt(&mut self, silent_for: Duration) -> bool {
        let line = self
            .complaint
            .rsplit(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let text = String::from_utf8_lossy(line);
        let own = text.trim_end().ends_with(PROMPT);
        let foreign = silent_for >= FOREIGN_PROMPT_AFTER
            && text.trim_end().ends_with(':')
            && !text.starts_with("sudo:");
        if self.started || !(own || foreign) {
            return false;
        }
        self.complaint.clear();
        true
    }

    /// Says why the command never started.
    fn why_not_started(&self, sudo: bool, status: i32) -> Broken {
        let text = String::from_utf8_lossy(&self.complaint).to_lowercase();
        let says = |part: &str| text.contains(part);
        let failure = if !sudo {
            None
        } else if says("try again")
            || says("incorrect password")
            || says("incorrect authentication")
        {
            Some(SudoFailure::WrongPassword)
        } else if says("tty") && says("sudo") && !says("password is required") {
            Some(SudoFailure::NeedsTerminal)
        } else if says("not in the sudoers") || says("not allowed") || says("may not run sudo") {
            Some(SudoFailure::NotAllowed)
        } else if says("password is required") || says("no password was provided") {
            Some(if self.password_sent {
                SudoFailure::WrongPassword
            } else {
                SudoFailure::PasswordNeeded
            })
        } else if status == 127
            || says("sudo: not found")
            || says("command not found")
            || says("no such file")
        {
            Some(SudoFailure::Missing)
        } else if self.password_sent {
            Some(SudoFailure::WrongPassword)
        } else {
            None
        };
        failure.map_or_else(
            || Broken::NotStarted {
                status,
                stderr: super::error::tail(&self.complaint),
            },
            Broken::Sudo,
        )
    }

    fn gate_is_open(&self, gate: Option<&str>) -> bool {
        self.started
            && gate.is_none_or(|gate| {
                self.stdout.starts_with(gate.as_bytes())
                    && self.stdout.get(gate.len()) == Some(&b'\n')
            })
    }
}

/// Holds the conversation to its end.
pub(super) fn converse(streams: &mut dyn Streams, input: Input<'_>) -> Result<Output, Broken> {
    let deadline = Instant::now() + input.limit;
    let result = talk(streams, input, deadline);
    if result.is_err() {
        streams.abandon();
    }
    result
}

fn talk(
    streams: &mut dyn Streams,
    mut input: Input<'_>,
    deadline: Instant,
) -> Result<Output, Broken> {
    let mut heard = Heard::default();
    let mut buffer = vec![0; CHUNK];
    let mut outgoing = Outgoing::default();
    let mut last_heard = Instant::now();
    while !streams.ended() {
        let mut moved = false;
        while let Some(count) = ready(streams.read_stdout(&mut buffer))?.filter(|count| *count > 0)
        {
            heard.stdout(&buffer[..count]);
            moved = true;
        }
        while let Some(count) = ready(streams.read_stderr(&mut buffer))?.filter(|count| *count > 0)
        {
            heard.stderr(&buffer[..count]);
            moved = true;
        }
        if moved {
            last_heard = Instant::now();
        }
        if input.sudo && heard.take_prompt(last_heard.elapsed()) {
            let password = match input.password {
                Some(_) if heard.password_sent => {
                    return Err(Broken::Sudo(SudoFailure::WrongPassword));
                }
                None => return Err(Broken::Sudo(SudoFailure::PasswordNeeded)),
                Some(password) => password,
            };
            heard.password_sent = true;
            outgoing.line(password);
            moved = true;
        }
        let open = heard.gate_is_open(input.gate);
        moved |= outgoing.advance(streams, &mut input, open)?;
        if !moved && !streams.ended() {
            let left = deadline
                .checked_duration_since(Instant::now())
                .ok_or(Broken::TimedOut)?;
            // short enough to notice a prompt that is not ours
            streams
                .wait(outgoing.waits_to_write(), left.min(Duration::from_secs(1)))
                .map_err(Broken::Lost)?;
        }
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let status = match streams.status(left) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(Broken::TimedOut),
        other => other.map_err(Broken::Lost)?,
    };
    if !heard.started {
        return Err(heard.why_not_started(input.sudo, status));
    }
    Ok(Output {
        status,
        stdout: heard.stdout,
        stderr: heard.stderr,
    })
}

/// What is on its way to the command's standard input.
#[derive(Default)]
struct Outgoing {
    bytes: Zeroizing<Vec<u8>>,
    sent: usize,
    exhausted: bool,
    closed: bool,
}

impl Outgoing {
    fn line(&mut self, secret: &SecretString) {
        self.bytes
            .extend_from_slice(secret.expose_secret().as_bytes());
        self.bytes.push(b'\n');
    }

    fn waits_to_write(&self) -> bool {
        self.sent < self.bytes.len()
    }

    /// Sends what can be sent now; tells whether anything moved.
    fn advance(
        &mut self,
        streams: &mut dyn Streams,
        input: &mut Input<'_>,
        open: bool,
    ) -> Result<bool, Broken> {
        let mut moved = false;
        loop {
            if !self.waits_to_write() && open && !self.exhausted {
                self.refill(input.stdin).map_err(Broken::Source)?;
            }
            if !self.waits_to_write() {
                break;
            }
            match streams.write_stdin(&self.bytes[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // the command reads no more, which is its right; its status will say whether it is content
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.sent = self.bytes.len();
                    self.exhausted = true;
                }
                Err(error) => return Err(Broken::Lost(error)),
            }
            moved = true;
            if !self.waits_to_write() {
                self.bytes.clear();
                self.sent = 0;
            }
        }
        if self.exhausted && !self.closed && !self.waits_to_write() {
            self.closed = ready(streams.close_stdin())?.is_some();
            moved |= self.closed;
        }
        Ok(moved)
    }

    fn refill(&mut self, source: &mut dyn Read) -> io::Result<()> {
        self.bytes.resize(CHUNK, 0);
        self.sent = 0;
        let count = loop {
            match source.read(&mut self.bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.bytes.truncate(*count.as_ref().unwrap_or(&0));
        self.exhausted = count? == 0;
        Ok(())
    }
}

fn ready<T>(result: io::Result<T>) -> Result<Option<T>, Broken> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(Broken::Lost(error)),
    }
}

fn append(buffer: &mut Vec<u8>, bytes: &[u8], limit: usize) {
    let room = limit.saturating_sub(buffer.len());
    buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests;
