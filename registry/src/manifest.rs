//! Manifests as bytes: never written anew, parsed only to be read.

use bytes::Bytes;
use oci_spec::image::{Digest, MediaType};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// The largest manifest that is read, in bytes: what registries accept.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// The types that are asked for. Registries hide a manifest whose type is not.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A manifest or index exactly as a registry sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawManifest {
    /// The sha256 digest of `bytes`, computed here.
    pub digest: Digest,
    /// Its type: the field `mediaType`, else what the server said, else what its fields say it is.
    pub media_type: MediaType,
    /// The bytes.
    pub bytes: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

impl RawManifest {
    /// Takes in what a server sent; `None` when it is no JSON object.
    pub(crate) fn new(bytes: Bytes, content_type: Option<&str>) -> Option<Self> {
        let outline: Outline = serde_json::from_slice(&bytes).ok()?;
        let said = content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
        let media_type = match (outline.media_type, said) {
            (Some(media_type), _) => media_type,
            (None, Some(said)) if said.contains("manifest") || said.contains("image.index") => {
                said.to_owned()
            }
            (None, _) if outline.manifests.is_some() => MediaType::ImageIndex.to_string(),
            (None, _) => MediaType::ImageManifest.to_string(),
        };
        let digest = digest_of(&bytes);
        Some(Self {
            digest,
            media_type: MediaType::from(media_type.as_str()),
            bytes,
        })
    }
}

/// Returns the sha256 digest of bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
        .parse()
        .expect("sha256 in hex is a digest")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media_type(json: &str, content_type: Option<&str>) -> String {
        RawManifest::new(json.to_owned().into(), content_type)
            .unwrap()
            .media_type
            .to_string()
    }

    #[test]
    fn the_type_is_the_field_then_the_header_then_the_shape() {
        let index = "application/vnd.oci.image.index.v1+json";
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        assert_eq!(
            media_type(&format!(r#"{{"mediaType":"{index}"}}"#), Some(manifest)),
            index
        );
        assert_eq!(
            media_type("{}", Some(&format!("{index}; charset=utf-8"))),
            index
        );
        assert_eq!(
            media_type(r#"{"manifests":[]}"#, Some("application/json")),
            index
        );
        assert_eq!(media_type(r#"{"layers":[]}"#, None), manifest);
        assert!(RawManifest::new("<html>".into(), None).is_none());
    }
}
