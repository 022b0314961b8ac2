//! Fake bundles, made through the public writer.
//!
//! Invariant: the same calls give the same bundle, byte for byte. For integration tests only: a unit test of the
//! archive crate itself would see two copies of its types.

use std::collections::HashMap;
use std::io::{self, Cursor, Read};

use airgap_archive::{
    Addition, ArchiveWriter, Base, BlobSource, BundleInfo, BundleTree, Result, Role,
    VerifiedArchive, WriteOptions, Written,
};
use airgap_signing::SigningKey;
use bytes::Bytes;
use camino::Utf8Path;
use oci_spec::image::{Digest, MediaType};

use crate::image::{Image, digest_of};

/// Blobs in memory.
#[derive(Debug, Clone, Default)]
pub struct Blobs(HashMap<String, Bytes>);

impl Blobs {
    /// Adds a blob under its digest.
    pub fn insert(&mut self, bytes: Bytes) {
        self.0.insert(digest_of(&bytes).to_string(), bytes);
    }

    /// Puts other bytes in a blob's place, as a damaged cache would.
    pub fn corrupt(&mut self, digest: &Digest, bytes: Bytes) {
        self.0.insert(digest.to_string(), bytes);
    }
}

impl BlobSource for Blobs {
    fn open(&self, digest: &Digest, _size: u64) -> io::Result<Box<dyn Read + Send>> {
        let bytes = self.0.get(digest.as_ref()).cloned();
        let bytes = bytes
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no blob {digest}")))?;
        Ok(Box::new(Cursor::new(bytes)))
    }
}

/// A bundle to be written, with everything it holds.
#[derive(Debug)]
pub struct FakeBundle {
    /// The tree, to which more may be added.
    pub tree: BundleTree,
    /// Configs and layers.
    pub blobs: Blobs,
}

impl FakeBundle {
    /// Starts an empty bundle of edition `standard`, version 1.0.0, release 1.
    ///
    /// # Panics
    /// Never: the date is one.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::with_info(BundleInfo {
            name: name.to_owned(),
            edition: "standard".to_owned(),
            version: "1.0.0".to_owned(),
            release: 1,
            platform: "linux/amd64".to_owned(),
            created: "2026-01-02T03:04:05Z".parse().expect("a valid time"),
            expires: None,
            installer_sha256: None,
            delta: None,
        })
    }

    /// Starts an empty bundle that says this of itself.
    #[must_use]
    pub fn with_info(info: BundleInfo) -> Self {
        Self {
            tree: BundleTree::new(info),
            blobs: Blobs::default(),
        }
    }

    /// Adds an image, chart, release or edition under its full source name.
    ///
    /// # Panics
    /// Panics when the tree refuses it, as for a name used twice.
    #[must_use]
    pub fn with(self, role: Role, name: &str, image: &Image) -> Self {
        self.add(role, Some(name.to_owned()), None, image)
    }

    /// Adds a signature or referrer of `subject`.
    ///
    /// # Panics
    /// Panics when the tree refuses it.
    #[must_use]
    pub fn referring(self, role: Role, subject: &Digest, image: &Image) -> Self {
        self.add(role, None, Some(subject.clone()), image)
    }

    /// Leaves out what the images of another bundle hold; called last.
    ///
    /// # Panics
    /// Panics when the tree refuses it.
    #[must_use]
    pub fn on(mut self, base: &VerifiedArchive) -> Self {
        let built = self.tree.build_on(&Base::of(base));
        built.expect("the test's tree is valid");
        self
    }

    fn add(
        mut self,
        role: Role,
        name: Option<String>,
        subject: Option<Digest>,
        image: &Image,
    ) -> Self {
        let addition = Addition {
            manifest: image.manifest.clone(),
            media_type: MediaType::from(image.media_type.as_str()),
            role,
            name,
            subject,
            platform: None,
        };
        self.tree.add(addition).expect("the test's tree is valid");
        for (_, child) in &image.children {
            self.tree.add_child_manifest(child.clone());
        }
        for blob in &image.blobs {
            self.blobs.insert(blob.clone());
        }
        self
    }

    /// Writes the bundle to `path` with the given options.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn write(
        &self,
        path: &Utf8Path,
        key: &SigningKey,
        options: &WriteOptions,
    ) -> Result<Written> {
        ArchiveWriter::create(path, &self.tree, key, options, &self.blobs, &|_| {})
    }
}

/// Returns the key that signs fake bundles; everyone knows it.
#[must_use]
pub fn test_key() -> SigningKey {
    SigningKey::from_seed(&[42; 32])
}
