//! The crate's tests from outside: against scripted hosts, and against a real sshd on loopback.

mod ssh;
mod support;
