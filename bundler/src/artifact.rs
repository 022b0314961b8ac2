//! OCI manifests that the bundler makes itself: Helm charts, the RKE2 release, the edition, signatures.
//!
//! Invariant: the same parts give the same bytes; keys are sorted and no time is written. What upstream made is never rendered
//! again, only what is made here.

mod cosign;
mod helm;

use std::collections::BTreeMap;

use oci_spec::image::{Descriptor, Digest, MediaType};
use serde_json::{Value, json};

pub use self::{
    cosign::{SIGNATURE_ANNOTATION, SIMPLE_SIGNING, payload, signature_manifest, signature_tag},
    helm::{HELM_CHART, HELM_CONFIG, HelmChart},
};
use crate::digest::digest_of;

/// Media type of an OCI image manifest.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of the empty JSON object that stands in for a config.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The annotation under which oras keeps a file's name.
pub const TITLE: &str = "org.opencontainers.image.title";
/// Artifact type of the RKE2 release.
pub const RKE2_TYPE: &str = "application/vnd.airgap.rke2.v1";
/// Artifact type of the edition.
pub const EDITION_TYPE: &str = "application/vnd.airgap.edition.v1";
/// Media type of a file of the RKE2 release.
pub const RKE2_FILE: &str = "application/vnd.airgap.rke2.file.v1";

/// A manifest made here, with the small blobs that exist nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The manifest's exact bytes.
    pub manifest: Vec<u8>,
    /// The blobs made with it: configs, payloads, the edition's description.
    pub blobs: Vec<Vec<u8>>,
}

impl Artifact {
    /// Returns the manifest's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest_of(&self.manifest)
    }

    /// Returns the descriptor to put into an index.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(
            MediaType::ImageManifest,
            self.manifest.len() as u64,
            self.digest(),
        )
    }
}

/// A layer of an artifact: a blob that is known by digest and size only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The blob's media type.
    pub media_type: String,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's bytes.
    pub size: u64,
    /// Annotations of the descriptor.
    pub annotations: BTreeMap<String, String>,
}

impl Layer {
    /// Describes a file under its name, as oras does.
    #[must_use]
    pub fn file(media_type: &str, name: &str, digest: Digest, size: u64) -> Self {
        let annotations = BTreeMap::from([(TITLE.to_owned(), name.to_owned())]);
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            annotations,
        }
    }

    fn json(&self) -> Value {
        let mut value = descriptor(&self.media_type, &self.digest, self.size);
        if !self.annotations.is_empty() {
            value["annotations"] = json!(self.annotations);
        }
        value
    }
}

/// Makes an artifact of files: an empty config, and one layer per file in the given order.
#[must_use]
pub fn files_artifact(artifact_type: &str, layers: &[Layer], blobs: Vec<Vec<u8>>) -> Artifact {
    let config = b"{}".to_vec();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": descriptor(EMPTY, &digest_of(&config), config.len() as u64),
        "layers": layers.iter().map(Layer::json).collect::<Vec<_>>(),
    });
    Artifact {
        manifest: render(&manifest),
        blobs: std::iter::once(config).chain(blobs).collect(),
    }
}

/// Renders generated JSON: one line, keys sorted.
pub(crate) fn render(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
}

#[cfg(test)]
mod tests {
    use oci_spec::image::ImageManifest;

    use super::*;

    #[test]
    fn a_file_artifact_is_an_image_manifest_with_titles() {
        let layer = Layer::file(RKE2_FILE, "install.sh", digest_of(b"#!/bin/sh\n"), 10);
        let artifact = files_artifact(RKE2_TYPE, &[layer], Vec::new());
        let manifest: ImageManifest = serde_json::from_slice(&artifact.manifest).unwrap();
        assert_eq!(
            manifest.artifact_type().as_ref().unwrap().to_string(),
            RKE2_TYPE
        );
        assert_eq!(manifest.config().digest(), &digest_of(b"{}"));
        assert_eq!(
            manifest.layers()[0].annotations().as_ref().unwrap()[TITLE],
            "install.sh"
        );
        assert_eq!(artifact.blobs, [b"{}".to_vec()]);
        assert_eq!(artifact.descriptor().size(), artifact.manifest.len() as u64);
    }
}
