//! The crate's tests from outside: against scripted hosts, and against a real sshd on loopback.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod memory;
mod pushing;
mod pushing_attached;
mod pushing_deltas;
mod rendering;
mod scripted_hosts;
mod ssh;
mod ssh_facts;
mod ssh_login;
mod ssh_trust;
mod support;
