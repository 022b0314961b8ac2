//! What a bundle would hold, from the lock and the cache alone.
//!
//! Invariant: a plan is inert data. Making one asks no server, reads no key and writes nothing.

use std::collections::{HashMap, HashSet};

use airgap_archive::Base;
use airgap_manifests::{
    ImageLock, LockedImage, OBJECTS_CHART, ResolvedChart, ResolvedEdition, ResolvedImage,
    objects_chart, resolve,
};
use airgap_registry::MAX_MANIFEST_BYTES;
use camino::Utf8PathBuf;
use jiff::Timestamp;
use oci_spec::image::Digest;
use serde::Serialize;

use crate::{
    bundle::BundleRequest,
    cache::Cache,
    error::{Error, Result},
    lock::images::child_for,
    manifest::Manifest,
    platform::BundlePlatform,
};

/// The kind of a plan's item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ItemKind {
    /// A file of the RKE2 release.
    Rke2,
    /// A Helm chart.
    Chart,
    /// A container image.
    Image,
}

/// One thing that a bundle would carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanItem {
    /// What it is.
    pub kind: ItemKind,
    /// Its name: an image's full name, a chart's name and version, a file's name.
    pub name: String,
    /// The digest it is locked by.
    pub digest: String,
    /// Its bytes; `None` when neither the lock nor the cache knows them yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many of them are in the cache.
    pub cached_bytes: u64,
}

/// What [`crate::bundle()`] would do: the answer to `--dry-run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundlePlan {
    /// The edition.
    pub edition: String,
    /// The version that the lock carries.
    pub version: String,
    /// The lock's release counter.
    pub release: u64,
    /// The platform.
    pub platform: BundlePlatform,
    /// The source date.
    pub created: Timestamp,
    /// From when on it must not be installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The file that would be written, or the common name of its volumes.
    pub output: Utf8PathBuf,
    /// Everything it would carry, sorted by kind and name.
    pub items: Vec<PlanItem>,
    /// Bytes of all items whose size is known; a blob that several images known to the cache share counts once.
    pub total_bytes: u64,
    /// How many of them are in the cache.
    pub cached_bytes: u64,
    /// How many items have no known size yet.
    pub unknown_sizes: u64,
}

/// Resolves the edition against the lock and lists what a bundle of it would carry.
///
/// # Errors
/// [`Error::Choice`] for an edition or add-on that does not exist; [`Error::Catalog`] with every image, chart or file that is referred to but
/// not locked, each with its remedy.
pub fn plan(request: &BundleRequest<'_>, cache: &Cache) -> Result<BundlePlan> {
    let edition = resolved(request)?;
    let mut ledger = Ledger {
        cache,
        lock: request.lock,
        platform: request.platform,
        base: request.base,
        counted: HashSet::new(),
    };
    let mut items: Vec<PlanItem> = edition
        .rke2
        .files
        .iter()
        .map(|file| ledger.blob(ItemKind::Rke2, file.name.clone(), &file.digest, file.size))
        .collect();
    for chart in &edition.charts {
        if chart.name == OBJECTS_CHART {
            items.push(generated_chart(chart));
            continue;
        }
        let size = request
            .lock
            .chart(&chart.name, &chart.version)
            .and_then(|locked| locked.size);
        items.push(ledger.blob(
            ItemKind::Chart,
            format!("{} {}", chart.name, chart.version),
            &chart.sha256,
            size,
        ));
    }
    let mut shared = 0_u64;
    for image in &edition.images {
        let (item, again) = ledger.image(image)?;
        shared = shared.saturating_add(again);
        items.push(item);
    }
    items.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    let sum = |of: fn(&PlanItem) -> u64| {
        items
            .iter()
            .map(of)
            .fold(0, u64::saturating_add)
            .saturating_sub(shared)
    };
    Ok(BundlePlan {
        version: edition.version,
        release: edition.release,
        platform: request.platform,
        created: request.created(),
        expires: request.expires()?,
        output: request.output.to_owned(),
        total_bytes: sum(|item| item.bytes.unwrap_or_default()),
        cached_bytes: sum(|item| item.cached_bytes),
        unknown_sizes: items.iter().filter(|item| item.bytes.is_none()).count() as u64,
        edition: edition.edition,
        items,
    })
}

/// The chart that carries objects is made here: nothing of it is fetched.
fn generated_chart(chart: &ResolvedChart) -> PlanItem {
    let bytes = objects_chart().len() as u64;
    PlanItem {
        kind: ItemKind::Chart,
        name: format!("{} {}", chart.name, chart.version),
        digest: chart.sha256.to_string(),
        bytes: Some(bytes),
        cached_bytes: bytes,
    }
}

