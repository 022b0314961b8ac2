//! `rendered/`: which images each chart asks for with each set of values, as a renderer found them.
//!
//! A record belongs to a chart's digest and to the digest of the values it was rendered with, so it says nothing about any
//! other chart or values. Invariant: records are generated, never edited; one file per chart version, one text per content.
//! Where no renderer was there yet, a record holds the component's own list and says `source: facts`.

mod check;
mod needed;

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

pub use needed::NeededRendering;

use crate::{Catalog, FoundImage, ImageLock, Problem};

/// The source of a record that no renderer made.
pub const FACTS: &str = "facts";

/// The renderings of one version of a chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChartRecord {
    /// The chart's name.
    pub chart: String,
    /// The chart's version.
    pub version: String,
    /// The digest of its tgz; absent while the chart is not locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// One entry for each component and set of values.
    pub renderings: Vec<RenderingRecord>,
}

/// What one set of values makes of a chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RenderingRecord {
    /// The component whose values they are.
    pub component: String,
    /// The digest over namespace, release and values, references to facts not filled in.
    pub values: Digest,
    /// Where these values hold: `standard/onprem`.
    pub editions: Vec<String>,
    /// What made the list: `facts`, or a version of helm.
    pub source: String,
    /// The images found.
    pub images: Vec<FoundImage>,
}

/// What a renderer found for one set of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The renderer.
    pub source: String,
    /// The images found.
    pub images: Vec<FoundImage>,
}

/// Renderings by component and digest of the values, as text.
pub type RenderedImages = BTreeMap<(String, String), Rendered>;

impl ChartRecord {
    /// Returns the file's name in `rendered/`.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{}.yaml", self.chart, self.version)
    }

    /// Returns the record as text.
    pub fn to_yaml(&self) -> Result<String, crate::RenderError> {
        let value = serde_json::to_value(self).unwrap_or_default();
        Ok(format!(
            "# written by `airgap lock` and the example `relock`; never edited\n{}",
            crate::to_yaml(&value)?
        ))
    }

    /// Writes records into a catalog's folder, and takes away the files of those that are no more; returns how many files
    /// changed.
    pub fn write_all(records: &[Self], catalog: &Utf8Path) -> Result<usize, Vec<Problem>> {
        let folder = catalog.join("rendered");
        let mut wanted: BTreeMap<String, String> = BTreeMap::new();
        for record in records {
            let text = record
                .to_yaml()
                .map_err(|error| vec![Problem::new(record.file_name(), error.to_string())])?;
            wanted.insert(record.file_name(), text);
        }
        let write = || -> std::io::Result<usize> {
            fs_err::create_dir_all(&folder)?;
            let mut changed = 0;
            for entry in folder.read_dir_utf8()? {
                let entry = entry?;
                if !wanted.contains_key(entry.file_name()) {
                    fs_err::remove_file(entry.path())?;
                    changed += 1;
                }
            }
            for (name, text) in &wanted {
                let path = folder.join(name);
                if fs_err::read_to_string(&path).ok().as_ref() != Some(text) {
                    fs_err::write(&path, text)?;
                    changed += 1;
                }
            }
            Ok(changed)
        };
        write().map_err(|error| vec![Problem::new(&folder, format!("cannot be written: {error}"))])
    }
}

impl Catalog {
    /// Iterates over the records of charts.
    pub fn records(&self) -> impl Iterator<Item = &ChartRecord> {
        self.records.values().map(|record| &record.value)
    }

    /// Returns the records that this catalog and lock ask for: what a renderer found now, else what it found earlier for the
    /// same chart and values, else the component's own list.
    #[must_use]
    pub fn fresh_records(&self, lock: &ImageLock, rendered: &RenderedImages) -> Vec<ChartRecord> {
        let mut records: BTreeMap<(String, String), ChartRecord> = BTreeMap::new();
        for needed in self.renderings() {
            let Some(chart) = &needed.component.chart else {
                continue;
            };
            let sha256 = lock
                .chart(&chart.name, &chart.version)
                .and_then(|locked| locked.sha256.clone());
            let earlier = || {
                let record = self.records().find(|record| {
                    (&record.chart, &record.version, &record.sha256)
                        == (&chart.name, &chart.version, &sha256)
                })?;
                let found = record.rendering(&needed.component.name, &needed.digest)?;
                (found.source != FACTS).then(|| Rendered {
                    source: found.source.clone(),
                    images: found.images.clone(),
                })
            };
            let key = (needed.component.name.clone(), needed.digest.to_string());
            let found = rendered.get(&key).cloned().or_else(earlier);
            let found = found.unwrap_or_else(|| needed.facts());
            records
                .entry((chart.name.clone(), chart.version.clone()))
                .or_insert_with(|| ChartRecord {
                    chart: chart.name.clone(),
                    version: chart.version.clone(),
                    sha256,
                    renderings: Vec::new(),
                })
                .renderings
                .push(RenderingRecord {
                    component: needed.component.name.clone(),
                    values: needed.digest.clone(),
                    editions: needed.editions.iter().cloned().collect(),
                    source: found.source,
                    images: found.images,
                });
        }
        records.into_values().collect()
    }

    /// Returns this catalog with other records.
    #[must_use]
    pub fn with_records(mut self, records: Vec<ChartRecord>) -> Self {
        self.records = records
            .into_iter()
            .map(|value| {
                let file = Utf8PathBuf::from("rendered").join(value.file_name());
                let sourced = crate::Sourced {
                    file: file.clone(),
                    value,
                    node: crate::strict::Node {
                        line: 0,
                        kind: crate::strict::Kind::List(Vec::new()),
                    },
                };
                (file, sourced)
            })
            .collect();
        self
    }
}

impl ChartRecord {
    fn rendering(&self, component: &str, values: &Digest) -> Option<&RenderingRecord> {
        self.renderings
            .iter()
            .find(|rendering| rendering.component == component && rendering.values == *values)
    }
}
