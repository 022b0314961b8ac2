//! Reading from upstream: where from, with which login, and through which faults.

mod logins;
mod trouble;

use airgap_registry::{BlobBody, DockerConfig, Error, PullOptions, Puller, Result, Upstreams};
use airgap_testkit::{
    faults::{Fault, FaultAction},
    image::{Image, digest_of, noise},
    upstream::{UpstreamBuilder, UpstreamRegistry},
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use oci_spec::distribution::Reference;

use crate::support::{quick, sample};

const NAME: &str = "quay.io/argoproj/argocd:v3.4.4";

fn reference(name: &str) -> Reference {
    name.parse().unwrap()
}

fn options() -> PullOptions {
    PullOptions {
        retry: quick(),
        ..PullOptions::default()
    }
}

fn puller_for(yaml: &str) -> Puller {
    let upstreams = Upstreams::from_yaml(yaml, "upstreams.yaml".into()).unwrap();
    Puller::new(upstreams, DockerConfig::default(), options())
}

fn puller(upstream: &UpstreamRegistry) -> Puller {
    puller_for(&upstream.upstreams_yaml(None))
}

fn serving(image: &Image) -> UpstreamBuilder {
    UpstreamRegistry::builder().image(NAME, image)
}

async fn all(body: BlobBody) -> Result<Bytes> {
    let chunks: Vec<Bytes> = body.stream.try_collect().await?;
    Ok(chunks.concat().into())
}

/// Reads the manifest, a child and a blob, and compares every byte.
async fn check(puller: &Puller, image: &Image) {
    let manifest = puller.resolve(&reference(NAME)).await.unwrap();
    assert_eq!(manifest.bytes, image.manifest);
    assert_eq!(manifest.media_type.to_string(), image.media_type);
    let (_, child) = &image.children[0];
    let fetched = puller
        .manifest(&reference(NAME), &digest_of(child))
        .await
        .unwrap();
    assert_eq!(fetched.bytes, child);
    for blob in &image.blobs {
        let body = puller
            .blob(&reference(NAME), &digest_of(blob), 0)
            .await
            .unwrap();
        assert_eq!((body.start, body.total), (0, Some(blob.len() as u64)));
        assert_eq!(all(body).await.unwrap(), blob);
    }
}

#[tokio::test]
async fn an_image_comes_through_a_mirror_with_rewrite() {
    let image = sample();
    let upstream = serving(&image).start();
    check(&puller(&upstream), &image).await;
    let log = upstream.log();
    assert!(
        log.all()
            .iter()
            .all(|it| it.path.starts_with("/v2/quay.io/argoproj/argocd/"))
    );
}

#[tokio::test]
async fn a_digest_that_the_registry_answers_wrongly_is_named_with_both_digests() {
    let image = sample();
    let upstream = serving(&image).start();
    let wanted = digest_of(&image.children[0].1);
    upstream.fault(Fault::once(
        "GET",
        "/manifests/sha256:",
        FaultAction::CorruptBody,
    ));
    let error = puller(&upstream)
        .manifest(&reference(NAME), &wanted)
        .await
        .unwrap_err();
    let Error::DigestMismatch {
        expected,
        got,
        object,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*expected, wanted);
    assert_ne!(*got, wanted.to_string());
    assert!(object.contains("quay.io/argoproj/argocd@sha256:"));
    // another manifest than asked for, whole and well-formed
    let lie = UpstreamRegistry::builder().image(NAME, &image);
    let other = Image::oci().layer(&[("etc/other", b"other")]).build();
    let upstream = lie.image("quay.io/argoproj/argocd:other", &other).start();
    let location = format!(
        "{}/v2/quay.io/argoproj/argocd/manifests/other",
        upstream.url()
    );
    upstream.fault(Fault::once(
        "GET",
        "/manifests/sha256:",
        FaultAction::Redirect { location },
    ));
    let error = puller(&upstream)
        .manifest(&reference(NAME), &wanted)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{text}");
    for part in [
        wanted.to_string(),
        other.digest().to_string(),
        "argocd".to_owned(),
    ] {
        assert!(text.contains(&part), "{text} lacks {part}");
    }
}

#[tokio::test]
async fn what_a_header_says_of_the_digest_is_not_believed() {
    let image = sample();
    let upstream = serving(&image).start();
    upstream.fault(Fault::always("GET", "/", FaultAction::WrongDigestHeader));
    let manifest = puller(&upstream).resolve(&reference(NAME)).await.unwrap();
    assert_eq!(manifest.digest, image.digest());
}

#[tokio::test]
async fn a_vanished_image_is_named() {
    let image = sample();
    let upstream = serving(&image)
        .image("quay.io/argoproj/argocd:kept", &image)
        .start();
    upstream.remove_image(NAME);
    let error = puller(&upstream)
        .resolve(&reference(NAME))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
    assert!(
        error
            .to_string()
            .contains("manifest quay.io/argoproj/argocd:v3.4.4 is not at")
    );
    let requests = upstream.log().all().len();
    assert_eq!(requests, 1, "what is not there is not asked for again");
}

#[tokio::test]
async fn a_moved_tag_shows_its_new_digest_and_the_old_one_stays_readable() {
    let image = sample();
    let upstream = serving(&image).start();
    let puller = puller(&upstream);
    let before = puller.resolve(&reference(NAME)).await.unwrap();
    let moved = Image::oci().layer(&[("etc/new", b"new")]).build();
    upstream.put_image(NAME, &moved);
    assert_eq!(
        puller.resolve(&reference(NAME)).await.unwrap().digest,
        moved.digest()
    );
    let old = puller
        .manifest(&reference(NAME), &before.digest)
        .await
        .unwrap();
    assert_eq!(old.bytes, image.manifest);
}

#[tokio::test]
async fn files_come_through_their_prefix() {
    let url = "https://github.com/rancher/rke2/releases/download/v1/rke2.tar.gz";
    let content = noise(500_000, 9);
    let upstream = UpstreamRegistry::builder()
        .file(url, content.clone())
        .start();
    let puller = puller(&upstream);
    upstream.fault(Fault::once(
        "GET",
        "rke2",
        FaultAction::CutResponse {
            after_bytes: 200_000,
        },
    ));
    let body = puller.file(&url.parse().unwrap(), 0).await.unwrap();
    assert_eq!(all(body).await.unwrap(), content);
    let missing = "https://github.com/rancher/none".parse().unwrap();
    let error = puller.file(&missing, 0).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("file https://github.com/rancher/none is not at")
    );
}

