//! What a site's registry may refuse, each told apart and with what a remedy needs.

use std::time::Duration;

use airgap_registry::{
    Error, ProjectName, ProjectState, RetryPolicy, SiteConfig, SiteRegistry, Untrusted,
    tls_findings,
};
use airgap_testkit::{
    faults::{Fault, FaultAction},
    harbor::{HarborConfig, HarborEmulation, Project},
    image::noise,
    require_tool,
    tls::TestCa,
};

use crate::support::{PASSWORD, Site, chain, push, quick, repository, sample, tag, upload};

#[tokio::test]
async fn a_wrong_password_is_named_once_and_without_itself() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let mut config = site.config("robot$airgap+push");
    config.login = Some(("robot$airgap+push".to_owned(), "Canary-wrong".into()));
    let error = SiteRegistry::connect(config).await.unwrap_err();
    let user = "robot$airgap+push";
    assert!(matches!(&error, Error::Unauthorized { user: Some(named), .. } if named == user));
    let text = chain(&error);
    assert!(
        text.contains("localhost:") && text.contains(user) && !text.contains("Canary"),
        "{text}"
    );
    assert_eq!(
        site.harbor.log().all().len(),
        1,
        "a locked account must not be locked again"
    );
    let mut anonymous = site.config("x");
    anonymous.login = None;
    let error = SiteRegistry::connect(anonymous).await.unwrap_err();
    assert!(
        matches!(error, Error::Unauthorized { user: None, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_wrong_ca_names_who_issued_the_certificate() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let mut config = site.config("admin");
    config.ca_pem = Some(TestCa::new("Another CA").pem().to_owned());
    let error = SiteRegistry::connect(config).await.unwrap_err();
    let Error::CertificateUntrusted {
        host,
        reason,
        presented,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*reason, Untrusted::UnknownIssuer);
    assert!(host.starts_with("localhost:"));
    assert_eq!(presented[0].issuer, "CN=Site CA");
    assert_eq!(presented[0].names, ["localhost", "127.0.0.1"]);
    assert!(
        site.harbor.log().all().is_empty(),
        "nothing is sent over such a connection"
    );
    let mut config = site.config("admin");
    config.ca_pem = Some("no certificate".to_owned());
    let error = SiteRegistry::connect(config).await.unwrap_err();
    assert!(
        chain(&error).contains("the CA file holds no certificate"),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_or_out_of_date_is_told_apart() {
    if !require_tool("docker-registry") {
        return;
    }
    let ca = TestCa::new("Site CA");
    let cases = [
        (ca.server(&["harbor.old"]), Untrusted::WrongName),
        (ca.expired_server(&["localhost"]), Untrusted::Expired),
    ];
    for (certificate, expected) in cases {
        let harbor = HarborEmulation::start(HarborConfig {
            tls: Some(certificate),
            ..HarborConfig::default()
        });
        let endpoint = format!("localhost:{}", harbor.address().port());
        let config = SiteConfig {
            endpoint: endpoint.clone(),
            project: ProjectName::parse("airgap").unwrap(),
            addresses: vec!["127.0.0.1".parse().unwrap()],
            ca_pem: Some(ca.pem().to_owned()),
            login: None,
            retry: quick(),
        };
        let error = SiteRegistry::connect(config.clone()).await.unwrap_err();
        assert!(
            matches!(&error, Error::CertificateUntrusted { reason, .. } if *reason == expected),
            "{error}"
        );
        let findings = tls_findings(&endpoint, &config.addresses, Some(ca.pem()))
            .await
            .unwrap();
        assert_eq!(findings[0].untrusted.as_ref(), Some(&expected));
        assert_eq!(findings[0].presented[0].issuer, "CN=Site CA");
        assert!(findings[0].presented[0].not_after > findings[0].presented[0].not_before);
    }
}

#[tokio::test]
async fn tls_findings_say_that_all_is_well_for_each_address() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let endpoint = site.config("admin").endpoint;
    let addresses = ["127.0.0.1".parse().unwrap()];
    let findings = tls_findings(&endpoint, &addresses, Some(site.ca.pem()))
        .await
        .unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].untrusted, None);
    assert_eq!(findings[0].presented[0].names, ["localhost", "127.0.0.1"]);
    assert!(site.harbor.log().all().is_empty());
    let error = tls_findings("registry.invalid", &[], None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NameUnresolved { .. }), "{error}");
}

#[tokio::test]
async fn a_name_dns_does_not_know_and_a_closed_port_are_told_apart_at_once() {
    // who waits between tries does not come to an end here
    let hour = Duration::from_hours(1);
    let config = |endpoint: &str| SiteConfig {
        endpoint: endpoint.to_owned(),
        project: ProjectName::parse("airgap").unwrap(),
        addresses: Vec::new(),
        ca_pem: Some(TestCa::new("x").pem().to_owned()),
        login: None,
        retry: RetryPolicy {
            first_wait: hour,
            longest_wait: hour,
            ..quick()
        },
    };
    let error = SiteRegistry::connect(config("harbor.invalid"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::NameUnresolved { host, .. } if host == "harbor.invalid"),
        "{error:?}"
    );
    // discard, which nobody serves any more
    let error = SiteRegistry::connect(config("127.0.0.1:9"))
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn no_push_rights_are_told_before_and_while_pushing() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let puller = SiteRegistry::connect(site.config("robot$airgap+pull"))
        .await
        .unwrap();
    assert!(!puller.probe().await.unwrap().push);
    puller.probe_pull().await.unwrap();
    let error = push(&puller, &repository("a/b"), &tag("v1"), &sample())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Forbidden { action: "push", .. }),
        "{error}"
    );
    assert!(error.to_string().contains("robot$airgap+pull"), "{error}");
    let stranger = SiteRegistry::connect(site.config("stranger"))
        .await
        .unwrap();
    let error = stranger.probe_pull().await.unwrap_err();
    assert!(
        matches!(error, Error::Forbidden { action: "pull", .. }),
        "{error}"
    );
    assert_eq!(site.harbor.used("airgap"), 0);
}

