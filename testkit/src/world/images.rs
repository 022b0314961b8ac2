//! Stand-in images: small, distinct, sharing a base layer, of the types that upstream really has.

use airgap_manifests::ImageName;
use bytes::Bytes;
use serde_json::json;

use crate::image::{Image, digest_of, noise};

/// The platforms of most images.
const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];
/// What an OCI index is.
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// How an image is published.
#[derive(Debug, Clone, Copy)]
enum Kind {
    OciIndex,
    DockerList,
    OciSingle,
    DockerSingle,
}

/// Which images are of another kind than most.
fn kind(name: &ImageName) -> Kind {
    let repository = name.repository();
    if repository.starts_with("longhornio/") || repository.starts_with("chrislusf/") {
        Kind::DockerList
    } else if repository == "rancher/klipper-lb" || repository.ends_with("/redis") {
        Kind::DockerSingle
    } else if repository == "rancher/kube-webhook-certgen" {
        Kind::OciSingle
    } else {
        Kind::OciIndex
    }
}

/// Makes the stand-in of an image.
pub(super) fn stand_in(name: &ImageName) -> Image {
    let one = |platform: &str| single(name, platform, kind(name));
    let all = || PLATFORMS.map(|platform| (platform, one(platform))).into();
    match kind(name) {
        Kind::OciIndex => Image::index(all()),
        Kind::DockerList => Image::docker_list(all()),
        Kind::OciSingle | Kind::DockerSingle => one(PLATFORMS[0]),
    }
}

/// One platform: the base, and a layer of the image's own between 24 and 280 KiB.
fn single(name: &ImageName, platform: &str, kind: Kind) -> Image {
    let builder = match kind {
        Kind::OciIndex | Kind::OciSingle => Image::oci(),
        Kind::DockerList | Kind::DockerSingle => Image::docker(),
    };
    let own = format!("airgap stand-in for {name} on {platform}\n");
    let seed = seed(&own);
    let size = (24 << 10) + usize::try_from(seed % (256 << 10)).unwrap_or_default();
    builder
        .platform(platform)
        .layer(&[
            (
                "etc/os-release",
                b"ID=airgap-standin\nPRETTY_NAME=\"airgap stand-in\"\n",
            ),
            ("usr/lib/base", &noise(96 << 10, self::seed(platform))),
        ])
        .layer(&[
            ("bin/stand-in", b"#!/bin/sh\ncat /etc/stand-in\n"),
            ("etc/stand-in", own.as_bytes()),
            ("usr/share/stand-in", &noise(size, seed)),
        ])
        .build()
}

/// FNV-1a: a number that belongs to a text.
fn seed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An image that stands alone, published with a small image for another platform beside it.
pub(super) fn multi_platform(image: &Image) -> Image {
    let other = Image::oci()
        .platform(PLATFORMS[1])
        .layer(&[("bin/README", b"only linux/amd64 has a stand-in RKE2\n")])
        .build();
    Image::index(vec![(PLATFORMS[0], image.clone()), (PLATFORMS[1], other)])
}

/// What upstream keeps beside an image: cosign's signatures, an SBOM as a referrer, or nothing.
pub(super) fn beside(name: &ImageName, image: &Image) -> Vec<(String, Image)> {
    let repository = name.full_repository();
    let mut beside = Vec::new();
    match repository.as_str() {
        "quay.io/argoproj/argocd" | "quay.io/jetstack/cert-manager-controller" => {
            let child = image.children.first().map(|(_, bytes)| digest_of(bytes));
            for subject in [Some(image.digest()), child].into_iter().flatten() {
                let tag = format!("{repository}:sha256-{}.sig", subject.digest());
                beside.push((tag, Image::cosign_signature(&subject, &repository)));
            }
        }
        // where the registry has the referrers API, the SBOM needs no tag
        "ghcr.io/kube-vip/kube-vip" => beside.push((repository.clone(), sbom(image))),
        // elsewhere an index under the fallback tag lists it
        "docker.io/rancher/mirrored-cilium-cilium" => {
            let sbom = sbom(image);
            let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{
                "mediaType": sbom.media_type, "digest": sbom.digest().to_string(), "size": sbom.manifest.len(),
                "artifactType": "application/spdx+json"}]});
            let list = Image {
                media_type: OCI_INDEX.to_owned(),
                manifest: index.to_string().into(),
                children: Vec::new(),
                blobs: Vec::new(),
            };
            let tag = format!("{repository}:sha256-{}", image.digest().digest());
            beside.extend([(repository.clone(), sbom), (tag, list)]);
        }
        _ => {}
    }
    beside
}

fn sbom(subject: &Image) -> Image {
    let text = Bytes::from_static(b"{\"spdxVersion\":\"SPDX-2.3\",\"name\":\"airgap stand-in\"}");
    Image::artifact(
        "application/spdx+json",
        (
            "application/vnd.oci.empty.v1+json",
            Bytes::from_static(b"{}"),
        ),
        vec![("application/spdx+json", text)],
        Some(subject),
    )
}
