//! Tests of the bundler against real files, processes and loopback servers.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail as tests do, and a skipped test has to say so"
)]

mod bundle;
mod cache;
mod charts;
mod lock;
mod processes;
mod render;
mod shipped;
mod support;
