//! The registry crate against stand-ins of upstream registries and Harbor, and a real docker-registry.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod listing;
mod plain;
mod pull;
mod push;
mod referrers;
mod refusals;
mod scripted;
mod support;
