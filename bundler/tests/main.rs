//! Tests of the bundler against real files, processes and loopback servers.

mod bundle;
mod cache;
mod charts;
mod lock;
mod support;
