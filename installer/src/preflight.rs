//! Every reason an install would fail, found before anything changes.
//!
//! Pure functions over what was gathered; nothing here touches a host, and nothing is ever mended: a finding says which command would.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Notice,
    /// The install can succeed, but something will be slow, tight or fragile.
    Warning,
    /// The install would fail.
    Error,
}

/// One thing that preflight found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// A stable name, such as `host.memory`, for scripts and documentation.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The host concerned; `None` for the site as a whole.
    pub host: Option<String>,
    /// What was seen.
    pub seen: String,
    /// Why it matters.
    pub why: String,
    /// The command that mends it, or what to do.
    pub remedy: String,
}
