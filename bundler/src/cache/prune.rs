//! Emptying the cache of what nothing needs any more.

use std::{
    collections::HashSet,
    fs::TryLockError,
    time::{Duration, SystemTime},
};

use airgap_manifests::ImageLock;
use airgap_registry::MAX_MANIFEST_BYTES;
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::Digest;
use serde::Serialize;

use super::{Cache, blobs, lock_file, partials};
use crate::{
    digest::sha256_hex,
    error::{Error, Result},
    manifest::Manifest,
};

/// What [`Cache::prune`] spares.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Blobs that are kept whatever their age; see [`Cache::reachable`].
    pub keep: HashSet<Digest>,
    /// Blobs used within this time are kept.
    pub older_than: Option<Duration>,
    /// Only count.
    pub dry_run: bool,
}

/// What [`Cache::prune`] removed, or would have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    /// Files removed.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Files kept.
    pub kept: u64,
    /// Their bytes.
    pub kept_bytes: u64,
}

impl Cache {
    /// Lists every blob that a bundle of `lock` may need, as far as the cache knows the manifests that name them.
    pub fn reachable(&self, lock: &ImageLock) -> Result<HashSet<Digest>> {
        let images = lock.images.iter().flat_map(|image| {
            let platforms = image.platforms.values().map(|manifest| &manifest.digest);
            image
                .index
                .iter()
                .chain(platforms)
                .chain(image.attached.iter().map(|attached| &attached.digest))
        });
        let mut manifests: Vec<Digest> = images.cloned().collect();
        let charts = lock.charts.iter().filter_map(|chart| chart.sha256.clone());
        let files = lock.files.iter().filter_map(|file| file.sha256.clone());
        let mut found: HashSet<Digest> = charts.chain(files).collect();
        while let Some(digest) = manifests.pop() {
            if !found.insert(digest.clone()) {
                continue;
            }
            let Some(bytes) = self.read(&digest, MAX_MANIFEST_BYTES)? else {
                continue;
            };
            let manifest = Manifest::parse("an image of the lock", digest, bytes.into())?;
            let below = manifest
                .references()
                .map(|reference| reference.digest().clone());
            if manifest.is_index() {
                manifests.extend(below);
            } else {
                found.extend(below);
            }
        }
        Ok(found)
    }

    /// Removes the blobs and partial downloads of the cache at `root` that `options` does not spare.
    ///
    /// # Errors
    /// [`Error::CacheBusy`] while any process has the cache open; nothing is removed then.
    pub fn prune(root: &Utf8Path, options: &PruneOptions) -> Result<Pruned> {
        let lock = lock_file(root)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::CacheBusy {
                    path: root.to_path_buf(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", root)(error)),
        }
        let keep: HashSet<&str> = options.keep.iter().filter_map(sha256_hex).collect();
        let now = SystemTime::now();
        let mut pruned = Pruned::default();
        for folder in [blobs(root), partials(root)] {
            for (path, name) in files(&folder)? {
                let meta = fs_err::metadata(&path).map_err(Error::io("look at", &path))?;
                let age = meta
                    .modified()
                    .ok()
                    .and_then(|time| now.duration_since(time).ok())
                    .unwrap_or_default();
                if keep.contains(name.as_str())
                    || options.older_than.is_some_and(|limit| age < limit)
                {
                    pruned.kept += 1;
                    pruned.kept_bytes += meta.len();
                    continue;
                }
                if !options.dry_run {
                    fs_err::remove_file(&path).map_err(Error::io("remove", &path))?;
                }
                pruned.removed += 1;
                pruned.removed_bytes += meta.len();
            }
        }
        Ok(pruned)
    }
}

/// Lists a folder's files with their names, sorted; a missing folder has none.
fn files(folder: &Utf8Path) -> Result<Vec<(Utf8PathBuf, String)>> {
    let entries = match folder.read_dir_utf8() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", folder))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", folder))?;
        files.push((entry.path().to_path_buf(), entry.file_name().to_owned()));
    }
    files.sort();
    Ok(files)
}
