//! Charts as their publishers released them, and the values that the catalog gives them: every key must be one of the chart's.

use std::collections::BTreeMap;
use std::io::Read;

use airgap_manifests::{Catalog, strict};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value};

/// The texts of one chart, by their path within it.
pub(crate) struct Chart(BTreeMap<String, String>);

impl Chart {
    /// Reads a publisher's tgz; without the folder of charts, which are kept outside the project, a test is skipped.
    pub(crate) fn find(name: &str) -> Option<Self> {
        let named = std::env::var("AIRGAP_TEST_CHARTS").map(Utf8PathBuf::from);
        let folder = named.unwrap_or_else(|_| {
            Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/charts")
        });
        if !folder.exists() {
            assert!(
                std::env::var("CI").is_err(),
                "the publishers' charts are not in {folder}; set AIRGAP_TEST_CHARTS"
            );
            println!("SKIPPED: the publishers' charts are not in {folder}; set AIRGAP_TEST_CHARTS");
            return None;
        }
        let bytes = fs_err::read(folder.join(name)).ok()?;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
        let mut files = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            if entry.read_to_string(&mut text).is_ok() {
                let (_, path) = path.split_once('/').unwrap();
                files.insert(path.to_owned(), text);
            }
        }
        Some(Self(files))
    }

    /// Iterates over its texts.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn values(&self) -> Map<String, Value> {
        let text = self.0.get("values.yaml").unwrap();
        let Value::Object(values) = strict::parse(text, "values.yaml".into()).unwrap() else {
            panic!("values.yaml is no mapping");
        };
        values
    }
}

/// Lists the keys that a chart does not have; what is empty in the chart may hold anything, and what has no default there is
/// known by the templates that ask for it.
fn unknown(
    chart: &Chart,
    ours: &Map<String, Value>,
    theirs: &Map<String, Value>,
    place: &str,
) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, value) in ours {
        let within = place.rsplit('.').next().unwrap();
        let asked = format!(".{within}.{key}");
        let place = format!("{place}.{key}");
        match (value, theirs.get(key)) {
            (_, None) if chart.files().any(|(_, text)| text.contains(&asked)) => {}
            (_, None) => problems.push(place),
            (Value::Object(ours), Some(Value::Object(theirs))) if !theirs.is_empty() => {
                problems.extend(unknown(chart, ours, theirs, &place));
            }
            _ => {}
        }
    }
    problems
}

#[test]
fn every_value_is_a_key_of_the_publishers_chart() {
    let catalog = Catalog::builtin().unwrap();
    let mut seen = Vec::new();
    for component in catalog.components() {
        let Some(chart) = &component.chart else {
            continue;
        };
        let Some(chart) = Chart::find(&format!("{}-{}.tgz", chart.name, chart.version)) else {
            continue;
        };
        let theirs = chart.values();
        let layers = std::iter::once(&component.values)
            .chain(component.site_values.values())
            .chain(component.values_with.iter().map(|with| &with.values));
        for values in layers {
            let problems = unknown(&chart, values, &theirs, &component.name);
            assert_eq!(problems, [] as [String; 0], "{}", component.name);
        }
        seen.push(component.name.as_str());
    }
    assert!(
        seen.is_empty() || ["keda", "kyverno"].iter().all(|name| seen.contains(name)),
        "{seen:?}"
    );
}

#[test]
fn a_key_that_a_chart_does_not_have_is_found() {
    let Some(chart) = Chart::find("keda-2.20.2.tgz") else {
        return;
    };
    let ours = serde_json::json!({"image": {"pullPolice": "Always"}, "replicas": 2});
    assert_eq!(
        unknown(&chart, ours.as_object().unwrap(), &chart.values(), "keda"),
        ["keda.image.pullPolice", "keda.replicas"]
    );
}