#[tokio::test]
async fn a_missing_project_is_not_taken_for_a_missing_right() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::start(Project::named("other"));
    let registry = site.pusher().await;
    assert_eq!(
        registry.probe().await.unwrap().project,
        ProjectState::Missing
    );
    let error = upload(&registry, &repository("a/b"), &noise(10, 1))
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::ProjectMissing { project, .. } if project == "airgap"));
    let error = registry.ensure_project().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Forbidden {
                action: "create",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn what_the_registry_says_of_a_push_is_kept() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::start(Project {
        proxy: true,
        ..Project::named("airgap")
    });
    let registry = site.pusher().await;
    let words = "can not push artifact to a proxy project";
    let error = upload(&registry, &repository("a/b"), &noise(10, 1))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Forbidden { action: "push", .. }),
        "{error}"
    );
    assert!(error.to_string().ends_with(words), "{error}");
    let access = registry.probe().await.unwrap();
    assert!(!access.push && access.refusal.unwrap().ends_with(words));
}

#[tokio::test]
async fn a_registry_that_is_busy_at_the_first_look_is_asked_again() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::start(Project::named("other"));
    let admin = SiteRegistry::connect(site.config("admin")).await.unwrap();
    for code in [429, 502, 503] {
        let busy = FaultAction::Status {
            code,
            retry_after: None,
        };
        site.harbor.fault(Fault::once("POST", "/", busy));
    }
    assert_eq!(admin.ensure_project().await.unwrap(), ProjectState::Created);
    let busy = FaultAction::Status {
        code: 503,
        retry_after: None,
    };
    site.harbor
        .fault(Fault::once("POST", "/blobs/uploads/", busy));
    assert!(admin.probe().await.unwrap().push);
}

#[tokio::test]
async fn an_exceeded_quota_says_how_much_is_needed_used_and_allowed() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::start(Project {
        quota: Some(200_000),
        ..Project::named("airgap")
    });
    let registry = site.pusher().await;
    upload(&registry, &repository("a/b"), &noise(150_000, 1))
        .await
        .unwrap();
    // small enough to be read before the refusal, and so large that the connection is closed on it
    for size in [60_000, 8 << 20] {
        let error = upload(&registry, &repository("a/b"), &noise(size, 2))
            .await
            .unwrap_err();
        let Error::QuotaExceeded {
            needed,
            used,
            limit,
            project,
            ..
        } = error
        else {
            panic!("{error}")
        };
        assert_eq!(
            (needed, used, limit),
            (size as u64, Some(150_000), Some(200_000))
        );
        assert_eq!(project, "airgap");
    }
    assert_eq!(
        registry.quota().await.unwrap().unwrap().free(),
        Some(50_000)
    );
}

#[tokio::test]
async fn read_only_mode_and_policies_are_named() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::start(Project {
        content_trust: true,
        ..Project::named("airgap")
    });
    let registry = site.pusher().await;
    let error = push(&registry, &repository("a/b"), &tag("v1"), &sample())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Policy { .. }),
        "content trust hides what is not signed: {error}"
    );
    site.harbor.set_read_only(true);
    assert!(registry.probe().await.unwrap().read_only);
    let error = upload(&registry, &repository("a/b"), &noise(10, 1))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
}

#[tokio::test]
async fn a_foreign_upload_address_and_a_redirect_get_no_login() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let registry = site.pusher().await;
    site.harbor
        .fault(Fault::once("POST", "/blobs/", FaultAction::ForeignLocation));
    let error = upload(&registry, &repository("a/b"), &noise(10, 1))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("elsewhere.invalid"), "{error}");
    let location = "https://harbor.new/v2/".to_owned();
    site.harbor.fault(Fault::once(
        "GET",
        "/v2/",
        FaultAction::Redirect { location },
    ));
    let error = SiteRegistry::connect(site.config("admin"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("https://harbor.new/v2/"),
        "{error}"
    );
}

#[tokio::test]
async fn a_registry_that_changes_what_it_receives_is_named() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let registry = site.pusher().await;
    let blob = noise(1000, 1);
    let wrong = airgap_testkit::image::digest_of(b"what the registry thinks it received");
    let sent = registry
        .upload(&repository("a/b"), &wrong, 1000, || {
            crate::support::body(&blob)
        })
        .await
        .unwrap_err();
    assert!(
        matches!(&sent, Error::DigestMismatch { expected, .. } if *expected == wrong),
        "{sent}"
    );
    // and a tag is read back: a digest that the registry answers wrongly is not believed to be right
    site.harbor.fault(Fault {
        skip: 1,
        ..Fault::once("HEAD", "/manifests/v1$", FaultAction::WrongDigestHeader)
    });
    let error = push(&registry, &repository("a/b"), &tag("v1"), &sample())
        .await
        .unwrap_err();
    let zeros = format!("sha256:{}", "0".repeat(64));
    assert!(
        matches!(&error, Error::DigestMismatch { got, .. } if *got == zeros),
        "{error}"
    );
}

#[test]
fn nothing_shows_the_password() {
    let config = SiteConfig {
        endpoint: "h".into(),
        project: ProjectName::parse("airgap").unwrap(),
        addresses: Vec::new(),
        ca_pem: None,
        login: Some(("u".into(), PASSWORD.into())),
        retry: quick(),
    };
    assert!(!format!("{config:?}").contains("Canary"));
}
