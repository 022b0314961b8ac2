//! A catalog in memory that a test can change, and a lock that fits it.

use std::collections::BTreeMap;

use airgap_manifests::{Catalog, ImageLock, LockedManifest};
use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

/// The shipped catalog's files by path.
pub(crate) struct Files(BTreeMap<Utf8PathBuf, String>);

impl Files {
    /// Reads the shipped catalog's files.
    pub(crate) fn shipped() -> Self {
        let root = Utf8Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = BTreeMap::new();
        for folder in ["components", "editions", "sites", "static"] {
            for entry in root.join(folder).read_dir_utf8().unwrap() {
                let entry = entry.unwrap();
                files.insert(
                    Utf8Path::new(folder).join(entry.file_name()),
                    fs_err::read_to_string(entry.path()).unwrap(),
                );
            }
        }
        files.insert(
            "registries.yaml".into(),
            fs_err::read_to_string(root.join("registries.yaml")).unwrap(),
        );
        Self(files)
    }

    /// Replaces a text that must be there.
    pub(crate) fn replace(mut self, path: &str, from: &str, to: &str) -> Self {
        let text = self.0.get_mut(Utf8Path::new(path)).unwrap();
        assert!(text.contains(from), "{path} has no {from:?}");
        *text = text.replacen(from, to, 1);
        self
    }

    /// Adds a file.
    pub(crate) fn add(mut self, path: &str, text: &str) -> Self {
        self.0.insert(path.into(), text.to_owned());
        self
    }

    /// Takes a file away.
    pub(crate) fn remove(mut self, path: &str) -> Self {
        self.0.remove(Utf8Path::new(path)).unwrap();
        self
    }

    /// Loads the catalog.
    pub(crate) fn load(&self) -> Result<Catalog, Vec<String>> {
        Catalog::from_files(
            self.0
                .iter()
                .map(|(path, text)| (path.as_path(), text.as_str())),
        )
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    /// Writes the catalog into a folder.
    pub(crate) fn write(&self, folder: &Utf8Path) {
        for (path, text) in &self.0 {
            let path = folder.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
    }
}

/// Returns a lock in which everything that a catalog wants has some digest.
pub(crate) fn full_lock(catalog: &Catalog) -> ImageLock {
    let mut lock = catalog.lock_skeleton(&Catalog::builtin_lock().unwrap());
    let digest = |name: &str| {
        let hex = hex::encode(Sha256::digest(name));
        format!("sha256:{hex}").parse().unwrap()
    };
    for image in &mut lock.images {
        image
            .index
            .get_or_insert_with(|| digest(&image.name.to_string()));
        let manifest = LockedManifest {
            digest: digest(&format!("amd64 {}", image.name)),
            size: Some(1),
        };
        image
            .platforms
            .entry("linux/amd64".to_owned())
            .or_insert(manifest);
    }
    for chart in &mut lock.charts {
        chart.sha256.get_or_insert_with(|| digest(&chart.name));
    }
    for file in &mut lock.files {
        file.sha256.get_or_insert_with(|| digest(&file.url));
    }
    lock
}
