//! Tests of the catalog as it is shipped, and of catalogs that are wrong in one way each.

mod bad;
mod resolving;
mod shipped;
mod support;
