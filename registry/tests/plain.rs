//! A real docker-registry, which knows no projects: Debian's, with TLS and htpasswd.

use airgap_registry::{Error, Flavour, ProjectName, SiteConfig, SiteRegistry, TagOutcome};
use airgap_testkit::{
    docker_registry::{DockerRegistry, DockerRegistryConfig},
    image::Image,
    require_tool,
    tls::TestCa,
};
use bytes::Bytes;

use crate::{
    scripted::{Scripted, reply},
    support::{push, quick, repository, sample, tag, upload},
};

pub(crate) fn start() -> Option<(DockerRegistry, TestCa)> {
    if !require_tool("docker-registry") {
        return None;
    }
    let ca = TestCa::new("Plain CA");
    let registry = DockerRegistry::start(&DockerRegistryConfig {
        tls: Some(ca.server(&["localhost", "127.0.0.1"])),
        accounts: vec![("pusher".to_owned(), "Canary-1".to_owned())],
        data: None,
    });
    Some((registry, ca))
}

pub(crate) fn config(registry: &DockerRegistry, ca: &TestCa, password: &str) -> SiteConfig {
    SiteConfig {
        endpoint: format!("localhost:{}", registry.address().port()),
        project: ProjectName::parse("airgap").unwrap(),
        addresses: vec!["127.0.0.1".parse().unwrap()],
        ca_pem: Some(ca.pem().to_owned()),
        login: Some(("pusher".to_owned(), password.into())),
        retry: quick(),
    }
}

#[tokio::test]
async fn a_plain_registry_takes_images_and_says_so_the_second_time() {
    let Some((registry, ca)) = start() else {
        return;
    };
    let site = SiteRegistry::connect(config(&registry, &ca, "Canary-1"))
        .await
        .unwrap();
    assert_eq!(*site.flavour(), Flavour::Plain);
    let access = site.probe().await.unwrap();
    assert!(access.push && access.quota.is_none());
    for image in [
        sample(),
        Image::docker_list(vec![(
            "linux/amd64",
            Image::docker().layer(&[("a", b"b")]).build(),
        )]),
    ] {
        let tag = tag(&image.digest().to_string()[7..20]);
        let name = repository("quay.io/argoproj/argocd");
        assert_eq!(
            push(&site, &name, &tag, &image).await.unwrap(),
            TagOutcome::Created
        );
        let before = site.stats();
        assert_eq!(
            push(&site, &name, &tag, &image).await.unwrap(),
            TagOutcome::Unchanged
        );
        assert_eq!(site.stats().writes, before.writes);
        let there = site
            .get_manifest(&name, &tag.into())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (there.bytes, there.media_type.to_string()),
            (image.manifest, image.media_type)
        );
    }
}

#[tokio::test]
async fn a_wrong_password_and_a_wrong_ca_are_told_apart() {
    let Some((registry, ca)) = start() else {
        return;
    };
    let error = SiteRegistry::connect(config(&registry, &ca, "wrong"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    let other = TestCa::new("Other CA");
    let error = SiteRegistry::connect(config(&registry, &other, "Canary-1"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::CertificateUntrusted { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn referrers_are_listed_under_the_fallback_tag_and_others_are_kept() {
    let Some((registry, ca)) = start() else {
        return;
    };
    let site = SiteRegistry::connect(config(&registry, &ca, "Canary-1"))
        .await
        .unwrap();
    let (image, name) = (sample(), repository("a/b"));
    push(&site, &name, &tag("v1"), &image).await.unwrap();
    let empty = Bytes::from("{}");
    upload(&site, &name, &empty).await.unwrap();
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
    let (image, name) = (sample(), repository("a/b"));
    push(&site, &name, &tag("v1"), &image).await.unwrap();
    let empty = Bytes::from("{}");
    upload(&site, &name, &empty).await.unwrap();
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
async fn skopeo_copies_out_what_was_pushed() {
    if !require_tool("skopeo") || !require_tool("docker-registry") {
        return;
    }
    let registry = DockerRegistry::start(&DockerRegistryConfig::default());
    let config = SiteConfig {
        endpoint: registry.url(),
        project: ProjectName::parse("airgap").unwrap(),
        addresses: Vec::new(),
        ca_pem: None,
        login: None,
        retry: quick(),
    };
    let site = SiteRegistry::connect(config).await.unwrap();
    let layer = airgap_testkit::image::noise(100_000, 2);
    let images = [
        ("oci", Image::oci().layer(&[("bin/a", &layer)]).build()),
        (
            "docker",
            Image::docker().layer(&[("bin/a", &layer)]).build(),
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (kind, image) in images {
        push(&site, &repository("quay.io/a/b"), &tag(kind), &image)
            .await
            .unwrap();
        let out = folder.path().join(kind);
        let status = std::process::Command::new("skopeo")
            .args(["copy", "--quiet", "--src-tls-verify=false"])
            .arg(format!(
                "docker://{}/airgap/quay.io/a/b:{kind}",
                registry.address()
            ))
            .arg(format!("dir:{}", out.display()))
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(
            fs_err::read(out.join("manifest.json")).unwrap(),
            image.manifest
        );
    }
}
