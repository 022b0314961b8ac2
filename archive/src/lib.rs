#![doc = include_str!("../FORMAT.md")]

pub mod annotations;
pub mod extract;
#[cfg(fuzzing)]
pub mod fuzzing;

mod check;
mod delta;
mod diff;
mod digest;
mod error;
mod event;
mod first;
mod frame;
mod graph;
mod header;
mod index;
mod layout;
mod limits;
mod listing;
mod manifest;
mod pool;
mod reader;
mod role;
mod source;
mod tail;
mod tree;
mod verify;
mod volumes;
mod writer;

pub use delta::{Base, DeltaBase, Omitted};
pub use diff::Difference;
pub use digest::{Hasher, digest_of};
pub use error::{Error, Result};
pub use event::Event;
pub use listing::UntrustedListing;
pub use reader::{BlobReader, Chunk, OpenOptions, VerifiedArchive};
pub use role::Role;
pub use source::BlobSource;
pub use tree::{Addition, BundleInfo, BundleTree, Entry};
pub use verify::Finding;
pub use volumes::Volumes;
pub use writer::{ArchiveWriter, WriteOptions, Written};
