//! Faults that a test switches on in a running server.
//!
//! Invariant: a fault happens exactly as often as it was ordered, and is written as JSON or YAML alike.

use std::sync::{Arc, Mutex, PoisonError};

use regex::Regex;
use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum FaultAction {
    /// Answer with a status, without doing anything.
    Status {
        /// The status.
        code: u16,
        /// The header `Retry-After`.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// Answer 307 with this `Location`.
    Redirect {
        /// Where to.
        location: String,
    },
    /// Do what was asked, then answer with a status all the same.
    StatusAfter {
        /// The status.
        code: u16,
    },
    /// Cut the connection once so many bytes of the request's body came; 0 cuts at once.
    CutRequest {
        /// Bytes of the body.
        after_bytes: u64,
    },
    /// Cut the connection once so many bytes of the answer's body were handed out.
    CutResponse {
        /// Bytes of the body.
        after_bytes: u64,
    },
    /// The whole server goes away once so many bytes of the request's body came, until it is brought back.
    Gone {
        /// Bytes of the body.
        after_bytes: u64,
    },
    /// Wait before doing what was asked.
    Delay {
        /// Milliseconds.
        millis: u64,
    },
    /// Name another digest in the header `Docker-Content-Digest`.
    WrongDigestHeader,
    /// Leave the header `Docker-Content-Digest` out, as the specification allows.
    NoDigestHeader,
    /// Flip one bit of the answer's body.
    CorruptBody,
    /// Write `Location` as `http://…`, as behind a proxy that hides TLS.
    HttpLocation,
    /// Write `Location` without scheme and host.
    RelativeLocation,
    /// Write `Location` with another host.
    ForeignLocation,
    /// Forget all tokens given out, so the next request with one is refused.
    ExpireTokens,
    /// Ignore the header `Range`.
    IgnoreRange,
}

/// A fault and the requests it is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// The method; any when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// A regular expression that the path (without query) must contain.
    #[serde(default)]
    pub path: String,
    /// How many matching requests go well before.
    #[serde(default)]
    pub skip: u32,
    /// How many requests it is for.
    #[serde(default = "once")]
    pub times: u32,
    /// What goes wrong.
    pub action: FaultAction,
}

fn once() -> u32 {
    1
}

impl Fault {
    /// Orders a fault for the next request of that method whose path matches.
    #[must_use]
    pub fn once(method: &str, path: &str, action: FaultAction) -> Self {
        Self {
            method: Some(method.to_owned()),
            path: path.to_owned(),
            skip: 0,
            times: 1,
            action,
        }
    }

    /// Orders a fault for every such request.
    #[must_use]
    pub fn always(method: &str, path: &str, action: FaultAction) -> Self {
        Self {
            times: u32::MAX,
            ..Self::once(method, path, action)
        }
    }
}

/// The faults now ordered; shared between a server and its test.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<(Regex, Fault)>>>);

impl Faults {
    /// Orders a fault; an expression that is none is an error.
    pub fn add(&self, fault: Fault) -> Result<(), regex::Error> {
        let path = Regex::new(&fault.path)?;
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((path, fault));
        Ok(())
    }

    /// Takes back all faults that have not happened yet.
    pub fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Returns what goes wrong with this request, and counts it.
    pub(crate) fn take(&self, method: &str, path: &str) -> Option<FaultAction> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (pattern, fault) in faults.iter_mut() {
            let matches = fault
                .method
                .as_deref()
                .is_none_or(|wanted| wanted == method)
                && pattern.is_match(path);
            if !matches || fault.times == 0 {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if fault.times != u32::MAX {
                fault.times -= 1;
            }
            return Some(fault.action.clone());
        }
        None
    }
}
