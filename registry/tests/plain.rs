//! A real docker-registry, which knows no projects: Debian's, with TLS and htpasswd.

use airgap_registry::{Error, Flavour, ProjectName, SiteConfig, SiteRegistry, TagOutcome};
use airgap_testkit::{
    docker_registry::{DockerRegistry, DockerRegistryConfig},
    image::Image,
    require_tool,
    tls::TestCa,
};

use crate::support::{push, quick, repository, sample, tag};

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
