//! Tests of the catalog as it is shipped, and of catalogs that are wrong in one way each.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a skipped one has to say so"
)]

mod admission;
mod bad;
mod enterprise;
mod facts;
mod objects;
mod publishers;
mod records;
mod resolving;
mod shipped;
mod support;
