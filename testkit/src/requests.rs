//! What a test server was asked, for tests that count.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// One request and its answer's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path, without query.
    pub path: String,
    /// The query, empty when there was none.
    pub query: String,
    /// The account that it came from; `None` when it carried no login.
    pub user: Option<String>,
    /// The status answered; 0 when the connection was cut instead.
    pub status: u16,
}

impl Request {
    /// Returns whether the request asks to change something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }
}

/// The requests so far; shared between a server and its test.
#[derive(Debug, Clone, Default)]
pub struct RequestLog(Arc<Mutex<Vec<Request>>>);

impl RequestLog {
    /// Writes down a request before it is answered, and returns its place.
    pub(crate) fn begin(&self, request: Request) -> usize {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(request);
        log.len() - 1
    }

    /// Adds the status to a request.
    pub(crate) fn end(&self, place: usize, status: u16) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(request) = log.get_mut(place) {
            request.status = status;
        }
    }

    /// Returns all requests since the start or the last [`RequestLog::clear`].
    #[must_use]
    pub fn all(&self) -> Vec<Request> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Counts the requests for which `wanted` holds.
    #[must_use]
    pub fn count(&self, wanted: impl Fn(&Request) -> bool) -> usize {
        self.all().iter().filter(|request| wanted(request)).count()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
