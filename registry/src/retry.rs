//! How long to keep trying.
//!
//! Invariant: a clear refusal is never tried again, and no server can make us wait without bound.

use std::time::Duration;

use crate::error::{Error, Result};

/// When a failed request is tried again: 429, 5xx and lost connections, never a clear refusal.
///
/// The waits double from `first_wait` to `longest_wait`; a server's `Retry-After` makes them longer, up to
/// `longest_retry_after`, and never shorter.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// How often a request is made in all.
    pub attempts: u32,
    /// The wait before the second attempt.
    pub first_wait: Duration,
    /// The longest wait of our own choosing.
    pub longest_wait: Duration,
    /// The longest wait that a server may ask for; more is an error at once.
    pub longest_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
            longest_retry_after: Duration::from_mins(5),
        }
    }
}

/// A failed attempt, and whether another may go better.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) again: Again,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// The answer would be the same.
    Never,
    /// After a wait of our own choosing.
    Soon,
    /// After the wait that the server asked for, if that is longer.
    After(Duration),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            again: Again::Never,
        }
    }
}

/// Counts the attempts at one thing.
#[derive(Debug)]
pub(crate) struct Attempts {
    policy: RetryPolicy,
    made: u32,
}

impl Attempts {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self { policy, made: 0 }
    }

    /// Starts counting anew, after real progress.
    pub(crate) fn reset(&mut self) {
        self.made = 0;
    }

    /// Waits as long as a failure demands, or gives up with its error.
    pub(crate) async fn wait_or_give_up(&mut self, failure: Failure) -> Result<()> {
        self.made += 1;
        let doubled = self
            .policy
            .first_wait
            .saturating_mul(1 << (self.made - 1).min(16));
        let own = doubled.min(self.policy.longest_wait);
        let wait = match failure.again {
            Again::Soon => Some(own),
            // "at once", or a date that has passed by our clock, would use up every attempt in an instant
            Again::After(wait) => (wait <= self.policy.longest_retry_after).then(|| wait.max(own)),
            Again::Never => None,
        };
        match wait {
            Some(wait) if self.made < self.policy.attempts => {
                tracing::debug!(error = %failure.error, ?wait, attempt = self.made, "trying again");
                tokio::time::sleep(wait).await;
                Ok(())
            }
            _ => Err(failure.error.after(self.made)),
        }
    }
}

/// Reads the header `Retry-After`: seconds, or a date.
pub(crate) fn parse_retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    let wait = date.timestamp().duration_since(now);
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: jiff::Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        assert_eq!(parse_retry_after("7", now), Some(Duration::from_secs(7)));
        let date = "Sat, 21 Nov 2026 08:01:00 GMT";
        assert_eq!(parse_retry_after(date, now), Some(Duration::from_mins(1)));
        assert_eq!(
            parse_retry_after("Sat, 21 Nov 2026 07:00:00 GMT", now),
            Some(Duration::ZERO)
        );
        assert_eq!(parse_retry_after("soon", now), None);
    }

    #[tokio::test]
    async fn waits_double_up_to_their_limit_and_end() {
        let policy = RetryPolicy {
            attempts: 3,
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_millis(2),
            longest_retry_after: Duration::from_millis(5),
        };
        let lost = || Error::ConnectionLost {
            host: "h".into(),
            object: "o".into(),
            attempts: 1,
            source: "reset".into(),
        };
        let mut attempts = Attempts::new(policy);
        let soon = || Failure {
            error: lost(),
            again: Again::Soon,
        };
        attempts.wait_or_give_up(soon()).await.unwrap();
        attempts.wait_or_give_up(soon()).await.unwrap();
        let error = attempts.wait_or_give_up(soon()).await.unwrap_err();
        assert!(error.to_string().contains("3 times"), "{error}");
        let began = std::time::Instant::now();
        let at_once = Failure {
            error: lost(),
            again: Again::After(Duration::ZERO),
        };
        let longer = Duration::from_millis(100);
        let mut attempts = Attempts::new(RetryPolicy {
            first_wait: longer,
            longest_wait: longer,
            ..policy
        });
        attempts.wait_or_give_up(at_once).await.unwrap();
        assert!(began.elapsed() >= longer);
        let too_long = Failure {
            error: lost(),
            again: Again::After(Duration::from_secs(1)),
        };
        assert!(
            Attempts::new(policy)
                .wait_or_give_up(too_long)
                .await
                .is_err()
        );
    }
}
