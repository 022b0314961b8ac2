//! The catalog that is shipped, from lock to bundle, over stand-ins under the real names and the publishers' own charts.

use std::fmt::Write as _;

use airgap_bundler::{BundleRequest, digest_of};
use airgap_manifests::Catalog;
use airgap_testkit::{image::noise, upstream::UpstreamRegistry};
use camino::Utf8Path;

use crate::support::*;

/// A publisher's chart as it was released, or a generated one under the same name and version.
fn published(name: &str, version: &str) -> Vec<u8> {
    let folder = std::env::var("AIRGAP_TEST_CHARTS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/charts").to_owned());
    fs_err::read(Utf8Path::new(&folder).join(format!("{name}-{version}.tgz")))
        .unwrap_or_else(|_| chart(name, version))
}

fn without_scheme(url: &str) -> &str {
    url.strip_prefix("https://").unwrap()
}

#[tokio::test]
async fn every_shipped_edition_locks_and_bundles() {
    let catalog = Catalog::builtin().unwrap();
    let wanted = catalog.wanted();
    let mut upstream = UpstreamRegistry::builder();
    for (number, name) in wanted.images.keys().enumerate() {
        upstream = upstream.image(&name.to_string(), &two_platforms(number as u64 * 2));
    }
    for ((name, version), chart) in &wanted.charts {
        upstream = upstream.file(without_scheme(&chart.url), published(name, version));
    }
    let mut sums = String::new();
    for (url, file) in &wanted.files {
        let bytes = if file.name.starts_with("rke2-images") {
            let names: Vec<_> = wanted
                .images
                .keys()
                .take(3)
                .map(ToString::to_string)
                .collect();
            names.join("\n").into_bytes()
        } else {
            noise(10_000, url.len() as u64).to_vec()
        };
        if file.name != "install.sh" && !file.name.starts_with("sha256sum") {
            let _ = writeln!(sums, "{}  {}", digest_of(&bytes).digest(), file.name);
        }
        upstream = upstream.file(without_scheme(url), bytes);
    }
    for (url, file) in &wanted.files {
        if file.name.starts_with("sha256sum") {
            upstream = upstream.file(without_scheme(url), sums.clone());
        }
    }
    let world = World::over(catalog, upstream.start()).await;
    assert_eq!(world.lock.images.len(), wanted.images.len());
    for edition in ["community", "standard", "enterprise"] {
        let output = world.path(&format!("{edition}.tar.zst"));
        let request = BundleRequest {
            edition,
            jobs: 8,
            ..world.request(&output)
        };
        let bundled = world.bundle(&request).await.unwrap();
        assert!(bundled.images > 10 && bundled.charts > 2, "{edition}");
        let archive = open(&output);
        for image in wanted
            .images
            .iter()
            .filter(|(_, image)| image.components.contains("rke2"))
        {
            archive.entry(&image.0.to_string()).unwrap();
        }
    }
}
