//! This machine as a host: the same scripts, without SSH.
//!
//! Children start with an empty environment, so nothing the operator's shell holds reaches them.

use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio},
    thread,
    time::{Duration, Instant},
};

use camino::Utf8Path;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    Connection, ConnectionError, Elevation, Put, PutOutcome, SudoFailure,
    exchange::{Input, Streams, converse, line},
    transfer::{self, Exactly},
};
use crate::{Command, Output};

/// The machine the installer runs on.
#[derive(Debug)]
pub(super) struct LocalConnection {
    host: String,
    is_root: bool,
    sudo: Option<Elevation>,
}

impl LocalConnection {
    /// Takes this machine for `host`; `sudo` holds the password, if sudo is to be used and asks for one.
    #[must_use]
    pub(super) fn new(host: &str, sudo: Option<Elevation>) -> Self {
        Self {
            host: host.to_owned(),
            is_root: rustix::process::geteuid().is_root(),
            sudo,
        }
    }

    fn execute(
        &mut self,
        command: &Command,
        stdin: &mut dyn Read,
        gate: Option<&'static str>,
    ) -> Result<Output, ConnectionError> {
        let sudo = command.needs_root() && !self.is_root;
        if sudo && self.sudo.is_none() {
            return Err(super::sudo_failure(
                &self.host,
                "the operator",
                SudoFailure::NotConfigured,
            ));
        }
        let child = std::process::Command::new("/bin/sh")
            .args(["-c", &line(&command.line(), sudo)])
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut streams = child
            .and_then(Pipes::new)
            .map_err(|source| ConnectionError::Lost {
                host: self.host.clone(),
                during: command.to_string(),
                source,
            })?;
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
        .map_err(|broken| super::broken(&self.host, "the operator", command, broken))
    }
}

impl Connection for LocalConnection {
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

/// A child's pipes, none of which blocks.
struct Pipes {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

impl Pipes {
    fn new(mut child: Child) -> io::Result<Self> {
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pipes = Self {
            child,
            stdin,
            stdout,
            stderr,
        };
        for fd in [
            pipes.stdin.as_ref().map(AsFd::as_fd),
            pipes.stdout.as_ref().map(AsFd::as_fd),
            pipes.stderr.as_ref().map(AsFd::as_fd),
        ]
        .into_iter()
        .flatten()
        {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        Ok(pipes)
    }
}

/// Reads from a pipe, and drops it at its end.
fn read_from<R: Read>(pipe: &mut Option<R>, buffer: &mut [u8]) -> io::Result<usize> {
    let Some(open) = pipe else { return Ok(0) };
    let count = open.read(buffer)?;
    if count == 0 {
        *pipe = None;
    }
    Ok(count)
}

impl Streams for Pipes {
    fn read_stdout(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_from(&mut self.stdout, buffer)
    }

    fn read_stderr(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_from(&mut self.stderr, buffer)
    }

    fn write_stdin(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stdin {
            Some(stdin) => stdin.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn close_stdin(&mut self) -> io::Result<()> {
        self.stdin = None;
        Ok(())
    }

    fn ended(&mut self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    fn wait(&mut self, writing: bool, at_most: Duration) -> io::Result<()> {
        let mut fds = Vec::with_capacity(3);
        fds.extend(
            self.stdout
                .as_ref()
                .map(|pipe| PollFd::new(pipe, PollFlags::IN)),
        );
        fds.extend(
            self.stderr
                .as_ref()
                .map(|pipe| PollFd::new(pipe, PollFlags::IN)),
        );
        fds.extend(
            self.stdin
                .as_ref()
                .filter(|_| writing)
                .map(|pipe| PollFd::new(pipe, PollFlags::OUT)),
        );
        match poll(&mut fds, Some(&timespec(at_most))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn status(&mut self, at_most: Duration) -> io::Result<i32> {
        use std::os::unix::process::ExitStatusExt;
        let deadline = Instant::now() + at_most;
        self.stdin = None;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
            }
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn abandon(&mut self) {
        // closed pipes first: a script's own trap then removes what it was writing; the kill is for what does not listen
        (self.stdin, self.stdout, self.stderr) = (None, None, None);
        if self.status(Duration::from_secs(2)).is_err() {
            // it may have ended by itself in between
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Converts a time limit for poll.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
