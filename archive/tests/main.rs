//! Tests of the bundle format against real tools, hostile bundles and damage.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, and a skipped test has to say so"
)]

mod support;

mod damage;
mod delta;
mod disk;
mod extract;
mod fixture;
mod forgery;
mod memory;
mod reproducible;
mod round_trip;
mod tools;
mod trust;
mod volumes;
