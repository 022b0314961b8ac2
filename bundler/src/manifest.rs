//! Manifests as they are fetched: parsed to be read, never rendered again.
//!
//! Invariant: what a manifest refers to is known by digest and size; `urls` of descriptors are never looked at. Docker's first
//! schema is refused: it names no sizes.

use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest, MediaType};
use serde::Deserialize;

use crate::error::{Error, Result};

/// Media types, as upstream and we spell them.
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = crate::artifact::OCI_MANIFEST;
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A manifest or index, with what it refers to.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    /// The exact bytes.
    pub(crate) bytes: Bytes,
    /// Their digest.
    pub(crate) digest: Digest,
    /// Their true type.
    pub(crate) media_type: MediaType,
    /// What it refers to.
    pub(crate) content: Content,
}

/// What a manifest refers to.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// An index's children.
    Index(Vec<Descriptor>),
    /// A manifest's config and layers.
    Image {
        config: Box<Descriptor>,
        layers: Vec<Descriptor>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Box<Descriptor>>,
    layers: Option<Vec<Descriptor>>,
}

impl Manifest {
    /// Reads a manifest whose digest was checked; `object` names it in errors.
    pub(crate) fn parse(object: &str, digest: Digest, bytes: Bytes) -> Result<Self> {
        let unusable = |reason: String| Error::Unusable {
            object: format!("{object} ({digest})"),
            reason,
        };
        let fields: Fields = serde_json::from_slice(&bytes)
            .map_err(|error| unusable(format!("its manifest is not valid: {error}")))?;
        if fields.schema_version != 2 {
            return Err(unusable(format!(
                "its manifest is of schema {}, not 2",
                fields.schema_version
            )));
        }
        let (content, default, allowed) = match (fields.manifests, fields.config, fields.layers) {
            (Some(children), None, None) => (
                Content::Index(children),
                OCI_INDEX,
                [OCI_INDEX, DOCKER_INDEX],
            ),
            (None, Some(config), Some(layers)) => (
                Content::Image { config, layers },
                OCI_MANIFEST,
                [OCI_MANIFEST, DOCKER_MANIFEST],
            ),
            _ => {
                return Err(unusable(
                    "it is neither an image manifest nor an index".into(),
                ));
            }
        };
        // One meaning for every reader: the type that the manifest states must fit what it holds.
        let media_type = fields.media_type.unwrap_or_else(|| default.to_owned());
        if !allowed.contains(&media_type.as_str()) {
            return Err(unusable(format!(
                "its media type {media_type} is not one that can be carried"
            )));
        }
        let manifest = Self {
            bytes,
            digest,
            media_type: media_type.as_str().into(),
            content,
        };
        if let Some(other) = manifest
            .references()
            .find(|other| other.as_digest_sha256().is_none())
        {
            let object = format!("{object} ({})", manifest.digest);
            let reason = format!(
                "it refers to {}, and only sha256 can be carried",
                other.digest()
            );
            return Err(Error::Unusable { object, reason });
        }
        Ok(manifest)
    }

    /// Lists children, or config and layers.
    pub(crate) fn references(&self) -> impl Iterator<Item = &Descriptor> {
        let (one, many) = match &self.content {
            Content::Index(children) => (None, children),
            Content::Image { config, layers } => (Some(&**config), layers),
        };
        one.into_iter().chain(many)
    }

    /// Returns the children of an index; a manifest has none.
    pub(crate) fn children(&self) -> &[Descriptor] {
        match &self.content {
            Content::Index(children) => children,
            Content::Image { .. } => &[],
        }
    }

    /// Tells whether this is an index.
    pub(crate) fn is_index(&self) -> bool {
        matches!(self.content, Content::Index(_))
    }

    /// Returns the bytes of config and layers together.
    pub(crate) fn content_bytes(&self) -> u64 {
        self.references()
            .map(Descriptor::size)
            .fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::digest::digest_of;

    fn parse(value: &Value) -> Result<Manifest> {
        let bytes = Bytes::from(value.to_string());
        Manifest::parse("quay.io/a/b:1", digest_of(&bytes), bytes)
    }

    fn descriptor(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": digest_of(b"x").to_string(), "size": 5})
    }

    #[test]
    fn docker_and_oci_are_read_alike_and_keep_their_type() {
        for media_type in [OCI_MANIFEST, DOCKER_MANIFEST] {
            let manifest = parse(
                &json!({"schemaVersion": 2, "mediaType": media_type, "config": descriptor("c"), "layers": [descriptor("l")]}),
            );
            let manifest = manifest.unwrap();
            assert_eq!(
                (
                    manifest.media_type.to_string().as_str(),
                    manifest.content_bytes()
                ),
                (media_type, 10)
            );
        }
        let index =
            parse(&json!({"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST)]})).unwrap();
        assert!(index.is_index() && index.children().len() == 1);
        assert_eq!(
            index.media_type,
            MediaType::ImageIndex,
            "a missing type is what the fields say"
        );
    }

    #[test]
    fn what_cannot_be_carried_is_refused_by_name() {
        let sha512 =
            json!({"mediaType": "l", "digest": format!("sha512:{}", "a".repeat(128)), "size": 5});
        for (value, word) in [
            (json!({"schemaVersion": 1, "fsLayers": []}), "schema 1"),
            (json!({"schemaVersion": 2}), "neither"),
            (
                json!({"schemaVersion": 2, "manifests": [], "config": descriptor("c"), "layers": []}),
                "neither",
            ),
            (
                json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "config": descriptor("c"), "layers": []}),
                "media type",
            ),
            (
                json!({"schemaVersion": 2, "config": descriptor("c"), "layers": [sha512]}),
                "sha512",
            ),
            (json!([]), "not valid"),
        ] {
            let error = parse(&value).unwrap_err().to_string();
            assert!(
                error.contains(word) && error.contains("quay.io/a/b:1"),
                "{error}"
            );
        }
    }
}
