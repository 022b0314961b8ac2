//! Pushing to Harbor: what is written, how often, and through which faults.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use airgap_registry::{
    ByteStream, Error, Flavour, ProjectState, Proof, Quota, RepositoryName, RetryPolicy,
    SiteConfig, SiteRegistry, TagOutcome,
};
use airgap_testkit::{
    faults::{Fault, FaultAction},
    harbor::Project,
    image::{Image, digest_of, noise},
    requests::Request,
    require_tool,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use oci_spec::image::MediaType;
use tokio::net::TcpStream;

use crate::support::{Site, body, push, quick, repository, sample, tag, upload};

fn argocd() -> RepositoryName {
    RepositoryName::of("quay.io/argoproj/argocd").unwrap()
}

#[tokio::test]
async fn an_image_arrives_whole_and_a_second_push_writes_nothing() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let (image, registry) = (sample(), site.pusher().await);
    assert!(matches!(
        registry.flavour(),
        Flavour::Harbor { version: Some(_) }
    ));
    let outcome = push(&registry, &argocd(), &tag("v3.4.4"), &image)
        .await
        .unwrap();
    assert_eq!(outcome, TagOutcome::Created);
    let there = registry
        .get_manifest(&argocd(), &tag("v3.4.4").into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(there.bytes, image.manifest);
    let stored = image
        .blobs
        .iter()
        .chain(image.children.iter().map(|(_, child)| child));
    let stored = stored.map(Bytes::len).sum::<usize>() + image.manifest.len();
    assert_eq!(site.harbor.used("airgap"), stored as u64);

    site.harbor.log().clear();
    let again = site.pusher().await;
    let outcome = push(&again, &argocd(), &tag("v3.4.4"), &image)
        .await
        .unwrap();
    assert_eq!(outcome, TagOutcome::Unchanged);
    assert_eq!((again.stats().writes, again.stats().bytes_sent), (0, 0));
    assert_eq!(again.stats().heads, image.blobs.len() as u64 + 3);
    assert_eq!(site.harbor.log().count(Request::is_write), 0);
}

#[tokio::test]
async fn the_probe_tells_rights_and_quota_and_leaves_nothing() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::start(Project {
        quota: Some(5_000_000),
        ..Project::named("airgap")
    });
    let registry = site.pusher().await;
    let access = registry.probe().await.unwrap();
    assert!(access.push && !access.read_only);
    assert_eq!(access.project, ProjectState::Exists);
    assert_eq!(
        access.quota,
        Some(Quota {
            limit: Some(5_000_000),
            used: 0
        })
    );
    assert_eq!((registry.stats().writes, registry.stats().probes), (0, 2));
    let writes: Vec<_> = site
        .harbor
        .log()
        .all()
        .into_iter()
        .filter(Request::is_write)
        .collect();
    assert_eq!(
        writes
            .iter()
            .map(|it| (it.method.as_str(), it.status))
            .collect::<Vec<_>>(),
        [("POST", 202), ("DELETE", 204)]
    );
}

#[tokio::test]
async fn a_project_is_made_once() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::start(Project::named("unrelated"));
    let admin = SiteRegistry::connect(site.config("admin")).await.unwrap();
    assert_eq!(admin.probe().await.unwrap().project, ProjectState::Missing);
    assert_eq!(admin.ensure_project().await.unwrap(), ProjectState::Created);
    assert_eq!(admin.ensure_project().await.unwrap(), ProjectState::Exists);
    push(&admin, &argocd(), &tag("v1"), &sample())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_blob_of_another_repository_is_mounted() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let registry = site.pusher().await;
    let blob = noise(100_000, 1);
    let digest = upload(&registry, &repository("a/b"), &blob).await.unwrap();
    assert!(
        registry
            .mount(&repository("c/d"), &digest, &repository("a/b"))
            .await
            .unwrap()
    );
    assert!(
        registry
            .blob_exists(&repository("c/d"), &digest)
            .await
            .unwrap()
    );
    assert_eq!(
        site.harbor.used("airgap"),
        100_000,
        "a mounted blob is not counted twice"
    );
    // what is nowhere cannot be mounted, and the upload opened in its place is cancelled
    let nowhere = digest_of(b"nowhere");
    assert!(
        !registry
            .mount(&repository("c/d"), &nowhere, &repository("a/b"))
            .await
            .unwrap()
    );
    let last = site.harbor.log().all().pop().unwrap();
    assert_eq!((last.method.as_str(), last.status), ("DELETE", 204));
}

