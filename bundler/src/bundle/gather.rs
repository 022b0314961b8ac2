//! Everything small that a bundle is made of: manifests, charts, the RKE2 release's checksums.
//!
//! After this every digest and size of the bundle is known, and every problem that can be known before the long work has been
//! named. What it names by digest only is wanted, with the places it may come from.

mod images;

use std::collections::HashMap;

use airgap_manifests::{
    Delivery, MAX_INLINE_CHART_BYTES, OBJECTS_CHART, ResolvedChart, ResolvedEdition, objects_chart,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use oci_spec::image::{Descriptor, Digest};

pub(super) use self::images::Image;
use super::BundleRequest;
use crate::{
    artifact::{Artifact, HelmChart},
    checksums::Checksums,
    digest::sha256_hex,
    error::{Error, Result},
    event::{Event, Stage},
    fetch::{Fetcher, Source, Wanted},
    lock::{
        charts::chart_reference,
        release::{MAX_SMALL_FILE, is_checksums, parse},
    },
};

/// What was gathered.
pub(super) struct Contents {
    pub(super) edition: ResolvedEdition,
    pub(super) images: Vec<Image>,
    pub(super) charts: Vec<Chart>,
    pub(super) wanted: WantedBlobs,
}

/// A chart as an artifact.
pub(super) struct Chart {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) tag: String,
    pub(super) artifact: Artifact,
}

/// Blobs by digest, with every place each may come from.
#[derive(Default)]
pub(super) struct WantedBlobs(HashMap<Digest, Wanted>);

impl WantedBlobs {
    pub(super) fn add(&mut self, object: &str, blob: &Descriptor, source: &Source) {
        self.insert(
            object,
            blob.digest().clone(),
            Some(blob.size()),
            source.clone(),
        );
    }

    fn insert(&mut self, object: &str, digest: Digest, size: Option<u64>, source: Source) {
        let wanted = self.0.entry(digest.clone()).or_insert_with(|| Wanted {
            object: object.to_owned(),
            digest,
            size,
            sources: Vec::new(),
        });
        if !wanted.sources.contains(&source) {
            wanted.sources.push(source);
        }
    }

    pub(super) fn take(&mut self, digest: &Digest) -> Option<Wanted> {
        self.0.remove(digest)
    }
}

/// One thing gathered.
enum Part {
    Image(Box<Image>),
    Chart(Chart),
    File { name: String, size: u64 },
}

/// Gathers everything; all problems are collected.
pub(super) async fn gather(
    request: &BundleRequest<'_>,
    mut edition: ResolvedEdition,
    fetcher: Fetcher<'_>,
) -> Result<Contents> {
    let gatherer = Gatherer { request, fetcher };
    let mut work: Vec<BoxFuture<'_, Result<Part>>> = Vec::new();
    for image in &edition.images {
        work.push(Box::pin(async {
            gatherer
                .image(image)
                .await
                .map(|image| Part::Image(Box::new(image)))
        }));
    }
    for chart in &edition.charts {
        let inlined = edition.components.values().any(|component| {
            component.delivery == Delivery::Bootstrap
                && component
                    .chart
                    .as_ref()
                    .is_some_and(|of| of.name == chart.name && of.version == chart.version)
        });
        work.push(Box::pin(async move {
            gatherer.chart(chart, inlined).await.map(Part::Chart)
        }));
    }
    for file in &edition.rke2.files {
        let (name, digest, size) = (file.name.as_str(), &file.digest, file.size);
        work.push(Box::pin(async move {
            gatherer.release_file(name, digest, size).await
        }));
    }
    let items = work.len() as u64;
    (fetcher.report)(Event::Stage {
        stage: Stage::Gather,
        items,
        bytes: 0,
    });
    let results: Vec<Result<Part>> = stream::iter(work)
        .buffer_unordered(request.jobs.max(1))
        .collect()
        .await;

    let (mut images, mut charts, mut sizes, mut errors) =
        (Vec::new(), Vec::new(), HashMap::new(), Vec::new());
    for result in results {
        match result {
            Ok(Part::Image(image)) => images.push(*image),
            Ok(Part::Chart(chart)) => charts.push(chart),
            Ok(Part::File { name, size }) => drop(sizes.insert(name, size)),
            Err(Error::Several(several)) => errors.extend(several),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        errors.extend(gatherer.check_release(&edition).await.err());
    }
    if !errors.is_empty() {
        errors.sort_by_cached_key(ToString::to_string);
        return Err(Error::all(errors));
    }
    // What arrived first is chance; a bundle is not.
    images.sort_by(|a, b| a.name.cmp(&b.name));
    charts.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    for file in &mut edition.rke2.files {
        file.size = sizes.get(&file.name).copied().or(file.size);
    }
    let mut wanted = WantedBlobs::default();
    for image in &images {
        image.want(&mut wanted);
    }
    for (digest, size, what) in files_of(&edition) {
        let url = gatherer.file_url(what, digest)?;
        wanted.insert(what, digest.clone(), size, Source::Url(parse(&url)?));
    }
    Ok(Contents {
        edition,
        images,
        charts,
        wanted,
    })
}

#[derive(Clone, Copy)]
struct Gatherer<'a> {
    request: &'a BundleRequest<'a>,
    fetcher: Fetcher<'a>,
}

