//! Charts: a publisher's file, a chart repository with an index, or an OCI registry. Whatever it is, the `.tgz` is what is locked.

use std::collections::BTreeMap;

use airgap_manifests::LockedChart;
use airgap_registry::Puller;
use oci_spec::distribution::Reference;
use serde::Deserialize;
use url::Url;

use super::{
    Resolver,
    release::{MAX_SMALL_FILE, parse, small_file},
};
use crate::{
    artifact::{HELM_CHART, HelmChart},
    digest::{digest_of, from_hex},
    error::{Error, Result},
    fetch::{Source, Wanted},
    manifest::{Content, Manifest},
};

/// Of a chart repository's `index.yaml`, what finds a chart.
#[derive(Deserialize)]
struct RepositoryIndex {
    #[serde(default)]
    entries: BTreeMap<String, Vec<IndexEntry>>,
}

#[derive(Deserialize)]
struct IndexEntry {
    version: String,
    #[serde(default)]
    urls: Vec<String>,
    /// Hex sha256 of the archive, where the repository states it.
    digest: Option<String>,
}

impl Resolver<'_> {
    /// Resolves a chart and checks that it is the one the catalog names.
    pub(super) async fn chart(&self, name: &str, version: &str, url: &str) -> Result<LockedChart> {
        let object = format!("chart {name} {version} ({url})");
        let unusable = |reason: String| Error::Unusable {
            object: object.clone(),
            reason,
        };
        let (url, archive, source) = if let Some(repository) = url.strip_prefix("oci://") {
            let archive = self.oci_chart(&object, repository, version).await?;
            let host = repository.split('/').next().unwrap_or_default();
            (url.to_owned(), archive, format!("registry {host}"))
        } else if url.ends_with(".tgz") {
            (
                url.to_owned(),
                small_file(self.puller, url).await?,
                "the publisher's file".to_owned(),
            )
        } else {
            let (file, stated) =
                repository_chart(self.puller, &object, (name, version), url).await?;
            let archive = small_file(self.puller, file.as_str()).await?;
            let actual = digest_of(&archive);
            if stated.is_some_and(|stated| from_hex(&stated).as_ref() != Some(&actual)) {
                return Err(unusable(format!(
                    "the repository's index states another digest than {actual}"
                )));
            }
            (
                url.to_owned(),
                archive,
                format!("the chart repository's index, {file}"),
            )
        };
        let chart = HelmChart::read(&object, &archive)?;
        if (chart.name(), chart.version()) != (name, version) {
            return Err(unusable(format!(
                "its Chart.yaml says {} {}",
                chart.name(),
                chart.version()
            )));
        }
        Ok(LockedChart {
            name: name.to_owned(),
            version: version.to_owned(),
            url,
            sha256: Some(self.fetcher.cache.insert(&archive)?),
            size: Some(archive.len() as u64),
            source: Some(source),
        })
    }

    async fn oci_chart(&self, object: &str, repository: &str, version: &str) -> Result<Vec<u8>> {
        let reference = chart_reference(object, repository, version)?;
        let raw = self.puller.resolve(&reference).await;
        let raw = raw.map_err(|source| Error::Fetch {
            object: object.to_owned(),
            source: Box::new(source),
        })?;
        let manifest = Manifest::parse(object, raw.digest, raw.bytes)?;
        let unusable = |reason: &str| Error::Unusable {
            object: object.to_owned(),
            reason: reason.to_owned(),
        };
        let Content::Image { layers, .. } = &manifest.content else {
            return Err(unusable("it is an image index"));
        };
        let charts: Vec<_> = layers
            .iter()
            .filter(|layer| layer.media_type().to_string() == HELM_CHART)
            .collect();
        let [chart] = charts[..] else {
            return Err(unusable("it does not hold exactly one chart"));
        };
        let wanted = Wanted {
            object: object.to_owned(),
            digest: chart.digest().clone(),
            size: Some(chart.size()),
            sources: vec![Source::Repository(reference)],
        };
        self.fetcher
            .read(&wanted, MAX_SMALL_FILE)
            .await
            .map(Into::into)
    }
}

/// Finds a chart in a repository's index; returns where its file is, and the digest that the index states.
pub(crate) async fn repository_chart(
    puller: &Puller,
    object: &str,
    (name, version): (&str, &str),
    repository: &str,
) -> Result<(Url, Option<String>)> {
    let unusable = |reason: String| Error::Unusable {
        object: object.to_owned(),
        reason,
    };
    let base = parse(&format!("{}/", repository.trim_end_matches('/')))?;
    let index_url = base
        .join("index.yaml")
        .map_err(|error| unusable(error.to_string()))?;
    let text = small_file(puller, index_url.as_str()).await?;
    let text = String::from_utf8_lossy(&text);
    let index: RepositoryIndex = serde_saphyr::from_str(&text)
        .map_err(|error| unusable(format!("the repository's index is not valid: {error}")))?;
    let entry = index
        .entries
        .get(name)
        .and_then(|entries| entries.iter().find(|entry| entry.version == version));
    let entry = entry.ok_or_else(|| unusable("the repository's index does not list it".into()))?;
    let url = entry
        .urls
        .first()
        .ok_or_else(|| unusable("the repository's index names no file for it".into()))?;
    let url = base.join(url).map_err(|error| {
        unusable(format!(
            "the repository's index names the file {url}: {error}"
        ))
    })?;
    Ok((url, entry.digest.clone()))
}

/// Reads `host/path/name` and a chart's version as a reference; no tag may hold a `+`.
pub(crate) fn chart_reference(object: &str, repository: &str, version: &str) -> Result<Reference> {
    let text = format!("{repository}:{}", version.replace('+', "_"));
    text.parse().map_err(|error| Error::Unusable {
        object: object.to_owned(),
        reason: format!("{text} is not a reference: {error}"),
    })
}