/// Resolves the edition of a request, and compares it with what its charts were rendered to; every problem at once.
pub(crate) fn resolved(request: &BundleRequest<'_>) -> Result<ResolvedEdition> {
    request
        .catalog
        .chosen(request.edition, request.with, None)
        .map_err(Error::Choice)?;
    request
        .catalog
        .check_accepted(request.edition, request.with, request.accepted)
        .map_err(Error::Catalog)?;
    let resolved = resolve(
        request.catalog,
        request.lock,
        request.edition,
        request.with,
        request.platform.as_str(),
    )
    .map_err(Error::Catalog)?;
    request
        .catalog
        .check_records_of(request.lock, request.edition, request.with)
        .map_err(Error::Catalog)?;
    Ok(resolved)
}

struct Ledger<'a> {
    cache: &'a Cache,
    lock: &'a ImageLock,
    platform: BundlePlatform,
    base: Option<&'a Base>,
    counted: HashSet<Digest>,
}

impl Ledger<'_> {
    fn blob(
        &mut self,
        kind: ItemKind,
        name: String,
        digest: &Digest,
        locked: Option<u64>,
    ) -> PlanItem {
        let there = self
            .cache
            .size(digest)
            .filter(|there| locked.is_none_or(|size| size == *there));
        let cached_bytes = there.unwrap_or_else(|| self.cache.partial_bytes(digest));
        PlanItem {
            kind,
            name,
            digest: digest.to_string(),
            bytes: locked.or(there),
            cached_bytes,
        }
    }

    /// Looks at an image; returns how many of its cached bytes were counted with an earlier one.
    fn image(&mut self, image: &ResolvedImage) -> Result<(PlanItem, u64)> {
        let name = image.name.to_string();
        let item = |bytes, cached_bytes| PlanItem {
            kind: ItemKind::Image,
            name: name.clone(),
            digest: image.digest.to_string(),
            bytes,
            cached_bytes,
        };
        let Some(blobs) = self.known_blobs(&name, image)? else {
            return Ok((item(self.locked_size(image), 0), 0));
        };
        let (mut bytes, mut cached, mut again) = (0_u64, 0_u64, 0_u64);
        // sizes are what a manifest says, whoever made it
        for (digest, size) in blobs {
            bytes = bytes.saturating_add(size);
            if self.cache.contains(&digest, Some(size)) {
                cached = cached.saturating_add(size);
                if !self.counted.insert(digest) {
                    again = again.saturating_add(size);
                }
            } else {
                let partial = self.cache.partial_bytes(&digest).min(size);
                cached = cached.saturating_add(partial);
            }
        }
        Ok((item(Some(bytes), cached), again))
    }

    fn locked_size(&self, image: &ResolvedImage) -> Option<u64> {
        let locked: &LockedImage = self.lock.image(&image.name)?;
        match self.platform {
            BundlePlatform::All => None,
            _ if image.whole_index => None,
            platform => locked.platforms.get(platform.as_str())?.size,
        }
    }

    /// Lists an image's blobs when every manifest on the way is in the cache.
    fn known_blobs(
        &self,
        name: &str,
        image: &ResolvedImage,
    ) -> Result<Option<HashMap<Digest, u64>>> {
        let mut blobs = HashMap::new();
        let mut next = vec![image.digest.clone()];
        while let Some(digest) = next.pop() {
            let Some(bytes) = self.cache.read(&digest, MAX_MANIFEST_BYTES)? else {
                return Ok(None);
            };
            let manifest = Manifest::parse(name, digest, bytes.into())?;
            let whole = self.platform == BundlePlatform::All || image.whole_index;
            if manifest.is_index() && !whole {
                next.extend(
                    child_for(manifest.children(), self.platform.as_str())
                        .map(|child| child.digest().clone()),
                );
            } else if manifest.is_index() {
                next.extend(
                    manifest
                        .children()
                        .iter()
                        .map(|child| child.digest().clone()),
                );
            } else {
                let left_out = |digest: &Digest| self.base.is_some_and(|base| base.holds(digest));
                blobs.extend(
                    manifest
                        .references()
                        .filter(|blob| !left_out(blob.digest()))
                        .map(|blob| (blob.digest().clone(), blob.size())),
                );
            }
        }
        Ok(Some(blobs))
    }
}
