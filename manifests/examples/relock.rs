//! Rewrites images.lock, rendered/ and docs/catalog.md after a change of the catalog, without asking any registry.
//!
//! Known digests stay, new entries are written unlocked, entries that nothing refers to go. Records that helm made stay while
//! chart and values do; others hold the components' own lists. Run it from the repository's root:
//! `cargo run -p airgap-manifests --example relock`. Resolving and rendering are the work of `airgap lock`.

use std::process::ExitCode;

use airgap_manifests::{
    Catalog, ChartRecord, ImageLock, Problem, RenderedImages, catalog_markdown,
};

fn main() -> ExitCode {
    match relock() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            use std::io::Write as _;
            let mut out = std::io::stderr().lock();
            for problem in problems {
                // nothing is left to do if the terminal is gone
                let _ = writeln!(out, "{problem}");
            }
            ExitCode::FAILURE
        }
    }
}

fn relock() -> Result<(), Vec<Problem>> {
    let path = "images.lock".into();
    let catalog = Catalog::load("manifests".into())?;
    let known = ImageLock::load(path)?;
    let lock = known.followed_by(catalog.lock_skeleton(&known), jiff::Timestamp::now());
    fs_err::write(path, lock.to_yaml()).map_err(|error| {
        vec![Problem::new(
            path,
            format!("cannot be written: {}", error.kind()),
        )]
    })?;
    let records = catalog.fresh_records(&lock, &RenderedImages::new());
    ChartRecord::write_all(&records, "manifests".into())?;
    let document = "docs/catalog.md";
    let text = catalog_markdown(&catalog.with_records(records), &lock);
    fs_err::write(document, text).map_err(|error| {
        vec![Problem::new(
            document,
            format!("cannot be written: {}", error.kind()),
        )]
    })
}
