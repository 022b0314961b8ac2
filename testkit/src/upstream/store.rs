//! What an upstream server holds: manifests and tags by repository, blobs and files by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use camino::Utf8PathBuf;
use oci_spec::image::Digest;
use serde_json::Value;

use crate::image::{Image, digest_of};

/// Bytes in memory or on disk.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// In a file that must not change while it is served.
    File(Utf8PathBuf),
}

/// A manifest with its type.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
}

#[derive(Debug, Default)]
struct Repository {
    tags: BTreeMap<String, Digest>,
    manifests: HashMap<String, Stored>,
    /// Descriptors of manifests with a subject, by that subject.
    referrers: BTreeMap<String, Vec<Value>>,
}

/// Everything that is served.
#[derive(Debug, Default)]
pub(super) struct Store {
    repositories: BTreeMap<String, Repository>,
    blobs: HashMap<String, Content>,
    files: BTreeMap<String, Content>,
}

impl Store {
    /// Adds an image under `host/repository:tag`; without a tag it is found by digest only.
    pub(super) fn put_image(&mut self, name: &str, image: &Image) {
        let (repository, tag) = split(name);
        let repository = self.repositories.entry(repository.to_owned()).or_default();
        for (media_type, bytes) in image.children.iter().chain(std::iter::once(&(
            image.media_type.clone(),
            image.manifest.clone(),
        ))) {
            let stored = Stored {
                media_type: media_type.clone(),
                bytes: bytes.clone(),
            };
            repository.note_subject(&stored);
            repository
                .manifests
                .insert(digest_of(bytes).to_string(), stored);
        }
        if let Some(tag) = tag {
            repository.tags.insert(tag.to_owned(), image.digest());
        }
        for blob in &image.blobs {
            self.blobs
                .insert(digest_of(blob).to_string(), Content::Bytes(blob.clone()));
        }
    }

    pub(super) fn remove_image(&mut self, name: &str) {
        let (repository, tag) = split(name);
        if let Some(repository) = self.repositories.get_mut(repository)
            && let Some(digest) = tag.and_then(|tag| repository.tags.remove(tag))
        {
            repository.manifests.remove(&digest.to_string());
        }
    }

    pub(super) fn put_blob(&mut self, digest: &Digest, content: Content) {
        self.blobs.insert(digest.to_string(), content);
    }

    pub(super) fn put_file(&mut self, location: &str, content: Content) {
        self.files
            .insert(location.trim_start_matches("https://").to_owned(), content);
    }

    pub(super) fn has_repository(&self, repository: &str) -> bool {
        self.repositories.contains_key(repository)
    }

    /// Finds a manifest by tag or digest.
    pub(super) fn manifest(&self, repository: &str, reference: &str) -> Option<Stored> {
        let repository = self.repositories.get(repository)?;
        let digest = match repository.tags.get(reference) {
            Some(digest) => digest.to_string(),
            None => reference.to_owned(),
        };
        repository.manifests.get(&digest).cloned()
    }

    pub(super) fn referrers(&self, repository: &str, subject: &str) -> Vec<Value> {
        self.repositories
            .get(repository)
            .and_then(|repository| repository.referrers.get(subject))
            .cloned()
            .unwrap_or_default()
    }

    pub(super) fn blob(&self, digest: &str) -> Option<Content> {
        self.blobs.get(digest).cloned()
    }

    pub(super) fn file(&self, location: &str) -> Option<Content> {
        self.files.get(location).cloned()
    }

    /// Returns the hosts of all repositories.
    pub(super) fn registries(&self) -> BTreeSet<String> {
        self.repositories.keys().map(|name| host(name)).collect()
    }

    /// Returns the hosts of all files.
    pub(super) fn file_hosts(&self) -> BTreeSet<String> {
        self.files.keys().map(|name| host(name)).collect()
    }
}

impl Repository {
    fn note_subject(&mut self, stored: &Stored) {
        let Ok(manifest) = serde_json::from_slice::<Value>(&stored.bytes) else {
            return;
        };
        let Some(subject) = manifest["subject"]["digest"].as_str() else {
            return;
        };
        let mut descriptor = serde_json::json!({
            "mediaType": stored.media_type,
            "digest": digest_of(&stored.bytes).to_string(),
            "size": stored.bytes.len(),
        });
        let kind = manifest["artifactType"]
            .as_str()
            .or(manifest["config"]["mediaType"].as_str());
        if let Some(kind) = kind {
            descriptor["artifactType"] = kind.into();
        }
        self.referrers
            .entry(subject.to_owned())
            .or_default()
            .push(descriptor);
    }
}

fn host(name: &str) -> String {
    name.split('/').next().unwrap_or_default().to_owned()
}

fn split(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}
