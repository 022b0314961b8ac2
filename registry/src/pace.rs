//! How many transfers run at a time: as many as help, and fewer when the far side says so or slows down.
//!
//! Nothing here waits or asks a clock: it is told what became of each transfer. It begins low, goes up by one after every round in which
//! nobody complained, halves at a 429, and goes back by one when a round moved clearly less than the best one did. So the machine, the
//! link and the disk choose the number, whichever of them is the narrowest; what the operator names is the most it ever becomes.

use std::time::Duration;

/// What it begins with: two to four uploads keep a registry's cores busy on a fast network, and do no harm on a slow one.
const START: usize = 4;
/// A round that moved fewer bytes says nothing about speed.
const TELLING: u64 = 8 << 20;
/// A round is clearly slower below this share of the best one.
const SLOWER: f64 = 0.6;

/// The number of transfers that may run, adapted as they end.
#[derive(Debug)]
pub struct Pace {
    limit: usize,
    most: usize,
    /// 429s seen so far, as the client counts them.
    complaints: u64,
    ended: usize,
    bytes: u64,
    took: Duration,
    best: f64,
}

impl Pace {
    /// Begins; `most` is what the operator allows.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            limit: most.min(START),
            most,
            complaints: 0,
            ended: 0,
            bytes: 0,
            took: Duration::ZERO,
            best: 0.0,
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
            // fewer transfers move less, which is no slowness
            self.best = 0.0;
            self.begin_round();
            return;
        }
        self.ended += 1;
        self.bytes += bytes;
        self.took += took;
        if self.ended < self.limit {
            return;
        }
        let rate = self.rate();
        if rate.is_some_and(|rate| rate < self.best * SLOWER) {
            self.limit = (self.limit - 1).max(1);
            // what was best once may have been another time of day
            self.best *= 0.9;
        } else {
            self.limit = (self.limit + 1).min(self.most);
        }
        self.best = self.best.max(rate.unwrap_or(0.0));
        self.begin_round();
    }

    /// Bytes a second of all transfers together, in the round that ends.
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no last digit")]
    fn rate(&self) -> Option<f64> {
        let seconds = self.took.as_secs_f64() / self.limit as f64;
        (self.bytes >= TELLING && seconds > 0.0).then(|| self.bytes as f64 / seconds)
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

    #[test]
    fn it_grows_by_one_a_round_up_to_what_is_allowed() {
        let mut pace = Pace::new(6);
        assert_eq!(pace.limit(), 4);
        let mut seen = Vec::new();
        for _ in 0..4 {
            round(&mut pace, LARGE, SECOND, 0);
            seen.push(pace.limit());
        }
        assert_eq!(seen, [5, 6, 6, 6]);
        assert_eq!(Pace::new(1).limit(), 1);
        assert_eq!(Pace::new(0).limit(), 1);
    }

    #[test]
    fn a_complaint_halves_it_once_and_it_recovers() {
        let mut pace = Pace::new(16);
        for _ in 0..4 {
            round(&mut pace, LARGE, SECOND, 0);
        }
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
        let mut pace = Pace::new(16);
        for _ in 0..4 {
            round(&mut pace, LARGE, SECOND, 0);
        }
        assert_eq!(pace.limit(), 8);
        round(&mut pace, LARGE, 4 * SECOND, 0);
        assert_eq!(pace.limit(), 7);
        // small things say nothing about speed
        round(&mut pace, 100, SECOND, 0);
        assert_eq!(pace.limit(), 8);
    }

    #[test]
    fn a_slow_link_is_no_reason_to_be_slower_still() {
        let mut pace = Pace::new(6);
        for _ in 0..10 {
            round(&mut pace, LARGE, 60 * SECOND, 0);
        }
        assert_eq!(pace.limit(), 6);
    }
}
