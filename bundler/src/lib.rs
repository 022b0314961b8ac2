//! The connected side: from an edition and its lock to a signed bundle.
//!
//! [`lock()`] resolves what the catalog names to digests; [`plan()`] tells what a bundle would hold; [`bundle()`] makes it. All
//! three work through one [`Cache`], which outlives them. What a registry or a bundle's format is, lies in other crates; what an
//! edition is, too.

mod arrivals;
pub mod artifact;
mod bundle;
mod cache;
mod checksums;
mod digest;
mod error;
mod event;
mod fetch;
mod lock;
mod manifest;
mod plan;
mod platform;
mod render;
mod space;

pub use bundle::{
    BundleRequest, Bundled, Handover, InstallerBinary, LeftOut, bundle, default_file_name,
    delta_file_name,
};
pub use cache::{Cache, Incoming, PruneOptions, Pruned};
pub use checksums::{Checksums, ChecksumsError};
pub use digest::{digest_of, from_hex};
pub use error::{Error, Result};
pub use event::{Event, Report, Stage};
pub use lock::{LockRequest, Locked, lock, lock_check};
pub use plan::{BundlePlan, ItemKind, PlanItem, plan};
pub use platform::{BundlePlatform, UnknownPlatform};
pub use render::{Helm, render_charts, unrendered};
pub use space::check_free_space;
