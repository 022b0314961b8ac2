//! Whose the lock is, and how it is kept.

use super::*;
use crate::{ConnectionError, Output, Put, PutOutcome};
use camino::Utf8Path;
use std::io::Read;

fn holder() -> Holder {
    Holder {
        who: "ops@bench".into(),
        process: Process {
            machine: "boot pid:[1]".into(),
            pid: 7,
            start: 70,
        },
        since: 1000,
        renewed: 1060,
    }
}

#[test]
fn a_fresh_lease_is_held() {
    assert_eq!(
        judge(&line(&holder()), 1100, |_| false),
        (Claim::Held, Some(holder()))
    );
}

#[test]
fn a_lease_that_ran_out_is_stale() {
    let after = 1060 + LEASE.as_secs().cast_signed() + 1;
    assert!(matches!(
        judge(&line(&holder()), after, |_| false).0,
        Claim::Stale(_)
    ));
}

#[test]
fn a_lease_of_a_process_that_is_gone_is_stale_at_once() {
    assert!(matches!(
        judge(&line(&holder()), 1061, |_| true).0,
        Claim::Stale(_)
    ));
}

/// A seed that keeps the lock as [`SCRIPT`] does, and may lose an answer.
struct FakeSeed {
    lock: String,
    now: i64,
    loses: bool,
}

impl Connection for FakeSeed {
    fn host(&self) -> &'static str {
        "cp1"
    }

    fn run(&mut self, command: &Command) -> Result<Output, ConnectionError> {
        let [.., swap, from, to] = command.words() else {
            panic!("{command}")
        };
        assert_eq!(swap, "swap");
        if self.lock == *from {
            self.lock.clone_from(to);
        }
        if std::mem::take(&mut self.loses) {
            return Err(ConnectionError::TimedOut {
                host: "cp1".into(),
                command: "the cluster's lock".into(),
                limit: Duration::from_secs(40),
            });
        }
        Ok(Output {
            status: 0,
            stdout: format!("{}\n{}\n", self.now, self.lock).into_bytes(),
            stderr: Vec::new(),
        })
    }

    fn put(&mut self, file: &Put, _: &mut dyn Read) -> Result<PutOutcome, ConnectionError> {
        panic!("nothing should write {}", file.path)
    }

    fn read(&mut self, path: &Utf8Path) -> Result<Option<Vec<u8>>, ConnectionError> {
        panic!("nothing should read {path}")
    }
}

#[test]
fn a_lease_is_renewed_by_the_seeds_own_clock_however_long_its_answers_take() {
    let mut seed = FakeSeed {
        lock: line(&holder()),
        now: 5000,
        loses: false,
    };
    let mut lease = Lease::taken(holder(), 1060);
    for now in [5000, 9000] {
        seed.now = now;
        assert!(lease.renew(&mut seed).expect("an answer"));
    }
    assert!(
        lease.mine.renewed >= 5000,
        "what the seed said last counts: {:?}",
        lease.mine
    );
    assert_eq!(seed.lock, line(&lease.mine));
}

#[test]
fn a_lost_answer_is_no_lost_lock_and_another_holder_is() {
    let mut seed = FakeSeed {
        lock: line(&holder()),
        now: 2000,
        loses: true,
    };
    // a second has passed, so that the line which is swapped in differs
    let mut lease = Lease::taken(holder(), 1999);
    assert!(lease.renew(&mut seed).is_err());
    assert_ne!(seed.lock, line(&lease.mine), "it was swapped all the same");
    assert!(lease.renew(&mut seed).expect("an answer"));
    assert_eq!(seed.lock, line(&lease.mine));
    seed.lock = line(&Holder {
        since: 3000,
        ..holder()
    });
    assert!(!lease.renew(&mut seed).expect("an answer"));
}

#[test]
fn no_lock_is_free_and_rubbish_is_stale() {
    assert_eq!(judge("", 5, |_| false), (Claim::Free, None));
    assert!(matches!(judge("{}", 5, |_| false).0, Claim::Stale(_)));
}

#[test]
fn this_process_is_not_gone_and_an_ended_one_is() {
    let me = Process::current().expect("a readable /proc");
    assert!(!me.is_gone());
    assert!(
        Process {
            start: me.start + 1,
            ..me.clone()
        }
        .is_gone()
    );
    assert!(
        !Process {
            machine: "elsewhere".into(),
            start: 0,
            ..me
        }
        .is_gone()
    );
}
