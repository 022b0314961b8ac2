//! What an edition is: components, editions, sites and images.lock.
//!
//! The data lies beside the code, in `components/`, `editions/`, `sites/` and `static/`, and is built into the binary.
//! This crate reads it strictly, checks it as a whole, and resolves an edition into the one document that the
//! bundler puts into a bundle and the installer works from. It does no I/O but reading and writing those files.
//!
//! ```
//! use airgap_manifests::{Catalog, SiteKind};
//!
//! let catalog = Catalog::builtin().expect("what is built in is checked by its tests");
//! let argo = catalog.component("argo-cd").expect("every edition has it");
//! assert!(argo.on(SiteKind::Onprem) && argo.on(SiteKind::Aws));
//! assert!(catalog.mirror_hosts().contains(&"quay.io".to_owned()));
//! ```

mod catalog;
mod check;
mod files;
mod image;
mod lock;
mod objects;
mod overview;
mod problem;
mod record;
mod render;
mod requests;
mod resolve;
mod resolved;
mod sample;
mod secret;
mod selection;
mod site;
pub mod strict;
mod template;
mod walk;
mod wanted;

pub use catalog::{Catalog, Sourced};
pub use files::{Chart, Component, Edition, Registries, Release, ReleaseFile, Site};
pub use image::{ImageName, ImageNameError, ImageReference};
pub use lock::{
    Attached, ImageLock, LockChange, LockedChart, LockedFile, LockedImage, LockedKind,
    LockedManifest,
};
pub use objects::{OBJECTS_CHART, ObjectEntry, objects_chart, objects_chart_ref};
pub use overview::{ComponentRow, EditionRow, ImageRow, catalog_markdown};
pub use problem::{Problem, did_you_mean, suggest};
pub use record::{ChartRecord, FACTS, NeededRendering, Rendered, RenderedImages, RenderingRecord};
pub use render::{MAX_INLINE_CHART_BYTES, RenderError, render_static, render_values, to_yaml};
pub use requests::{Cpu, Memory, Requests};
pub use resolve::{ALL_PLATFORMS, resolve};
pub use resolved::{
    ChartRef, Delivery, EDITION_MEDIA_TYPE, EDITION_SCHEMA, EditionError, FileRef, Gate,
    IgnoreDifference, ResolvedChart, ResolvedComponent, ResolvedEdition, ResolvedImage,
    ResolvedRke2, Rke2Config, SitePlan, StaticContent, StaticManifest, ValuesWith,
};
pub use secret::{AdminSecret, SecretKey, SecretSpec, SiteSecret};
pub use site::{Fact, SiteFacts, SiteKind, SiteKindError};
pub use template::TemplateError;
pub use walk::{FoundImage, KnownImages, find_images};
pub use wanted::{Place, Wanted, WantedChart, WantedFile, WantedImage, unlocked};