#[tokio::test]
async fn uploads_survive_what_passes() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let registry = site.pusher().await;
    let status = |code| FaultAction::Status {
        code,
        retry_after: None,
    };
    let patient = FaultAction::Status {
        code: 429,
        retry_after: Some("1".into()),
    };
    let faults = [
        ("POST", status(503)),
        ("PUT", status(502)),
        ("PUT", patient),
        (
            "PUT",
            FaultAction::CutRequest {
                after_bytes: 150_000,
            },
        ),
        ("PUT", FaultAction::StatusAfter { code: 500 }),
        ("PUT", FaultAction::Delay { millis: 50 }),
        ("POST", FaultAction::HttpLocation),
        ("POST", FaultAction::RelativeLocation),
    ];
    for (seed, (method, action)) in faults.into_iter().enumerate() {
        let blob = noise(400_000, seed as u64 + 100);
        let fault = format!("{action:?}");
        site.harbor
            .fault(Fault::once(method, "/blobs/uploads/", action));
        let digest = upload(&registry, &repository("a/b"), &blob).await;
        let digest = digest.unwrap_or_else(|error| panic!("{fault}: {error}"));
        assert!(
            registry
                .blob_exists(&repository("a/b"), &digest)
                .await
                .unwrap(),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn a_registry_gone_mid_push_is_waited_for_and_then_named() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let registry = site.pusher().await;
    let blob = noise(400_000, 5);
    site.harbor.fault(Fault::once(
        "PUT",
        "/blobs/",
        FaultAction::Gone {
            after_bytes: 100_000,
        },
    ));
    let error = upload(&registry, &repository("a/b"), &blob)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Unreachable { .. } | Error::ConnectionLost { .. }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("localhost"), "{error}");
    site.harbor.come_back();
    // the same again goes well, from the start
    upload(&registry, &repository("a/b"), &blob).await.unwrap();

    let patient = SiteConfig {
        retry: RetryPolicy {
            attempts: 100,
            ..quick()
        },
        ..site.config("robot$airgap+push")
    };
    let registry = SiteRegistry::connect(patient).await.unwrap();
    site.harbor.fault(Fault::once(
        "PUT",
        "/blobs/",
        FaultAction::Gone {
            after_bytes: 100_000,
        },
    ));
    let other = noise(400_000, 6);
    let address = site.harbor.address();
    let back = async {
        // half a minute at most
        for _ in 0..3_000 {
            if TcpStream::connect(address).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        site.harbor.come_back();
    };
    let name = repository("a/b");
    let (uploaded, ()) = tokio::join!(upload(&registry, &name, &other), back);
    uploaded.unwrap();
}

#[tokio::test]
async fn a_source_that_fails_cancels_the_upload_and_is_not_tried_again() {
    if !require_tool("docker-registry") {
        return;
    }
    let blob = noise(300_000, 8);
    let digest = digest_of(&blob);
    let opened = AtomicUsize::new(0);
    let damaged = || -> ByteStream {
        opened.fetch_add(1, Ordering::SeqCst);
        let verdict = stream::iter([Err(io::Error::other("volume 2 is damaged"))]);
        Box::pin(body(&blob.slice(..200_000)).chain(verdict))
    };
    let longer = || body(&noise(300_001, 8));
    let shorter = || body(&blob.slice(..299_999));
    let sources: [&(dyn Fn() -> ByteStream + Send + Sync); 3] = [&damaged, &longer, &shorter];
    for open in sources {
        let site = Site::usual();
        let registry = site.pusher().await;
        site.harbor.log().clear();
        let error = registry
            .upload(&repository("a/b"), &digest, 300_000, open)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Body { digest: named, .. } if *named == digest),
            "{error}"
        );
        let methods: Vec<_> = site
            .harbor
            .log()
            .all()
            .into_iter()
            .map(|request| request.method)
            .collect();
        // the source may fail before the first byte of the PUT is on the wire; what cancels it comes over a connection of its own
        assert!(
            matches!(
                methods.iter().map(String::as_str).collect::<Vec<_>>()[..],
                ["POST", "PUT", "DELETE"] | ["POST", "DELETE", "PUT"] | ["POST", "DELETE"]
            ),
            "{methods:?}"
        );
        assert!(
            !registry
                .blob_exists(&repository("a/b"), &digest)
                .await
                .unwrap()
        );
        assert_eq!(site.harbor.used("airgap"), 0);
    }
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_blob_of_no_bytes_and_an_early_broken_manifest_are_fine() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let registry = site.pusher().await;
    upload(&registry, &repository("a/b"), &Bytes::new())
        .await
        .unwrap();
    site.harbor.fault(Fault::once(
        "PUT",
        "/manifests/",
        FaultAction::StatusAfter { code: 500 },
    ));
    site.harbor.fault(Fault::once(
        "PUT",
        "/manifests/",
        FaultAction::CutRequest { after_bytes: 10 },
    ));
    push(&registry, &argocd(), &tag("v1"), &sample())
        .await
        .unwrap();
}

