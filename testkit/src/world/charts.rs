//! Charts by URL: publishers' own where they are at hand, generated ones elsewhere.

use std::collections::BTreeMap;

use airgap_manifests::{Catalog, Wanted};
use camino::Utf8Path;

use super::{Error, image_names};
use crate::charts::Chart;

/// What is served, and what the stand-in has to know about it.
#[derive(Debug, Default)]
pub(super) struct Charts {
    /// Files by URL.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Images by `name:version`, of charts that only a real Helm can render.
    pub(super) images: BTreeMap<String, Vec<String>>,
}

/// Collects every chart that the catalog wants.
pub(super) fn collect(
    catalog: &Catalog,
    wanted: &Wanted,
    folder: Option<&Utf8Path>,
) -> Result<Charts, Error> {
    let mut charts = Charts::default();
    for ((name, version), want) in &wanted.charts {
        let images: Vec<String> = catalog
            .components()
            .filter(|component| {
                let chart = component.chart.as_ref();
                chart.is_some_and(|chart| chart.name == *name && chart.version == *version)
            })
            .flat_map(image_names)
            .collect();
        let real = folder.map(|folder| folder.join(format!("{name}-{version}.tgz")));
        let bytes = if let Some(path) = real.filter(|path| path.is_file()) {
            charts.images.insert(format!("{name}:{version}"), images);
            fs_err::read(&path).map_err(|source| Error::Chart { path, source })?
        } else {
            generated(name, version, &images)
        };
        charts.files.insert(want.url.clone(), bytes);
    }
    Ok(charts)
}

/// A chart of one Deployment for each image.
fn generated(name: &str, version: &str, images: &[String]) -> Vec<u8> {
    images
        .iter()
        .fold(Chart::new(name, version), |chart, image| {
            let short = image
                .rsplit('/')
                .next()
                .and_then(|last| last.split(':').next());
            chart.deployment(short.unwrap_or(name), image)
        })
        .tgz()
}
