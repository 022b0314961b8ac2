//! How many transfers run at a time: as many as help, and fewer when the far side says so or slows down.
//!
//! Nothing here waits or asks a clock: it is told what became of each transfer. It begins with the cores of this machine, each of which can
//! hash and encrypt one transfer; doubles after every round that was clearly faster than the best one before, as on a long line where most
//! transfers wait for an answer; goes up by one after every other round in which nobody complained; halves at a 429; and goes back by one
//! when a round moved clearly fewer bytes than the best one did. So the machine, the link and the disk choose the number, whichever of them
//! is the narrowest; what the operator names is the most it ever becomes.

use std::{num::NonZero, thread, time::Duration};

/// What it begins with at least: two to four uploads keep a registry's cores busy on a fast network, and do no harm on a slow one.
const START: usize = 4;
/// A round that moved fewer bytes says nothing about the speed of bytes, only about that of answers.
const TELLING: u64 = 8 << 20;
/// A round is clearly slower below this share of the best one.
const SLOWER: f64 = 0.6;
/// A round is clearly faster above this share of the best one.
const FASTER: f64 = 1.2;

/// The number of transfers that may run, adapted as they end.
#[derive(Debug)]
pub struct Pace {
    limit: usize,
    most: usize,
    /// Whether every round was clearly faster so far.
    doubling: bool,
    /// 429s seen so far, as the client counts them.
    complaints: u64,
    ended: u32,
    bytes: u64,
    took: Duration,
    /// The most bytes a second, and the most transfers a second of rounds too small to tell of bytes.
    best_bytes: f64,
    best_answers: f64,
}

