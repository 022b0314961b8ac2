//! How long to keep trying.

use std::time::Duration;

/// When a failed request is tried again: 429, 5xx and lost connections, never a clear refusal.
///
/// The waits double from `first_wait` to `longest_wait`; a server's `Retry-After` takes their place, up to
/// `longest_retry_after`.
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
            longest_retry_after: Duration::from_secs(300),
        }
    }
}
