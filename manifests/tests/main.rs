//! Tests of the catalog as it is shipped, and of catalogs that are wrong in one way each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad;
mod objects;
mod records;
mod resolving;
mod shipped;
mod support;
