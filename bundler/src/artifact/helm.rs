//! Helm charts as OCI artifacts, the way `helm push` lays them out.
//!
//! Invariant: the chart layer is the publisher's `.tgz`, byte for byte. The config is the chart's metadata as JSON. No time is
//! written, so the manifest's digest changes only when the chart does.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Artifact, OCI_MANIFEST, TITLE, descriptor, render};
use crate::{
    digest::digest_of,
    error::{Error, Result},
};

/// Media type of a chart's metadata.
pub const HELM_CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
/// Media type of a chart's archive.
pub const HELM_CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// Charts are small; one that unpacks to more than this many bytes is refused.
const MAX_UNPACKED: u64 = 256 << 20;
/// The longest `Chart.yaml` that is read, in bytes.
const MAX_CHART_YAML: u64 = 1 << 20;

/// A chart's archive and what its `Chart.yaml` says.
#[derive(Debug, Clone)]
pub struct HelmChart {
    metadata: Metadata,
    archive_digest: oci_spec::image::Digest,
    archive_bytes: u64,
}

impl HelmChart {
    /// Reads a chart's `.tgz`; `source` names it in errors.
    ///
    /// # Errors
    /// [`Error::Unusable`] when it is not a gzipped tar with one `<name>/Chart.yaml` that names the chart and its version.
    pub fn read(source: &str, archive: &[u8]) -> Result<Self> {
        let unusable = |reason: String| Error::Unusable {
            object: source.to_owned(),
            reason,
        };
        let text = chart_yaml(archive)
            .map_err(|error| unusable(format!("it is not a chart archive: {error}")))?;
        let text = text.ok_or_else(|| unusable("it holds no Chart.yaml".into()))?;
        let metadata: Metadata = serde_saphyr::from_str(&text)
            .map_err(|error| unusable(format!("its Chart.yaml is not valid: {error}")))?;
        if metadata.name.is_empty() || metadata.version.is_empty() {
            return Err(unusable("its Chart.yaml lacks a name or a version".into()));
        }
        Ok(Self {
            metadata,
            archive_digest: digest_of(archive),
            archive_bytes: archive.len() as u64,
        })
    }

    /// Returns the chart's name, which is also the last part of its repository.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Returns the chart's version as `Chart.yaml` spells it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.metadata.version
    }

    /// Returns the version as a tag: `+`, which no tag may hold, is `_`, and helm knows.
    #[must_use]
    pub fn tag(&self) -> String {
        self.metadata.version.replace('+', "_")
    }

    /// Renders the OCI artifact that `helm pull oci://` understands.
    #[must_use]
    pub fn artifact(&self) -> Artifact {
        let config = render(&json!(self.metadata));
        let mut annotations = self.metadata.annotations.clone().unwrap_or_default();
        annotations.insert(TITLE.into(), self.metadata.name.clone());
        annotations.insert(
            "org.opencontainers.image.version".into(),
            self.metadata.version.clone(),
        );
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(HELM_CONFIG, &digest_of(&config), config.len() as u64),
            "layers": [descriptor(HELM_CHART, &self.archive_digest, self.archive_bytes)],
            "annotations": annotations,
        });
        Artifact {
            manifest: render(&manifest),
            blobs: vec![config],
        }
    }
}

/// `Chart.yaml`, as far as helm knows it; other keys are dropped, as helm drops them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<String>>,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keywords: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maintainers: Option<Vec<Maintainer>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icon: Option<String>,
    api_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deprecated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kube_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependencies: Option<Vec<Dependency>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Maintainer {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Dependency {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Helm writes it even when it is empty.
    repository: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(rename = "import-values", skip_serializing_if = "Option::is_none")]
    import_values: Option<Vec<serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
}

/// Finds the chart's own `Chart.yaml`: the one in the archive's top folder, not a subchart's.
fn chart_yaml(archive: &[u8]) -> io::Result<Option<String>> {
    let mut tar = tar::Archive::new(GzDecoder::new(archive).take(MAX_UNPACKED));
    for entry in tar.entries()? {
        let entry = entry?;
        let path = entry.path_bytes();
        let own = path
            .strip_suffix(b"/Chart.yaml")
            .is_some_and(|folder| !folder.is_empty() && !folder.contains(&b'/'));
        if own && entry.header().entry_type().is_file() {
            let mut text = String::new();
            entry.take(MAX_CHART_YAML).read_to_string(&mut text)?;
            return Ok(Some(text));
        }
    }
    Ok(None)
}