impl Gatherer<'_> {
    /// Brings a chart into the cache and makes its artifact.
    async fn chart(&self, chart: &ResolvedChart, inlined: bool) -> Result<Chart> {
        let (name, version) = (chart.name.as_str(), chart.version.as_str());
        let object = format!("chart {name} {version}");
        if name == OBJECTS_CHART {
            return self.objects_chart(&object, chart);
        }
        let locked = self.request.lock.chart(name, version);
        let url = locked.map(|locked| locked.url.as_str()).unwrap_or_default();
        let size = locked.and_then(|locked| locked.size);
        let source = if let Some(repository) = url.strip_prefix("oci://") {
            Source::Repository(chart_reference(&object, repository, version)?)
        } else {
            Source::Url(parse(url)?)
        };
        let wanted = Wanted {
            object: object.clone(),
            digest: chart.sha256.clone(),
            size,
            sources: vec![source],
        };
        let archive = self.fetcher.read(&wanted, MAX_SMALL_FILE).await?;
        let helm = HelmChart::read(&object, &archive)?;
        if (helm.name(), helm.version()) != (name, version) {
            let reason = format!("its Chart.yaml says {} {}", helm.name(), helm.version());
            return Err(Error::Unusable { object, reason });
        }
        if inlined && archive.len() as u64 > MAX_INLINE_CHART_BYTES {
            let reason = format!(
                "it is inlined into a manifest, which holds at most {MAX_INLINE_CHART_BYTES} bytes of it"
            );
            return Err(Error::Unusable { object, reason });
        }
        (self.fetcher.report)(Event::Done { object });
        Ok(Chart {
            name: name.to_owned(),
            version: version.to_owned(),
            tag: helm.tag(),
            artifact: helm.artifact(),
        })
    }

    /// Makes the chart that carries components' objects; nothing upstream has it, so the lock does not name it.
    fn objects_chart(&self, object: &str, chart: &ResolvedChart) -> Result<Chart> {
        let archive = objects_chart();
        let helm = HelmChart::read(object, &archive)?;
        let made = self.fetcher.cache.insert(&archive)?;
        if made != chart.sha256 {
            return Err(Error::WrongContent {
                object: object.to_owned(),
                expected: chart.sha256.clone(),
                actual: made.to_string(),
            });
        }
        (self.fetcher.report)(Event::Done {
            object: object.to_owned(),
        });
        Ok(Chart {
            name: chart.name.clone(),
            version: chart.version.clone(),
            tag: helm.tag(),
            artifact: helm.artifact(),
        })
    }

    /// Learns a release file's size; fetches it now where the lock does not say, or where it is read here.
    async fn release_file(&self, name: &str, digest: &Digest, size: Option<u64>) -> Result<Part> {
        if size.is_none() || is_checksums(name) {
            let source = Source::Url(parse(&self.file_url(name, digest)?)?);
            let object = format!("{name} of the RKE2 release");
            self.fetcher
                .blob(&Wanted {
                    object,
                    digest: digest.clone(),
                    size,
                    sources: vec![source],
                })
                .await?;
        }
        let size = size.or_else(|| self.fetcher.cache.size(digest));
        (self.fetcher.report)(Event::Done {
            object: name.to_owned(),
        });
        Ok(Part::File {
            name: name.to_owned(),
            size: size.unwrap_or_default(),
        })
    }

    /// Compares the locked release files with the release's own checksums.
    async fn check_release(&self, edition: &ResolvedEdition) -> Result<()> {
        let mut errors = Vec::new();
        for list in edition
            .rke2
            .files
            .iter()
            .filter(|file| is_checksums(&file.name))
        {
            let object = format!("{} of RKE2 {}", list.name, edition.rke2.version);
            let source = Source::Url(parse(&self.file_url(&list.name, &list.digest)?)?);
            let wanted = Wanted {
                object: object.clone(),
                digest: list.digest.clone(),
                size: list.size,
                sources: vec![source],
            };
            let bytes: Bytes = self.fetcher.read(&wanted, MAX_SMALL_FILE).await?;
            let sums = Checksums::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| {
                Error::Unusable {
                    object: object.clone(),
                    reason: error.to_string(),
                }
            })?;
            for file in &edition.rke2.files {
                if let Some(published) = sums.get(&file.name)
                    && *published != file.digest
                {
                    errors.push(Error::WrongContent {
                        object: format!(
                            "{} of RKE2 {} in images.lock",
                            file.name, edition.rke2.version
                        ),
                        expected: published.clone(),
                        actual: format!("{}; run `airgap lock`", file.digest),
                    });
                }
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Error::all(errors))
        }
    }

    /// Finds where a locked file comes from: the lock knows files by URL.
    fn file_url(&self, name: &str, digest: &Digest) -> Result<String> {
        let ends = |url: &str| url.rsplit('/').next().is_some_and(|last| last == name);
        let of_digest = || {
            self.request
                .lock
                .files
                .iter()
                .filter(|file| file.sha256.as_ref() == Some(digest))
        };
        let found = of_digest()
            .find(|file| ends(&file.url))
            .or_else(|| of_digest().next());
        found
            .map(|file| file.url.clone())
            .ok_or_else(|| Error::Unusable {
                object: name.to_owned(),
                reason: format!(
                    "images.lock holds no file of {}; run `airgap lock`",
                    sha256_hex(digest).unwrap_or_default()
                ),
            })
    }
}

/// Lists digest, size and name of the release's files.
fn files_of(edition: &ResolvedEdition) -> impl Iterator<Item = (&Digest, Option<u64>, &str)> {
    let files = edition.rke2.files.iter();
    files.map(|file| (&file.digest, file.size, file.name.as_str()))
}
