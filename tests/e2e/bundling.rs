//! The connected side: from a key pair to a bundle that stock tools read.

mod delta;
mod faults;
mod interrupted;
mod release;
mod reproducible;
mod tools;
