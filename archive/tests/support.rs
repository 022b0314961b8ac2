//! What the tests share: a bundle with everything in it, and a folder to write it to.

use airgap_archive::{Event, Finding, OpenOptions, Result, Role, VerifiedArchive, WriteOptions};
use airgap_signing::TrustRoot;
use airgap_testkit::bundle::{FakeBundle, test_key};
use airgap_testkit::image::{Image, noise};
use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};

/// The name of the OCI-typed image in [`sample`].
pub(crate) const OCI: &str = "quay.io/argoproj/argocd:v3.4.4";
/// The name of the Docker-typed image in [`sample`].
pub(crate) const DOCKER: &str = "docker.io/library/busybox:1.37";
/// The name of the image with two platforms in [`sample`].
pub(crate) const INDEX: &str = "registry.k8s.io/pause:3.10";
/// The name of the release artifact in [`sample`].
pub(crate) const RKE2: &str = "rke2:v1.36.4+rke2r1";

/// A folder that is removed at the end.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.0.path()).unwrap()
    }

    pub(crate) fn join(&self, name: &str) -> Utf8PathBuf {
        self.path().join(name)
    }

    /// Returns the names in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = self.path().read_dir_utf8().unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_owned())
            .collect();
        names.sort();
        names
    }
}

/// An image whose single layer is so many bytes of noise.
pub(crate) fn noisy(size: usize, seed: u64) -> Image {
    let mut layer = Vec::from(&[0x1f, 0x8b][..]);
    layer.extend_from_slice(&noise(size - 2, seed));
    artifact("application/vnd.oci.image.layer.v1.tar+gzip", layer.into())
}

/// An artifact with one layer of that type.
pub(crate) fn artifact(media_type: &str, layer: Bytes) -> Image {
    let config = (
        "application/vnd.oci.image.config.v1+json",
        Bytes::from_static(b"{}"),
    );
    Image::artifact("", config, vec![(media_type, layer)], None)
}

/// A bundle with every kind of entry: small and large blobs, stored and compressed frames, an index, a signature.
pub(crate) fn sample() -> FakeBundle {
    let oci = Image::oci()
        .layer(&[("bin/argocd", &noise(1_500_000, 1)), ("etc/motd", b"hello")])
        .build();
    let docker = Image::docker()
        .layer(&[("bin/busybox", &noise(300_000, 2))])
        .build();
    let index = Image::index(vec![
        (
            "linux/amd64",
            Image::oci().layer(&[("pause", &noise(2000, 3))]).build(),
        ),
        (
            "linux/arm64",
            Image::oci()
                .platform("linux/arm64")
                .layer(&[("pause", &noise(2000, 4))])
                .build(),
        ),
    ]);
    // compresses well, and over several frames
    let text: Vec<u8> = (0..900_000)
        .flat_map(|line: u32| format!("line {line}\n").into_bytes())
        .collect();
    let rke2 = artifact("application/gzip", text.into());
    let signature = Image::cosign_signature(&oci.digest(), "quay.io/argoproj/argocd");
    FakeBundle::new("airgap-standard-1.0.0-amd64")
        .with(Role::Image, OCI, &oci)
        .with(Role::Image, DOCKER, &docker)
        .with(Role::Image, INDEX, &index)
        .with(Role::Rke2, RKE2, &rke2)
        .referring(Role::Signature, &oci.digest(), &signature)
}

/// A small bundle, for tests that go through it bit by bit.
pub(crate) fn small() -> FakeBundle {
    let image = Image::oci()
        .layer(&[("etc/motd", b"hello, hello, hello, hello, hello, hello")])
        .build();
    FakeBundle::new("small").with(Role::Image, OCI, &image)
}

/// Writes a bundle into the folder and returns its path.
pub(crate) fn write(bundle: &FakeBundle, folder: &Folder) -> Utf8PathBuf {
    let path = folder.join("bundle.tar.zst");
    bundle
        .write(&path, &test_key(), &WriteOptions::default())
        .unwrap();
    path
}

/// Trust in the key that signs test bundles.
pub(crate) fn trust() -> TrustRoot {
    TrustRoot::new(vec![test_key().public_key()])
}

pub(crate) fn open(path: &Utf8Path) -> Result<VerifiedArchive> {
    VerifiedArchive::open(path, &trust(), &OpenOptions::default())
}

pub(crate) fn quiet(_: Event) {}

/// Opens and verifies everything: the findings, or why it would not open.
pub(crate) fn verify(path: &Utf8Path) -> Result<Vec<Finding>> {
    open(path)?.verify_all(2, &quiet)
}

/// Demands that a bundle is found not to be trusted, in whatever way.
#[track_caller]
pub(crate) fn assert_untrusted(path: &Utf8Path, what: &str) {
    match verify(path) {
        Err(error) => assert!(error.is_trust_failure(), "{what}: {error}"),
        Ok(findings) => assert!(!findings.is_empty(), "{what} went unnoticed"),
    }
}

/// A frame of a bundle as its seek table tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawFrame {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) content: usize,
}

/// Reads the seek table of a single-file bundle, independently of the crate's own reader.
pub(crate) fn frames(bytes: &[u8]) -> Vec<RawFrame> {
    let end = bytes.len();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(number(end - 4), 0x8f92_eab1);
    let count = number(end - 9);
    let table = end - 9 - 8 * count;
    assert_eq!(number(table - 8), 0x184d_2a5e);
    let mut start = 0;
    let frames = (0..count).map(|frame| {
        let size = number(table + 8 * frame);
        let this = RawFrame {
            start,
            end: start + size,
            content: number(table + 8 * frame + 4),
        };
        start += size;
        this
    });
    frames.collect()
}