#[tokio::test]
async fn referrers_come_from_the_api_or_the_fallback_tag() {
    let image = sample();
    let empty = || ("application/vnd.oci.empty.v1+json", Bytes::from("{}"));
    let sbom = Image::artifact("application/spdx+json", empty(), vec![], Some(&image));
    let upstream = serving(&image)
        .image("quay.io/argoproj/argocd", &sbom)
        .referrers_api()
        .start();
    let listed = puller(&upstream)
        .referrers(&reference(NAME), &image.digest())
        .await
        .unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|it| it.digest().clone())
            .collect::<Vec<_>>(),
        [sbom.digest()]
    );

    let hex = image.digest().to_string().replace(':', "-");
    let fallback = Image::index(vec![("unknown/unknown", sbom.clone())]);
    let upstream = serving(&image)
        .image(&format!("quay.io/argoproj/argocd:{hex}"), &fallback)
        .start();
    let listed = puller(&upstream)
        .referrers(&reference(NAME), &image.digest())
        .await
        .unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|it| it.digest().clone())
            .collect::<Vec<_>>(),
        [sbom.digest()]
    );

    let upstream = serving(&image).start();
    let none = puller(&upstream)
        .referrers(&reference(NAME), &image.digest())
        .await
        .unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn cosigns_companions_are_found_by_tag() {
    let image = sample();
    let signature = Image::cosign_signature(&image.digest(), "quay.io/argoproj/argocd");
    let tag = format!(
        "quay.io/argoproj/argocd:{}.sig",
        image.digest().to_string().replace(':', "-")
    );
    let upstream = serving(&image).image(&tag, &signature).start();
    let puller = puller(&upstream);
    let found = puller
        .companion(&reference(NAME), &image.digest(), "sig")
        .await
        .unwrap();
    assert_eq!(found.unwrap().digest, signature.digest());
    assert!(
        puller
            .companion(&reference(NAME), &image.digest(), "att")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn endpoints_are_asked_in_order() {
    let image = sample();
    let empty = UpstreamRegistry::builder().start();
    let full = serving(&image).start();
    let yaml = format!(
        "mirrors: {{quay.io: {{endpoint: [\"{}\", \"{}\"], rewrite: {{\"^(.*)$\": \"quay.io/$1\"}}}}}}",
        empty.url(),
        full.url()
    );
    check(&puller_for(&yaml), &image).await;
}
