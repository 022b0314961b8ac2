//! The registry crate against stand-ins of upstream registries and Harbor, and a real docker-registry.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "main/plain.rs"]
mod plain;
#[path = "main/pull.rs"]
mod pull;
#[path = "main/push.rs"]
mod push;
#[path = "main/refusals.rs"]
mod refusals;
#[path = "main/support.rs"]
mod support;
