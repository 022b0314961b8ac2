//! Charts: a publisher's file, or an OCI registry. Whatever it is, the `.tgz` is what is locked.

use airgap_manifests::LockedChart;
use oci_spec::distribution::Reference;

use super::{
    Resolver,
    release::{MAX_SMALL_FILE, small_file},
};
use crate::{
    artifact::{HELM_CHART, HelmChart},
    error::{Error, Result},
    fetch::{Source, Wanted},
    manifest::{Content, Manifest},
};

impl Resolver<'_> {
    /// Resolves a chart and checks that it is the one the catalog names, and the one that was locked before: a version that
    /// was published never changes, so another digest is somebody's mistake, or worse.
    pub(super) async fn chart(
        &self,
        name: &str,
        version: &str,
        url: &str,
        known: Option<&LockedChart>,
    ) -> Result<LockedChart> {
        let object = format!("chart {name} {version} ({url})");
        let unusable = |reason: String| Error::Unusable {
            object: object.clone(),
            reason,
        };
        let (archive, source) = if let Some(repository) = url.strip_prefix("oci://") {
            let archive = self.oci_chart(&object, repository, version).await?;
            let host = repository.split('/').next().unwrap_or_default();
            (archive, format!("registry {host}"))
        } else {
            let archive = small_file(self.puller, url).await?;
            (archive, "the publisher's file".to_owned())
        };
        let chart = HelmChart::read(&object, &archive)?;
        if (chart.name(), chart.version()) != (name, version) {
            return Err(unusable(format!(
                "its Chart.yaml says {} {}",
                chart.name(),
                chart.version()
            )));
        }
        let sha256 = self.fetcher.cache.insert(&archive)?;
        let known = known.filter(|known| known.url == url);
        if let Some(locked) = known.and_then(|known| known.sha256.as_ref())
            && *locked != sha256
        {
            return Err(Error::WrongContent {
                object,
                expected: locked.clone(),
                actual: format!(
                    "{sha256}; ask the publisher why version {version} changed, then take the chart's digest out of images.lock and run `airgap lock` again"
                ),
            });
        }
        Ok(LockedChart {
            name: name.to_owned(),
            version: version.to_owned(),
            url: url.to_owned(),
            sha256: Some(sha256),
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

/// Reads `host/path/name` and a chart's version as a reference; no tag may hold a `+`.
pub(crate) fn chart_reference(object: &str, repository: &str, version: &str) -> Result<Reference> {
    let text = format!("{repository}:{}", version.replace('+', "_"));
    text.parse().map_err(|error| Error::Unusable {
        object: object.to_owned(),
        reason: format!("{text} is not a reference: {error}"),
    })
}
