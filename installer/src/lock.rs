//! One installation at a time per cluster.
//!
//! The lock is a file on the seed: the one server that every installation of the cluster must agree on, before there is an API server
//! and after. It is a lease by the seed's own clock, renewed while the holder lives, and changed only by compare-and-swap under `flock`
//! on the seed. A lease that ran out may be taken over; so may one whose holder was a process of this very machine that is gone, so the
//! same command after a `kill -9` does not wait. A holder that loses its lease notices at its next step and stops.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Command, Connection, Error, Result,
    event::{Event, Report},
};

/// How long a lease lasts without renewal.
pub const LEASE: Duration = Duration::from_mins(2);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(30);

/// Reads the lock, or replaces it if it still is what the caller believes. Prints the seed's time and the lock's content.
const SCRIPT: &str = "\
# the cluster's lock
set -eu
dir=/var/lib/airgap
mkdir -p \"$dir\"
chmod 700 \"$dir\"
exec 9>\"$dir/lock.guard\"
flock -w 20 9
current=$(cat \"$dir/lock\" 2>/dev/null || true)
if [ \"$1\" = swap ] && [ \"$current\" = \"$2\" ]; then
  if [ -n \"$3\" ]; then
    printf '%s' \"$3\" >\"$dir/lock.new\"
    mv \"$dir/lock.new\" \"$dir/lock\"
  else
    rm -f \"$dir/lock\"
  fi
  current=$3
fi
date +%s
printf '%s\\n' \"$current\"
";

/// Who holds a lock, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// The operator, as the caller names him: `user@machine`.
    pub who: String,
    /// The process.
    pub process: Process,
    /// When it was taken, seconds since 1970 by the seed's clock.
    pub since: i64,
    /// When it was last renewed, by the same clock.
    pub renewed: i64,
}

/// One process of one machine, told from every later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The machine's boot and its process namespace.
    pub machine: String,
    /// The process number there.
    pub pid: u32,
    /// Its start time in clock ticks after boot.
    pub start: u64,
}

impl Process {
    /// Returns this process; `None` where there is no readable /proc.
    #[must_use]
    pub fn current() -> Option<Self> {
        let pid = std::process::id();
        Some(Self {
            machine: machine()?,
            pid,
            start: start_of(pid)?,
        })
    }

    /// Tells whether this was a process of this machine that has ended. `false` when that cannot be known.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        machine().is_some_and(|here| here == self.machine) && start_of(self.pid) != Some(self.start)
    }
}

