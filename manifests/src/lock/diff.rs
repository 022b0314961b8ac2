//! What differs between two locks, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::{ImageLock, LockedImage};

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LockedKind {
    /// A key at the top of the file.
    Header,
    /// An image.
    Image,
    /// A chart.
    Chart,
    /// A file.
    File,
}

impl fmt::Display for LockedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "lock",
            Self::Image => "image",
            Self::Chart => "chart",
            Self::File => "file",
        })
    }
}

/// One difference: an entry that came, went, or points elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockChange {
    /// What kind of entry.
    pub kind: LockedKind,
    /// Its name.
    pub name: String,
    /// What it was; absent for a new entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What it is now; absent for one that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

impl fmt::Display for LockChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, .. } = self;
        match (&self.old, &self.new) {
            (None, Some(new)) => write!(f, "+ {kind} {name}: {new}"),
            (Some(old), None) => write!(f, "- {kind} {name}: {old}"),
            (Some(old), Some(new)) => write!(f, "~ {kind} {name}: {old} -> {new}"),
            (None, None) => write!(f, "  {kind} {name}"),
        }
    }
}

pub(super) fn diff(old: &ImageLock, new: &ImageLock) -> Vec<LockChange> {
    let (before, after) = (entries(old), entries(new));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter(|key| before.get(key) != after.get(key))
        .map(|key| LockChange {
            kind: key.0,
            name: key.1.clone(),
            old: before.get(key).cloned(),
            new: after.get(key).cloned(),
        })
        .collect()
}

fn entries(lock: &ImageLock) -> BTreeMap<(LockedKind, String), String> {
    let digest = |digest: Option<&oci_spec::image::Digest>| {
        digest.map_or_else(|| "unlocked".to_owned(), ToString::to_string)
    };
    let mut entries = BTreeMap::new();
    entries.insert(
        (LockedKind::Header, "version".to_owned()),
        lock.version.clone(),
    );
    entries.insert(
        (LockedKind::Header, "manifests".to_owned()),
        lock.manifests_digest.to_string(),
    );
    for image in &lock.images {
        entries.insert(
            (LockedKind::Image, image.name.to_string()),
            image_text(image),
        );
    }
    for chart in &lock.charts {
        entries.insert(
            (
                LockedKind::Chart,
                format!("{} {}", chart.name, chart.version),
            ),
            digest(chart.sha256.as_ref()),
        );
    }
    for file in &lock.files {
        entries.insert(
            (LockedKind::File, file.url.clone()),
            digest(file.sha256.as_ref()),
        );
    }
    entries
}

fn image_text(image: &LockedImage) -> String {
    let mut parts = Vec::new();
    parts.extend(image.index.as_ref().map(ToString::to_string));
    parts.extend(
        image
            .platforms
            .iter()
            .map(|(platform, manifest)| format!("{platform} {}", manifest.digest)),
    );
    if !image.attached.is_empty() {
        parts.push(format!("{} attached", image.attached.len()));
    }
    if parts.is_empty() {
        "unlocked".to_owned()
    } else {
        parts.join(", ")
    }
}