impl Pace {
    /// Begins with a transfer for each core, and at least four; `most` is what the operator allows.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self::beginning_with(cores.max(START), most)
    }

    /// Takes the 429s that the client has counted so far for answers to something else.
    #[must_use]
    pub fn since(mut self, complaints: u64) -> Self {
        self.complaints = complaints;
        self
    }

    fn beginning_with(start: usize, most: usize) -> Self {
        let most = most.max(1);
        Self {
            limit: most.min(start),
            most,
            doubling: true,
            complaints: 0,
            ended: 0,
            bytes: 0,
            took: Duration::ZERO,
            best_bytes: 0.0,
            best_answers: 0.0,
        }
    }

    /// Returns how many may run now.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Notes that a transfer ended: its bytes, how long it took, and how many 429s the client has counted by now.
    pub fn ended(&mut self, bytes: u64, took: Duration, complaints: u64) {
        if complaints > self.complaints {
            self.complaints = complaints;
            self.limit = (self.limit / 2).max(1);
            self.doubling = false;
            // fewer transfers move less, which is no slowness
            (self.best_bytes, self.best_answers) = (0.0, 0.0);
            self.begin_round();
            return;
        }
        self.ended += 1;
        self.bytes += bytes;
        self.took += took;
        if (self.ended as usize) < self.limit {
            return;
        }
        let telling = self.bytes >= TELLING;
        let (rate, best) = if telling {
            (self.a_second(self.bytes), &mut self.best_bytes)
        } else {
            (self.a_second(self.ended.into()), &mut self.best_answers)
        };
        self.doubling &= rate >= *best * FASTER;
        if telling && rate < *best * SLOWER {
            self.limit = (self.limit - 1).max(1);
            // what was best once may have been another time of day
            *best *= 0.9;
        } else {
            let more = if self.doubling { self.limit } else { 1 };
            self.limit = (self.limit + more).min(self.most);
        }
        *best = best.max(rate);
        self.begin_round();
    }

    /// So much a second of all transfers together, in the round that ends.
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no last digit")]
    fn a_second(&self, amount: u64) -> f64 {
        // of transfers that took no time at all, any large number will do
        let seconds = self.took.max(Duration::from_micros(1)).as_secs_f64() / self.limit as f64;
        amount as f64 / seconds
    }

    fn begin_round(&mut self) {
        self.ended = 0;
        self.bytes = 0;
        self.took = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LARGE: u64 = 100 << 20;

    /// A round of transfers that all go the same way.
    fn round(pace: &mut Pace, bytes: u64, took: Duration, complaints: u64) {
        for _ in 0..pace.limit() {
            pace.ended(bytes, took, complaints);
        }
    }

    /// Rounds in which a transfer takes as long as the number of them makes it, on a line that is full; and the limits after each.
    fn on_a_full_line(pace: &mut Pace, rounds: usize) -> Vec<usize> {
        let mut limits = Vec::new();
        for _ in 0..rounds {
            let each = SECOND * u32::try_from(pace.limit()).unwrap();
            round(pace, LARGE, each, 0);
            limits.push(pace.limit());
        }
        limits
    }

    #[test]
    fn complaints_about_what_went_before_do_not_count() {
        let mut pace = Pace::beginning_with(4, 40).since(3);
        round(&mut pace, LARGE, SECOND, 3);
        assert_eq!(pace.limit(), 8);
        pace.ended(LARGE, SECOND, 4);
        assert_eq!(pace.limit(), 4);
    }

    #[test]
    fn it_begins_with_the_cores_and_never_passes_what_is_allowed() {
        assert!(Pace::new(64).limit() >= START);
        assert_eq!(Pace::beginning_with(16, 64).limit(), 16);
        assert_eq!(Pace::beginning_with(16, 6).limit(), 6);
        assert_eq!(Pace::new(1).limit(), 1);
        assert_eq!(Pace::new(0).limit(), 1);
    }

    #[test]
    fn it_doubles_while_that_is_faster_and_then_grows_by_one() {
        // a long line with room: a transfer takes as long, however many there are
        let mut pace = Pace::beginning_with(4, 40);
        let mut limits = Vec::new();
        for _ in 0..5 {
            round(&mut pace, LARGE, SECOND, 0);
            limits.push(pace.limit());
        }
        assert_eq!(limits, [8, 16, 32, 40, 40]);
        // a line that four fill: the first round has nothing to be compared with
        let mut pace = Pace::beginning_with(4, 40);
        assert_eq!(on_a_full_line(&mut pace, 4), [8, 9, 10, 11]);
        // many small answers, each as late as the line is long
        let mut pace = Pace::beginning_with(4, 40);
        for _ in 0..3 {
            round(&mut pace, 100, SECOND / 50, 0);
        }
        assert_eq!(pace.limit(), 32);
    }

    #[test]
    fn a_complaint_halves_it_once_and_it_recovers() {
        let mut pace = Pace::beginning_with(4, 8);
        on_a_full_line(&mut pace, 4);
        assert_eq!(pace.limit(), 8);
        pace.ended(LARGE, SECOND, 3);
        assert_eq!(pace.limit(), 4);
        // the same three, told again by transfers that were under way
        pace.ended(LARGE, SECOND, 3);
        assert_eq!(pace.limit(), 4);
        for complaints in [4, 5, 6, 7] {
            pace.ended(LARGE, SECOND, complaints);
        }
        assert_eq!(pace.limit(), 1);
        round(&mut pace, LARGE, SECOND, 7);
        assert_eq!(pace.limit(), 2);
    }

    #[test]
    fn a_far_side_that_slows_down_gets_fewer() {
        let mut pace = Pace::beginning_with(4, 8);
        on_a_full_line(&mut pace, 4);
        assert_eq!(pace.limit(), 8);
        round(&mut pace, LARGE, 16 * SECOND, 0);
        assert_eq!(pace.limit(), 7);
        // small things say nothing about speed
        round(&mut pace, 100, SECOND, 0);
        assert_eq!(pace.limit(), 8);
    }

    #[test]
    fn a_slow_link_is_no_reason_to_be_slower_still() {
        let mut pace = Pace::beginning_with(4, 6);
        for _ in 0..10 {
            round(&mut pace, LARGE, 60 * SECOND, 0);
        }
        assert_eq!(pace.limit(), 6);
    }
}
