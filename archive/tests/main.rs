//! Tests of the bundle format against real tools, hostile bundles and damage.

mod support;

mod damage;
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
