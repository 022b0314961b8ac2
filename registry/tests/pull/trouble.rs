//! Faults that pass and faults that stay, and how each is named.

use std::time::{Duration, Instant};

use airgap_registry::{Error, Untrusted};
use airgap_testkit::{
    faults::{Fault, FaultAction},
    image::{Image, digest_of, noise},
    tls::TestCa,
    upstream::UpstreamRegistry,
};
use bytes::Bytes;

use crate::support::sample;

use super::{NAME, all, puller, puller_for, reference, serving};

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
    // more patience than we have is an error, without a second try
    upstream.log().clear();
    upstream.fault(Fault::once("GET", "/manifests/", limit("3600")));
    let error = puller(&upstream)
        .resolve(&reference(NAME))
        .await
        .unwrap_err();
    assert_eq!(
        upstream.log().count(|it| it.path.contains("/manifests/")),
        1
    );
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
async fn what_a_server_does_not_implement_is_not_asked_for_again() {
    let upstream = serving(&sample()).start();
    let refusal = FaultAction::Status {
        code: 501,
        retry_after: None,
    };
    upstream.fault(Fault::always("GET", "/manifests/", refusal));
    let error = puller(&upstream)
        .resolve(&reference(NAME))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Status { status: 501, .. }),
        "{error}"
    );
    assert_eq!(upstream.log().all().len(), 1);
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
async fn a_blob_that_is_kept_elsewhere_is_resumed_there() {
    let content = noise(1 << 20, 4);
    let elsewhere = UpstreamRegistry::builder()
        .file("cdn.example/blob", content.clone())
        .start();
    let upstream = serving(&sample()).start();
    let location = format!("{}/cdn.example/blob", elsewhere.url());
    let redirect = FaultAction::Redirect { location };
    upstream.fault(Fault::always("GET", "/blobs/", redirect));
    elsewhere.fault(Fault::once(
        "GET",
        "/blob",
        FaultAction::CutResponse {
            after_bytes: 300_000,
        },
    ));
    let body = puller(&upstream)
        .blob(&reference(NAME), &digest_of(&content), 0)
        .await
        .unwrap();
    assert_eq!(all(body).await.unwrap(), content);
    let statuses: Vec<u16> = elsewhere.log().all().iter().map(|it| it.status).collect();
    assert_eq!(statuses, [200, 206]);
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
    let error = puller(&upstream)
        .resolve(&reference(NAME))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    upstream.come_back();
    puller(&upstream).resolve(&reference(NAME)).await.unwrap();
}
