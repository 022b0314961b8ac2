//! Reading from upstream: where from, with which login, and through which faults.

use std::time::{Duration, Instant};

use airgap_registry::{
    BlobBody, DockerConfig, Error, PullOptions, Puller, Result, RetryPolicy, Untrusted, Upstreams,
};
use airgap_testkit::{
    faults::{Fault, FaultAction},
    image::{Image, digest_of, noise},
    tls::TestCa,
    upstream::{UpstreamAuth, UpstreamBuilder, UpstreamRegistry},
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use oci_spec::distribution::Reference;

use crate::support::{chain, quick, sample};

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
async fn logins_are_basic_or_by_token_over_tls_with_an_own_authority() {
    let ca = TestCa::new("Upstream CA");
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs_err::write(&ca_file, ca.pem()).unwrap();
    let account = || Some(("bot".to_owned(), "Canary-77".to_owned()));
    let bearer = |account, identity_token| UpstreamAuth::Bearer {
        account,
        identity_token,
        lifetime: Duration::from_mins(5),
    };
    let basic = UpstreamAuth::Basic {
        username: "bot".into(),
        password: "Canary-77".into(),
    };
    for auth in [basic, bearer(account(), None), bearer(None, None)] {
        let image = sample();
        let upstream = serving(&image)
            .tls(ca.server(&["127.0.0.1"]))
            .auth(auth)
            .start();
        let yaml = upstream.upstreams_yaml_with_login(ca_file.to_str(), Some(("bot", "Canary-77")));
        check(&puller_for(&yaml), &image).await;
    }
}

#[tokio::test]
async fn dockers_login_and_identity_token_are_used() {
    let image = sample();
    let auth = UpstreamAuth::Bearer {
        account: Some(("bot".into(), "Canary-77".into())),
        identity_token: Some("Canary-long".into()),
        lifetime: Duration::from_mins(5),
    };
    let upstream = serving(&image).auth(auth).start();
    let yaml = upstream.upstreams_yaml(None);
    for entry in [
        r#""username": "bot", "password": "Canary-77""#,
        r#""identitytoken": "Canary-long""#,
    ] {
        let json = format!(r#"{{"auths": {{"{}": {{{entry}}}}}}}"#, upstream.address());
        let logins = DockerConfig::from_json(&json, "config.json".into()).unwrap();
        let upstreams = Upstreams::from_yaml(&yaml, "u".into()).unwrap();
        check(&Puller::new(upstreams, logins, options()), &image).await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_named_with_account_and_host() {
    let basic = UpstreamAuth::Basic {
        username: "bot".into(),
        password: "right".into(),
    };
    let bearer = UpstreamAuth::Bearer {
        account: Some(("bot".into(), "right".into())),
        identity_token: None,
        lifetime: Duration::from_mins(5),
    };
    for auth in [basic, bearer] {
        let upstream = serving(&sample()).auth(auth).start();
        let yaml = upstream.upstreams_yaml_with_login(None, Some(("bot", "Canary-wrong")));
        let error = puller_for(&yaml)
            .resolve(&reference(NAME))
            .await
            .unwrap_err();
        assert!(matches!(&error, Error::Unauthorized { user: Some(user), .. } if user == "bot"));
        let text = chain(&error);
        assert!(text.contains("account bot") && text.contains("quay.io/argoproj/argocd:v3.4.4"));
        assert!(!text.contains("Canary"), "{text}");
        assert!(
            upstream.log().all().len() <= 4,
            "a wrong password is not tried again and again"
        );
    }
}

#[tokio::test]
async fn many_first_requests_at_once_all_log_in() {
    let image = sample();
    let auth = UpstreamAuth::Basic {
        username: "bot".into(),
        password: "Canary-77".into(),
    };
    let upstream = serving(&image).auth(auth).start();
    let puller = puller_for(&upstream.upstreams_yaml_with_login(None, Some(("bot", "Canary-77"))));
    let name = reference(NAME);
    let all = futures_util::future::join_all((0..16).map(|_| puller.resolve(&name))).await;
    for manifest in all {
        assert_eq!(manifest.unwrap().digest, image.digest());
    }
}

#[tokio::test]
async fn a_token_that_ended_early_is_renewed() {
    let image = sample();
    let auth = UpstreamAuth::Bearer {
        account: None,
        identity_token: None,
        lifetime: Duration::from_mins(5),
    };
    let upstream = serving(&image).auth(auth).start();
    let puller = puller(&upstream);
    puller.resolve(&reference(NAME)).await.unwrap();
    upstream.fault(Fault::once("GET", "/manifests/", FaultAction::ExpireTokens));
    check(&puller, &image).await;
    assert_eq!(upstream.log().count(|it| it.path == "/token"), 2);
}

#[tokio::test]
async fn a_login_does_not_cross_hosts() {
    let image = sample();
    let elsewhere = UpstreamRegistry::builder()
        .file("cdn.example/blob", "redirected")
        .start();
    let auth = UpstreamAuth::Basic {
        username: "bot".into(),
        password: "Canary-77".into(),
    };
    let upstream = serving(&image).auth(auth).start();
    let puller = puller_for(&upstream.upstreams_yaml_with_login(None, Some(("bot", "Canary-77"))));
    puller.resolve(&reference(NAME)).await.unwrap();
    let location = format!("{}/cdn.example/blob", elsewhere.url());
    upstream.fault(Fault::once(
        "GET",
        "/blobs/",
        FaultAction::Redirect { location },
    ));
    let body = puller
        .blob(&reference(NAME), &digest_of(&image.blobs[0]), 0)
        .await
        .unwrap();
    assert_eq!(all(body).await.unwrap(), "redirected");
    let users: Vec<_> = elsewhere
        .log()
        .all()
        .into_iter()
        .map(|it| it.user)
        .collect();
    assert_eq!(users, [None]);
    assert!(
        upstream
            .log()
            .all()
            .iter()
            .any(|it| it.user.as_deref() == Some("bot"))
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
async fn a_rate_limit_is_waited_for_as_long_as_it_says() {
    let image = sample();
    let upstream = serving(&image).start();
    let limit = |seconds: &str| FaultAction::Status {
        code: 429,
        retry_after: Some(seconds.into()),
    };
    upstream.fault(Fault::once("GET", "/manifests/", limit("1")));
    let began = Instant::now();
    puller(&upstream).resolve(&reference(NAME)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    // more patience than we have is an error at once
    upstream.fault(Fault::once("GET", "/manifests/", limit("3600")));
    let began = Instant::now();
    let error = puller(&upstream)
        .resolve(&reference(NAME))
        .await
        .unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(1));
    let hour = Some(Duration::from_hours(1));
    assert!(matches!(error, Error::RateLimited { retry_after, .. } if retry_after == hour));
}

#[tokio::test]
async fn server_errors_and_lost_connections_are_tried_again_and_then_named() {
    let image = sample();
    let upstream = serving(&image).start();
    let down = || FaultAction::Status {
        code: 503,
        retry_after: None,
    };
    upstream.fault(Fault::once("GET", "/manifests/", down()));
    upstream.fault(Fault::once(
        "GET",
        "/manifests/",
        FaultAction::CutRequest { after_bytes: 0 },
    ));
    puller(&upstream).resolve(&reference(NAME)).await.unwrap();
    upstream.fault(Fault::always("GET", "/manifests/", down()));
    let error = puller(&upstream)
        .resolve(&reference(NAME))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Status { status: 503, .. }),
        "{error}"
    );
    upstream.clear_faults();
    upstream.fault(Fault::always(
        "GET",
        "/",
        FaultAction::CutRequest { after_bytes: 0 },
    ));
    let error = puller(&upstream)
        .resolve(&reference(NAME))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::ConnectionLost { attempts: 4, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_broken_blob_is_resumed_by_range() {
    let content = noise(1 << 20, 3);
    let image = Image::artifact(
        "",
        ("application/vnd.oci.empty.v1+json", Bytes::from("{}")),
        vec![("application/octet-stream", content.clone())],
        None,
    );
    let upstream = serving(&image).start();
    for _ in 0..2 {
        upstream.fault(Fault::once(
            "GET",
            "/blobs/",
            FaultAction::CutResponse {
                after_bytes: 300_000,
            },
        ));
    }
    let body = puller(&upstream)
        .blob(&reference(NAME), &digest_of(&content), 0)
        .await
        .unwrap();
    assert_eq!(all(body).await.unwrap(), content);
    let statuses: Vec<u16> = upstream.log().all().iter().map(|it| it.status).collect();
    assert_eq!(statuses, [200, 206, 206]);
    // a server without Range sends all again; nothing is seen twice
    upstream.fault(Fault::once(
        "GET",
        "/blobs/",
        FaultAction::CutResponse {
            after_bytes: 300_000,
        },
    ));
    upstream.fault(Fault::once("GET", "/blobs/", FaultAction::IgnoreRange));
    let body = puller(&upstream)
        .blob(&reference(NAME), &digest_of(&content), 0)
        .await
        .unwrap();
    assert_eq!(all(body).await.unwrap(), content);
}

#[tokio::test]
async fn a_blob_is_opened_in_the_middle_where_the_server_can() {
    let image = sample();
    let blob = image.blobs.iter().max_by_key(|blob| blob.len()).unwrap();
    let upstream = serving(&image).start();
    let puller = puller(&upstream);
    let body = puller
        .blob(&reference(NAME), &digest_of(blob), 1000)
        .await
        .unwrap();
    assert_eq!((body.start, body.total), (1000, Some(blob.len() as u64)));
    assert_eq!(all(body).await.unwrap(), blob.slice(1000..));
    upstream.fault(Fault::once("GET", "/blobs/", FaultAction::IgnoreRange));
    let body = puller
        .blob(&reference(NAME), &digest_of(blob), 1000)
        .await
        .unwrap();
    assert_eq!(body.start, 0);
    assert_eq!(all(body).await.unwrap(), blob);
}

#[tokio::test]
async fn a_blob_that_always_breaks_ends_with_an_error() {
    let image = sample();
    let blob = image.blobs.iter().max_by_key(|blob| blob.len()).unwrap();
    let upstream = serving(&image).start();
    upstream.fault(Fault::always(
        "GET",
        "/blobs/",
        FaultAction::CutResponse { after_bytes: 100 },
    ));
    let body = puller(&upstream)
        .blob(&reference(NAME), &digest_of(blob), 0)
        .await
        .unwrap();
    let error = all(body).await.unwrap_err();
    assert!(
        matches!(error, Error::ConnectionLost { .. } | Error::Protocol { .. }),
        "{error}"
    );
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
async fn a_wrong_authority_is_named_with_what_was_presented() {
    let (ours, theirs) = (TestCa::new("Corp CA 2024"), TestCa::new("Corp CA 2026"));
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs_err::write(&ca_file, ours.pem()).unwrap();
    let upstream = serving(&sample())
        .tls(theirs.server(&["127.0.0.1"]))
        .start();
    let yaml = upstream.upstreams_yaml(ca_file.to_str());
    let error = puller_for(&yaml)
        .resolve(&reference(NAME))
        .await
        .unwrap_err();
    let Error::CertificateUntrusted {
        reason, presented, ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(reason, Untrusted::UnknownIssuer);
    assert_eq!(presented[0].issuer, "CN=Corp CA 2026");
    assert_eq!(presented[0].names, ["127.0.0.1"]);
}

#[tokio::test]
async fn a_name_dns_does_not_know_and_a_closed_port_are_told_apart() {
    let yaml = "mirrors: {quay.io: {endpoint: [\"https://registry.invalid\"]}}";
    let error = puller_for(yaml)
        .resolve(&reference(NAME))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::NameUnresolved { host, .. } if host == "registry.invalid"),
        "{error:?}"
    );
    let upstream = serving(&sample()).start();
    upstream.leave();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let error = puller(&upstream)
        .resolve(&reference(NAME))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    upstream.come_back();
    let patient = RetryPolicy {
        attempts: 20,
        ..quick()
    };
    let upstreams = Upstreams::from_yaml(&upstream.upstreams_yaml(None), "u".into()).unwrap();
    let options = PullOptions {
        retry: patient,
        ..PullOptions::default()
    };
    Puller::new(upstreams, DockerConfig::default(), options)
        .resolve(&reference(NAME))
        .await
        .unwrap();
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
