//! What refers to an image: listed by the registry itself, or under the fallback tag.

use airgap_registry::{ManifestReference, ProjectName, RepositoryName, SiteConfig, SiteRegistry};
use airgap_testkit::{image::Image, require_tool};
use bytes::Bytes;

use crate::{
    plain::{config, start},
    scripted::{Scripted, reply},
    support::{Site, push, quick, repository, sample, tag, upload},
};

/// Pushes an image, and what its referrers have for a config.
async fn subject(site: &SiteRegistry) -> (RepositoryName, Image, Bytes) {
    let (name, image, empty) = (repository("a/b"), sample(), Bytes::from("{}"));
    push(site, &name, &tag("v1"), &image).await.unwrap();
    upload(site, &name, &empty).await.unwrap();
    (name, image, empty)
}

#[tokio::test]
async fn referrers_are_listed_under_the_fallback_tag_and_others_are_kept() {
    let Some((registry, ca)) = start() else {
        return;
    };
    let site = SiteRegistry::connect(config(&registry, &ca, "Canary-1"))
        .await
        .unwrap();
    let (name, image, empty) = subject(&site).await;
    let mut digests = Vec::new();
    for kind in ["application/spdx+json", "application/vnd.in-toto+json"] {
        let config = ("application/vnd.oci.empty.v1+json", empty.clone());
        let referrer = Image::artifact(kind, config, vec![], Some(&image));
        let media_type = referrer.media_type.as_str().into();
        for _ in 0..2 {
            site.put_referrer(&name, &media_type, &referrer.manifest)
                .await
                .unwrap();
        }
        digests.push(referrer.digest());
    }
    let listed = site.referrers(&name, &image.digest()).await.unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|it| it.digest().clone())
            .collect::<Vec<_>>(),
        digests
    );
}

#[tokio::test]
async fn referrers_that_are_put_at_once_are_all_listed() {
    let Some((registry, ca)) = start() else {
        return;
    };
    let site = SiteRegistry::connect(config(&registry, &ca, "Canary-1"))
        .await
        .unwrap();
    let (name, image, empty) = subject(&site).await;
    let referrers: Vec<Image> = (0..6)
        .map(|number| {
            let config = ("application/vnd.oci.empty.v1+json", empty.clone());
            Image::artifact(&format!("text/{number}"), config, vec![], Some(&image))
        })
        .collect();
    let put = referrers.iter().map(async |referrer| {
        let media_type = referrer.media_type.as_str().into();
        site.put_referrer(&name, &media_type, &referrer.manifest)
            .await
    });
    futures_util::future::try_join_all(put).await.unwrap();
    let listed = site.referrers(&name, &image.digest()).await.unwrap();
    assert_eq!(listed.len(), referrers.len());
}

#[tokio::test]
async fn a_list_of_referrers_that_is_none_is_named() {
    let server = Scripted::start(|request| match request.split(' ').next() {
        Some("PUT") => reply("201 Created", ""),
        _ if request.starts_with("GET /v2/ ") => reply("200 OK", "{}"),
        _ if request.contains("/manifests/sha256-") => reply("200 OK", "[null]"),
        _ => reply("404 Not Found", ""),
    })
    .await;
    let site = SiteRegistry::connect(SiteConfig {
        endpoint: format!("http://{}", server.address),
        project: ProjectName::parse("airgap").unwrap(),
        addresses: Vec::new(),
        ca_pem: None,
        login: None,
        retry: quick(),
    })
    .await
    .unwrap();
    let config = ("application/vnd.oci.empty.v1+json", Bytes::from("{}"));
    let referrer = Image::artifact("text/plain", config, vec![], Some(&sample()));
    let media_type = referrer.media_type.as_str().into();
    let error = site
        .put_referrer(&repository("a/b"), &media_type, &referrer.manifest)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the tag for referrers is no index"), "{text}");
    let overwritten =
        |request: &String| request.starts_with("PUT") && request.contains("/manifests/sha256-");
    assert!(!server.asked().iter().any(overwritten));
}

#[tokio::test]
async fn referrers_need_no_fallback_where_there_is_the_api() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let (image, registry) = (sample(), site.pusher().await);
    push(
        &registry,
        &repository("quay.io/argoproj/argocd"),
        &tag("v1"),
        &image,
    )
    .await
    .unwrap();
    let empty = Bytes::from("{}");
    let kind = "application/vnd.oci.empty.v1+json";
    let sbom = Image::artifact(
        "application/spdx+json",
        (kind, empty.clone()),
        vec![],
        Some(&image),
    );
    upload(&registry, &repository("quay.io/argoproj/argocd"), &empty)
        .await
        .unwrap();
    let media_type = sbom.media_type.as_str().into();
    registry
        .put_referrer(
            &repository("quay.io/argoproj/argocd"),
            &media_type,
            &sbom.manifest,
        )
        .await
        .unwrap();
    let listed = registry
        .referrers(&repository("quay.io/argoproj/argocd"), &image.digest())
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(*listed[0].digest(), sbom.digest());
    let fallback = image.digest().to_string().replace(':', "-");
    let fallback: ManifestReference = tag(&fallback).into();
    assert!(
        registry
            .head_manifest(&repository("quay.io/argoproj/argocd"), &fallback)
            .await
            .unwrap()
            .is_none()
    );
}
