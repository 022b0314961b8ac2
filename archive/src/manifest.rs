//! Reading what manifests refer to (FORMAT §3).
//!
//! The original bytes are what is kept; this only reads them. A document that two readers could take for different
//! things (an index with layers, a media type that contradicts its descriptor) is refused.

use oci_spec::image::{Descriptor, MediaType};

use crate::digest::sha256_hex;
use crate::limits::{MAX_BLOB, MAX_MANIFEST};

/// Docker's media type for what OCI calls an image index.
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's media type for what OCI calls an image manifest.
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The two shapes of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Refers to further manifests.
    Index,
    /// Refers to a config and layers.
    Manifest,
}

impl Kind {
    /// Returns the shape a media type stands for, or `None` for anything that is not a manifest.
    pub(crate) fn of(media_type: &MediaType) -> Option<Self> {
        match media_type {
            MediaType::ImageIndex => Some(Self::Index),
            MediaType::ImageManifest => Some(Self::Manifest),
            MediaType::Other(other) if other == DOCKER_INDEX => Some(Self::Index),
            MediaType::Other(other) if other == DOCKER_MANIFEST => Some(Self::Manifest),
            _ => None,
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    media_type: Option<MediaType>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// Returns what a manifest refers to: children of an index, or config and then layers.
pub(crate) fn references(media_type: &MediaType, bytes: &[u8]) -> Result<Vec<Descriptor>, String> {
    let kind = Kind::of(media_type).ok_or_else(|| format!("`{media_type}` is not a manifest"))?;
    let document: Document = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if document.schema_version != 2 {
        return Err(format!(
            "schema version {} is not 2",
            document.schema_version
        ));
    }
    if document
        .media_type
        .as_ref()
        .is_some_and(|own| own != media_type)
    {
        return Err("its own media type is not its descriptor's".to_owned());
    }
    let found = match (kind, document.manifests, document.config, document.layers) {
        (Kind::Index, Some(manifests), None, None) => manifests,
        (Kind::Manifest, None, Some(config), Some(layers)) => {
            let mut all = vec![config];
            all.extend(layers);
            all
        }
        (Kind::Index, ..) => {
            return Err("an index has manifests, and neither config nor layers".to_owned());
        }
        (Kind::Manifest, ..) => {
            return Err("a manifest has config and layers, and no manifests".to_owned());
        }
    };
    for descriptor in &found {
        let child = Kind::of(descriptor.media_type());
        match kind {
            Kind::Index if child != Some(Kind::Manifest) => {
                return Err(format!(
                    "its child {} is no image manifest",
                    descriptor.digest()
                ));
            }
            Kind::Manifest if child.is_some() => {
                return Err(format!(
                    "its blob {} is typed as a manifest",
                    descriptor.digest()
                ));
            }
            Kind::Index | Kind::Manifest => check(descriptor)?,
        }
    }
    Ok(found)
}

/// Checks digest algorithm and size of a descriptor against the format's limits.
pub(crate) fn check(descriptor: &Descriptor) -> Result<(), String> {
    let (digest, size) = (descriptor.digest(), descriptor.size());
    if sha256_hex(digest).is_none() {
        return Err(format!("{digest} is not a sha256 digest"));
    }
    let limit = if Kind::of(descriptor.media_type()).is_some() {
        MAX_MANIFEST
    } else {
        MAX_BLOB
    };
    if size > limit {
        return Err(format!(
            "{digest} is {size} bytes, more than the {limit} allowed"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    #[test]
    fn config_comes_before_layers() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x/c","digest":"{}","size":1}},"layers":[{{"mediaType":"x/l","digest":"{}","size":2}}]}}"#,
            digest("a"),
            digest("b")
        );
        let found = references(&MediaType::ImageManifest, text.as_bytes()).unwrap();
        assert_eq!(
            found.iter().map(Descriptor::size).collect::<Vec<_>>(),
            [1, 2]
        );
    }

    #[test]
    fn documents_that_can_be_read_in_two_ways_are_refused() {
        let blob = |letter: &str, kind: &str, size: &str| {
            format!(
                r#"{{"mediaType":"{kind}","digest":"{}","size":{size}}}"#,
                digest(letter)
            )
        };
        let oci = "application/vnd.oci.image.manifest.v1+json";
        let config = blob("a", "x/c", "1");
        let cases = [
            (
                MediaType::ImageIndex,
                r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_owned(),
            ),
            (
                MediaType::ImageManifest,
                format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#),
            ),
            (
                MediaType::ImageManifest,
                format!(
                    r#"{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}","config":{config},"layers":[]}}"#
                ),
            ),
            (
                MediaType::ImageManifest,
                format!(r#"{{"schemaVersion":2,"config":{config},"config":{config},"layers":[]}}"#),
            ),
            (
                MediaType::ImageManifest,
                format!(r#"{{"schemaVersion":1,"config":{config},"layers":[]}}"#),
            ),
            (
                MediaType::ImageManifest,
                format!(
                    r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#,
                    blob("a", oci, "1")
                ),
            ),
            (
                MediaType::ImageManifest,
                format!(
                    r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#,
                    blob("a", "x/c", "-1")
                ),
            ),
            (
                MediaType::ImageManifest,
                format!(
                    r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#,
                    blob("a", "x/c", "99999999999999")
                ),
            ),
            (
                MediaType::ImageIndex,
                format!(
                    r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
                    blob("a", "application/vnd.oci.image.index.v1+json", "1")
                ),
            ),
            (
                MediaType::ImageIndex,
                format!(
                    r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
                    blob("a", oci, "4194305")
                ),
            ),
            (MediaType::ImageConfig, "{}".to_owned()),
        ];
        for (media_type, text) in cases {
            assert!(references(&media_type, text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_anything_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = references(&MediaType::ImageManifest, &bytes);
            let _ = references(&MediaType::ImageIndex, &bytes);
        }
    }
}
