//! Publishers' charts, as they released them, become Helm OCI artifacts.

use airgap_bundler::{
    Error,
    artifact::{HELM_CHART, HELM_CONFIG, HelmChart},
    digest_of,
};
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::ImageManifest;
use serde_json::Value;

use crate::support::tgz;

/// Charts of the publishers, kept outside the project.
pub(crate) fn publishers() -> Option<Vec<Utf8PathBuf>> {
    let named = std::env::var("AIRGAP_TEST_CHARTS")
        .ok()
        .map(Utf8PathBuf::from);
    let folder = named
        .unwrap_or_else(|| Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/charts"));
    let Ok(entries) = folder.read_dir_utf8() else {
        assert!(
            std::env::var("CI").is_err(),
            "the publishers' charts are not in {folder}; set AIRGAP_TEST_CHARTS"
        );
        println!("SKIPPED: the publishers' charts are not in {folder}; set AIRGAP_TEST_CHARTS");
        return None;
    };
    let mut charts: Vec<_> = entries.map(|entry| entry.unwrap().into_path()).collect();
    charts.retain(|path| path.extension() == Some("tgz"));
    charts.sort();
    Some(charts)
}

#[test]
fn every_publishers_chart_becomes_an_artifact() {
    let Some(charts) = publishers() else { return };
    assert!(charts.len() > 5, "{charts:?}");
    for path in charts {
        let archive = fs_err::read(&path).unwrap();
        let chart = HelmChart::read(path.as_str(), &archive).unwrap();
        assert_eq!(
            path.file_stem().unwrap(),
            format!("{}-{}", chart.name(), chart.version())
        );
        let artifact = chart.artifact();
        let manifest: ImageManifest = serde_json::from_slice(&artifact.manifest).unwrap();
        assert_eq!(manifest.config().media_type().to_string(), HELM_CONFIG);
        assert_eq!(manifest.config().digest(), &digest_of(&artifact.blobs[0]));
        assert_eq!(manifest.layers().len(), 1);
        assert_eq!(manifest.layers()[0].media_type().to_string(), HELM_CHART);
        assert_eq!(manifest.layers()[0].digest(), &digest_of(&archive));
        let config: Value = serde_json::from_slice(&artifact.blobs[0]).unwrap();
        for key in ["name", "version", "apiVersion"] {
            assert!(config[key].is_string(), "{path}: {key} is {}", config[key]);
        }
        assert!(
            config["appVersion"].is_string() || config["appVersion"].is_null(),
            "{path}: helm wants a string"
        );
        assert_eq!(
            artifact,
            HelmChart::read("again", &archive).unwrap().artifact()
        );
    }
}

#[test]
fn numbers_in_chart_yaml_stay_the_strings_helm_wants() {
    let archive = tgz(&[(
        "demo/Chart.yaml",
        "apiVersion: v2\nname: demo\nversion: 1.10\nappVersion: 1.20\nkubeVersion: '>=1.30'\n",
    )]);
    let chart = HelmChart::read("demo", &archive).unwrap();
    assert_eq!(chart.version(), "1.10");
    let config: Value = serde_json::from_slice(&chart.artifact().blobs[0]).unwrap();
    assert_eq!(config["appVersion"], "1.20");
}

#[test]
fn a_plus_in_a_version_is_an_underscore_in_the_tag() {
    let chart = HelmChart::read(
        "demo",
        &tgz(&[(
            "demo/Chart.yaml",
            "apiVersion: v2\nname: demo\nversion: 1.0.0+build.2\n",
        )]),
    )
    .unwrap();
    assert_eq!(
        (chart.version(), chart.tag().as_str()),
        ("1.0.0+build.2", "1.0.0_build.2")
    );
}

#[test]
fn the_charts_own_chart_yaml_is_read_and_not_a_subcharts() {
    let sub = (
        "demo/charts/sub/Chart.yaml",
        "apiVersion: v2\nname: sub\nversion: 9.9.9\n",
    );
    let own = (
        "demo/Chart.yaml",
        "apiVersion: v2\nname: demo\nversion: 1.0.0\n",
    );
    assert_eq!(
        HelmChart::read("demo", &tgz(&[sub, own])).unwrap().name(),
        "demo"
    );
}

#[test]
fn what_is_not_a_chart_is_refused_by_name() {
    for (archive, word) in [
        (b"<html>404</html>".to_vec(), "not a chart archive"),
        (tgz(&[("demo/values.yaml", "a: 1\n")]), "no Chart.yaml"),
        (
            tgz(&[("demo/Chart.yaml", "version: 1.0.0\n")]),
            "lacks a name",
        ),
        (tgz(&[("demo/Chart.yaml", "name: [\n")]), "not valid"),
    ] {
        match HelmChart::read("https://charts.example/demo.tgz", &archive) {
            Err(Error::Unusable { object, reason }) => {
                assert_eq!(object, "https://charts.example/demo.tgz");
                assert!(reason.contains(word), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Without rendering: every image that a component lists is named somewhere in its chart, by the last part of its repository, unless the
/// component's own values name it.
#[test]
fn a_publishers_chart_names_the_images_that_its_component_lists() {
    let Some(charts) = publishers() else { return };
    let catalog = airgap_manifests::Catalog::builtin().unwrap();
    let mut checked = 0;
    for path in charts {
        let archive = fs_err::read(&path).unwrap();
        let chart = HelmChart::read(path.as_str(), &archive).unwrap();
        let mut text = String::new();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&archive[..]));
        for entry in tar.entries().unwrap() {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry.unwrap(), &mut bytes).unwrap();
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        // RKE2 carries charts of its own under the component's name
        let of = |component: &&airgap_manifests::Component| {
            component
                .chart
                .as_ref()
                .map_or(component.release_name() == chart.name(), |of| {
                    (of.name.as_str(), of.version.as_str()) == (chart.name(), chart.version())
                })
        };
        for component in catalog.components().filter(of) {
            let values =
                serde_json::to_string(&(&component.values, &component.site_values)).unwrap();
            for (_, _, image) in component.image_texts() {
                let repository = image.split('@').next().unwrap().rsplit_once(':').unwrap().0;
                let last = repository.rsplit('/').next().unwrap();
                // a chart may put the last word behind it itself: operator, then -generic or -aws
                let stem = last.rsplit_once('-').map_or(last, |(stem, _)| stem);
                assert!(
                    text.contains(stem) || values.contains(last),
                    "{path} does not name {image} of {}",
                    component.name
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 10, "{checked}");
}
