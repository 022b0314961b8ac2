//! Small images, made the same every time.
//!
//! Layers are real gzip-compressed tars; manifests and configs are real JSON with sorted keys. Invariant:
//! the same calls give the same digests, on every machine.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use oci_spec::image::Digest;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Returns the sha256 digest of bytes.
///
/// # Panics
/// Never: a sha256 in hex is a digest.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
        .parse()
        .expect("sha256 in hex is a digest")
}

/// Returns `size` bytes that no compressor shrinks, the same for the same seed.
#[must_use]
pub fn noise(size: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

/// A manifest or an index, with everything below it.
#[derive(Debug, Clone)]
pub struct Image {
    /// The media type of `manifest`.
    pub media_type: String,
    /// The bytes of the manifest or index.
    pub manifest: Bytes,
    /// The manifests below an index, each with its media type.
    pub children: Vec<(String, Bytes)>,
    /// Configs and layers.
    pub blobs: Vec<Bytes>,
}

impl Image {
    /// Starts a single-platform OCI image.
    #[must_use]
    pub fn oci() -> ImageBuilder {
        ImageBuilder::new(false)
    }

    /// Starts a single-platform image of docker's older media types.
    #[must_use]
    pub fn docker() -> ImageBuilder {
        ImageBuilder::new(true)
    }

    /// Returns the digest of the manifest or index.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest_of(&self.manifest)
    }

    /// Returns an OCI index over images of several platforms, in the given order.
    #[must_use]
    pub fn index(images: Vec<(&str, Image)>) -> Image {
        Self::index_of(OCI_INDEX, images)
    }

    /// Returns a docker manifest list over images of several platforms.
    #[must_use]
    pub fn docker_list(images: Vec<(&str, Image)>) -> Image {
        Self::index_of(DOCKER_LIST, images)
    }

    fn index_of(media_type: &str, images: Vec<(&str, Image)>) -> Image {
        let mut manifests = Vec::new();
        let mut children = Vec::new();
        let mut blobs = Vec::new();
        for (platform, image) in images {
            let mut descriptor = descriptor(&image.media_type, &image.manifest);
            let (os, architecture) = platform.split_once('/').unwrap_or((platform, "amd64"));
            descriptor["platform"] = json!({"os": os, "architecture": architecture});
            manifests.push(descriptor);
            children.push((image.media_type, image.manifest));
            children.extend(image.children);
            blobs.extend(image.blobs);
        }
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        Image {
            media_type: media_type.to_owned(),
            manifest: to_bytes(&index),
            children,
            blobs,
        }
    }

    /// Returns an OCI artifact: a manifest of that type over layers of given types, with an optional subject.
    #[must_use]
    pub fn artifact(
        artifact_type: &str,
        config: (&str, Bytes),
        layers: Vec<(&str, Bytes)>,
        subject: Option<&Image>,
    ) -> Image {
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(config.0, &config.1),
            "layers": layers.iter().map(|(kind, bytes)| descriptor(kind, bytes)).collect::<Vec<_>>(),
        });
        if !artifact_type.is_empty() {
            manifest["artifactType"] = artifact_type.into();
        }
        if let Some(subject) = subject {
            manifest["subject"] = descriptor(&subject.media_type, &subject.manifest);
        }
        let blobs = std::iter::once(config.1)
            .chain(layers.into_iter().map(|(_, bytes)| bytes))
            .collect();
        Image {
            media_type: OCI_MANIFEST.to_owned(),
            manifest: to_bytes(&manifest),
            children: Vec::new(),
            blobs,
        }
    }

    /// Returns what cosign keeps under `sha256-<hex>.sig`: a simple-signing payload, with a signature that
    /// nobody made.
    #[must_use]
    pub fn cosign_signature(subject: &Digest, reference: &str) -> Image {
        let payload = to_bytes(&json!({
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": subject.to_string()},
                "type": "cosign container image signature",
            },
            "optional": null,
        }));
        let config = to_bytes(
            &json!({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest_of(&payload).to_string()]}}),
        );
        let mut layer = descriptor("application/vnd.dev.cosign.simplesigning.v1+json", &payload);
        layer["annotations"] = json!({"dev.cosignproject.cosign/signature": "c3RhbmQtaW4="});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [layer],
        });
        Image {
            media_type: OCI_MANIFEST.to_owned(),
            manifest: to_bytes(&manifest),
            children: Vec::new(),
            blobs: vec![config, payload],
        }
    }
}

/// Collects the layers of a single-platform image.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    docker: bool,
    platform: String,
    layers: Vec<Bytes>,
    diff_ids: Vec<String>,
}

impl ImageBuilder {
    fn new(docker: bool) -> Self {
        Self {
            docker,
            platform: "linux/amd64".to_owned(),
            layers: Vec::new(),
            diff_ids: Vec::new(),
        }
    }

    /// Sets the platform, as `linux/arm64`.
    #[must_use]
    pub fn platform(mut self, platform: &str) -> Self {
        platform.clone_into(&mut self.platform);
        self
    }

    /// Adds a layer with these files.
    ///
    /// # Panics
    /// Panics on a path that tar cannot hold.
    #[must_use]
    pub fn layer(mut self, files: &[(&str, &[u8])]) -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_path(path).expect("test paths fit a tar header");
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            header.set_mtime(1_700_000_000);
            header.set_cksum();
            tar.append(&header, *content)
                .expect("memory can be written");
        }
        let tar = tar.into_inner().expect("memory can be written");
        let mut gzip = GzBuilder::new()
            .mtime(0)
            .write(Vec::new(), Compression::new(6));
        gzip.write_all(&tar).expect("memory can be written");
        let compressed = gzip.finish().expect("memory can be written");
        self.diff_ids.push(digest_of(&tar).to_string());
        self.layers.push(compressed.into());
        self
    }

    /// Finishes the image.
    #[must_use]
    pub fn build(self) -> Image {
        let (manifest_type, config_type, layer_type) = if self.docker {
            (
                DOCKER_MANIFEST,
                "application/vnd.docker.container.image.v1+json",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            )
        } else {
            (
                OCI_MANIFEST,
                "application/vnd.oci.image.config.v1+json",
                "application/vnd.oci.image.layer.v1.tar+gzip",
            )
        };
        let (os, architecture) = self
            .platform
            .split_once('/')
            .unwrap_or(("linux", &self.platform));
        let config = to_bytes(&json!({
            "architecture": architecture,
            "os": os,
            "created": "2023-11-14T22:13:20Z",
            "config": {"Entrypoint": ["/bin/stand-in"]},
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
        }));
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| descriptor(layer_type, layer))
            .collect();
        let manifest = to_bytes(&json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": descriptor(config_type, &config),
            "layers": layers,
        }));
        let blobs = std::iter::once(config).chain(self.layers).collect();
        Image {
            media_type: manifest_type.to_owned(),
            manifest,
            children: Vec::new(),
            blobs,
        }
    }
}

/// Returns the descriptor of some bytes.
fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest_of(bytes).to_string(), "size": bytes.len()})
}

fn to_bytes(value: &Value) -> Bytes {
    serde_json::to_vec(value)
        .expect("a JSON value can be written")
        .into()
}