#[tokio::test]
async fn an_immutable_tag_is_left_alone_or_named() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::start(Project {
        immutable_tags: true,
        ..Project::named("airgap")
    });
    let (image, registry) = (sample(), site.pusher().await);
    // stored, but the answer was an error: the retry is refused, and yet the tag is right
    site.harbor.fault(Fault::once(
        "PUT",
        "/manifests/v1$",
        FaultAction::StatusAfter { code: 500 },
    ));
    let outcome = push(&registry, &argocd(), &tag("v1"), &image)
        .await
        .unwrap();
    assert_eq!(outcome, TagOutcome::Created);
    let outcome = push(&registry, &argocd(), &tag("v1"), &image)
        .await
        .unwrap();
    assert_eq!(outcome, TagOutcome::Unchanged);
    let other = Image::oci().layer(&[("etc/x", b"x")]).build();
    let error = push(&registry, &argocd(), &tag("v1"), &other)
        .await
        .unwrap_err();
    let Error::ImmutableTag {
        present,
        wanted,
        object,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((present, *wanted), (Some(image.digest()), other.digest()));
    assert!(
        object.contains("airgap/quay.io/argoproj/argocd:v1"),
        "{object}"
    );
}

#[tokio::test]
async fn a_moved_tag_says_what_it_held() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let (image, registry) = (sample(), site.pusher().await);
    push(&registry, &argocd(), &tag("v1"), &image)
        .await
        .unwrap();
    let other = Image::docker().layer(&[("etc/x", b"x")]).build();
    let outcome = push(&registry, &argocd(), &tag("v1"), &other)
        .await
        .unwrap();
    assert_eq!(
        outcome,
        TagOutcome::Moved {
            from: image.digest()
        }
    );
}

#[tokio::test]
async fn a_tag_is_proved_by_the_answer_or_where_that_does_not_tell_by_asking() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let (image, registry) = (sample(), site.pusher().await);
    push(&registry, &argocd(), &tag("v1"), &image)
        .await
        .unwrap();
    let set = async |name: &str, proof| {
        let before = registry.stats().heads;
        let media_type = MediaType::from(image.media_type.as_str());
        let outcome = registry
            .retag(
                &argocd(),
                &tag(name),
                &media_type,
                &image.manifest,
                None,
                proof,
            )
            .await;
        (outcome, registry.stats().heads - before)
    };
    let created = |(outcome, heads): (airgap_registry::Result<TagOutcome>, u64)| {
        assert_eq!(outcome.unwrap(), TagOutcome::Created);
        heads
    };
    assert_eq!(created(set("a", Proof::ReadBack).await), 1);
    assert_eq!(created(set("b", Proof::Answer).await), 0);

    for action in [FaultAction::NoDigestHeader, FaultAction::WrongDigestHeader] {
        site.harbor
            .fault(Fault::once("PUT", "/manifests/", action.clone()));
        assert_eq!(created(set("c", Proof::Answer).await), 1, "{action:?}");
    }
    site.harbor.fault(Fault::once(
        "PUT",
        "/manifests/d$",
        FaultAction::WrongDigestHeader,
    ));
    site.harbor.fault(Fault::once(
        "HEAD",
        "/manifests/d$",
        FaultAction::WrongDigestHeader,
    ));
    let (outcome, _) = set("d", Proof::Answer).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}