fn machine() -> Option<String> {
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs_err::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

fn start_of(pid: u32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name, in parentheses, may hold anything; the start time is field 22, the 20th after it
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

/// Why the lock is not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Claim {
    Free,
    Stale(&'static str),
    Held,
}

fn judge(current: &str, now: i64, is_gone: impl Fn(&Process) -> bool) -> (Claim, Option<Holder>) {
    if current.is_empty() {
        return (Claim::Free, None);
    }
    // a lock that cannot be read was not written by this program: no holder to wait for
    let Ok(holder) = serde_json::from_str::<Holder>(current) else {
        return (Claim::Stale("it cannot be read"), None);
    };
    let claim = if is_gone(&holder.process) {
        Claim::Stale("its process on this machine is gone")
    } else if now - holder.renewed > LEASE.as_secs().cast_signed() {
        Claim::Stale("it was not renewed in time")
    } else {
        Claim::Held
    };
    (claim, Some(holder))
}

/// The held lock; given back when dropped.
#[derive(Debug)]
pub struct Lock {
    lost: Arc<AtomicBool>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    host: String,
}

impl Lock {
    /// Takes the lock on the seed, over a connection of its own that then belongs to the lock's heartbeat.
    pub fn acquire(
        mut connection: Box<dyn Connection>,
        who: &str,
        report: Report<'_>,
    ) -> Result<Self> {
        let host = connection.host().to_owned();
        let process = Process::current().unwrap_or(Process {
            machine: String::new(),
            pid: std::process::id(),
            start: 0,
        });
        let (now, current) = exchange(&mut *connection, None)?;
        let (claim, holder) = judge(&current, now, Process::is_gone);
        match (&claim, &holder) {
            (Claim::Held, Some(holder)) => return Err(held(&host, holder, now)),
            (Claim::Stale(why), holder) => report(Event::Notice {
                message: format!(
                    "took over the cluster's lock on {host}{}: {why}",
                    holder.as_ref().map_or_else(String::new, |holder| format!(
                        " from {} (held since {})",
                        holder.who,
                        time(holder.since)
                    ))
                ),
            }),
            _ => {}
        }
        let mine = Holder {
            who: who.to_owned(),
            process,
            since: now,
            renewed: now,
        };
        let wanted = line(&mine);
        let (now, found) = exchange(&mut *connection, Some((&current, &wanted)))?;
        if found != wanted {
            return Err(match judge(&found, now, |_| false).1 {
                Some(holder) => held(&host, &holder, now),
                None => Error::LockLost { host },
            });
        }
        let lost = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = mpsc::channel();
        let thread = {
            let lost = Arc::clone(&lost);
            let lease = Lease::taken(mine, now);
            std::thread::spawn(move || renew(connection, lease, &stopped, &lost))
        };
        Ok(Self {
            lost,
            stop: Some(stop),
            thread: Some(thread),
            host,
        })
    }

    /// Fails if another installation has taken the lock over, or the seed could not be reached for as long as a lease.
    pub fn check(&self) -> Result<()> {
        if self.lost.load(Ordering::Relaxed) {
            Err(Error::LockLost {
                host: self.host.clone(),
            })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
impl Lock {
    /// A lock that nobody can take over, for this crate's unit tests.
    pub(crate) fn fake() -> Self {
        Self {
            lost: Arc::new(AtomicBool::new(false)),
            stop: None,
            thread: None,
            host: "nobody".to_owned(),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // a heartbeat cannot fail in a way that matters once the work is over
            let _ = thread.join();
        }
    }
}

/// The lock as its holder knows it.
struct Lease {
    mine: Holder,
    /// The seed's time in its last answer, and when that came.
    clock: (i64, Instant),
    renewed: Instant,
}

impl Lease {
    fn taken(mine: Holder, now: i64) -> Self {
        Self {
            mine,
            clock: (now, Instant::now()),
            renewed: Instant::now(),
        }
    }

    /// Renews the lease; tells whether it still is ours.
    fn renew(&mut self, connection: &mut dyn Connection) -> Result<bool> {
        // where an answer was lost, the lock holds what was swapped in then: once more, from that
        for _ in 0..2 {
            // the seed's clock, carried on by ours since its last answer
            let (told, at) = self.clock;
            let next = Holder {
                renewed: told + at.elapsed().as_secs().cast_signed(),
                ..self.mine.clone()
            };
            let swap = (line(&self.mine), line(&next));
            let (now, found) = exchange(connection, Some((&swap.0, &swap.1)))?;
            self.clock = (now, Instant::now());
            if found == swap.1 {
                self.mine = next;
                self.renewed = Instant::now();
                return Ok(true);
            }
            match serde_json::from_str::<Holder>(&found) {
                Ok(holder)
                    if holder.process == self.mine.process && holder.since == self.mine.since =>
                {
                    self.mine = holder;
                }
                _ => return Ok(false),
            }
        }
        Ok(false)
    }
}

/// Renews the lease until the lock is dropped, then gives it back.
fn renew(
    mut connection: Box<dyn Connection>,
    mut lease: Lease,
    stopped: &mpsc::Receiver<()>,
    lost: &AtomicBool,
) {
    while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(RENEW) {
        let is_lost = match lease.renew(&mut *connection) {
            Ok(is_ours) => !is_ours,
            // one answer that is late is no reason to stop
            Err(_) => lease.renewed.elapsed() >= LEASE,
        };
        if is_lost {
            lost.store(true, Ordering::Relaxed);
            return;
        }
    }
    // best effort: a lease that cannot be given back runs out
    let _ = exchange(&mut *connection, Some((&line(&lease.mine), "")));
}

/// Reads the lock, after replacing `swap.0` by `swap.1` if it was that. Returns the seed's time and what the lock now holds.
fn exchange(connection: &mut dyn Connection, swap: Option<(&str, &str)>) -> Result<(i64, String)> {
    let command = Command::script(SCRIPT)
        .as_root()
        .timeout(Duration::from_secs(40));
    let command = match swap {
        None => command.arg("read"),
        Some((from, to)) => command.arg("swap").arg(from).arg(to),
    };
    let text = connection.check(&command)?.text();
    let (now, current) = text.split_once('\n').unwrap_or((&text, ""));
    let now = now.trim().parse().map_err(|_| Error::Answer {
        host: connection.host().to_owned(),
        what: "the cluster's lock",
    })?;
    Ok((now, current.trim().to_owned()))
}

fn line(holder: &Holder) -> String {
    serde_json::to_string(holder).unwrap_or_default()
}

fn held(host: &str, holder: &Holder, now: i64) -> Error {
    Error::Locked {
        host: host.to_owned(),
        holder: holder.who.clone(),
        since: time(holder.since),
        idle: Duration::from_secs(u64::try_from(now - holder.renewed).unwrap_or(0)),
    }
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
