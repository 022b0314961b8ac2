//! Tests of the bundler against real files, processes and loopback servers.

mod cache;
mod charts;
