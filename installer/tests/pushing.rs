//! A bundle pushed into a Harbor: order, resumption, what is sent twice and what never is.

use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use airgap_archive::{OpenOptions, Role, VerifiedArchive, WriteOptions};
use airgap_installer::{
    Error, Event, ExitClass,
    push::{self, PushPlan},
};
use airgap_registry::{ProjectName, RepositoryName, RetryPolicy, SiteConfig, SiteRegistry, Tag};
use airgap_signing::TrustRoot;
use airgap_testkit::{
    bundle::{FakeBundle, test_key},
    faults::{Fault, FaultAction},
    harbor::{Account, HarborConfig, HarborEmulation, Project},
    image::{Image, noise},
    require_tool,
    tls::TestCa,
};
use camino::{Utf8Path, Utf8PathBuf};

pub(crate) const PASSWORD: &str = "Canary-9e02";

pub(crate) struct Site {
    pub(crate) harbor: HarborEmulation,
    pub(crate) ca: TestCa,
    folder: tempfile::TempDir,
}

impl Site {
    pub(crate) fn start() -> Self {
        let ca = TestCa::new("Site CA");
        let harbor = HarborEmulation::start(HarborConfig {
            tls: Some(ca.server(&["localhost", "127.0.0.1"])),
            accounts: vec![Account::pusher("airgap", PASSWORD)],
            projects: vec![Project::named("airgap")],
            ..HarborConfig::default()
        });
        Self {
            harbor,
            ca,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) async fn registry(&self) -> SiteRegistry {
        registry(self.harbor.address().port(), self.ca.pem()).await
    }

    pub(crate) fn path(&self) -> Utf8PathBuf {
        Utf8Path::from_path(self.folder.path())
            .unwrap()
            .join("b.tar.zst")
    }

    pub(crate) fn bundle(&self, bundle: &FakeBundle) -> VerifiedArchive {
        bundle
            .write(&self.path(), &test_key(), &WriteOptions::default())
            .unwrap();
        self.open()
    }

    fn open(&self) -> VerifiedArchive {
        let trust = TrustRoot::new(vec![test_key().public_key()]);
        VerifiedArchive::open(&self.path(), &trust, &OpenOptions::default()).unwrap()
    }

    pub(crate) fn writes(&self) -> usize {
        self.harbor
            .log()
            .count(airgap_testkit::requests::Request::is_write)
    }
}

/// The registry that listens at a port of this machine.
pub(crate) async fn registry(port: u16, ca_pem: &str) -> SiteRegistry {
    SiteRegistry::connect(SiteConfig {
        endpoint: format!("localhost:{port}"),
        project: ProjectName::parse("airgap").unwrap(),
        addresses: vec!["127.0.0.1".parse().unwrap()],
        ca_pem: Some(ca_pem.to_owned()),
        login: Some(("robot$airgap+push".to_owned(), PASSWORD.into())),
        retry: RetryPolicy {
            attempts: 3,
            first_wait: Duration::from_millis(30),
            longest_wait: Duration::from_millis(60),
            longest_retry_after: Duration::from_secs(1),
        },
    })
    .await
    .unwrap()
}

pub(crate) fn image(seed: u64) -> Image {
    let content = noise(2 << 20, seed);
    Image::oci()
        .layer(&[("shared", b"the same in all of them")])
        .layer(&[("own", &content)])
        .build()
}

pub(crate) fn quiet(_: Event) {}

pub(crate) async fn push(site: &Site, archive: &VerifiedArchive) -> Result<PushPlan, Error> {
    let registry = site.registry().await;
    let plan = push::plan(&registry, archive, 4, &quiet).await?;
    plan.run(&registry, archive, 4, &quiet).await?;
    Ok(plan)
}

pub(crate) fn tools() -> bool {
    require_tool("docker-registry")
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_pushed_once_and_a_second_run_asks_once_a_tag_and_writes_nothing() {
    if !tools() {
        return;
    }
    let site = Site::start();
    let (one, two) = (image(1), image(2));
    let chart = Image::artifact(
        "",
        (
            "application/vnd.cncf.helm.config.v1+json",
            "{\"name\":\"argo-cd\",\"version\":\"1.0.0\"}".into(),
        ),
        vec![(
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            "a chart".into(),
        )],
        None,
    );
    let signature = Image::cosign_signature(&one.digest(), "quay.io/a/one");
    let archive = site.bundle(
        &FakeBundle::new("b")
            .with(Role::Image, "quay.io/a/one:1", &one)
            .with(Role::Image, "docker.io/library/two:2", &two)
            .with(Role::Chart, "charts/argo-cd:1.0.0+up1", &chart)
            .referring(Role::Signature, &one.digest(), &signature),
    );
    let plan = push(&site, &archive).await.unwrap();
    assert_eq!((plan.summary.missing, plan.summary.present), (4, 0));

    let registry = site.registry().await;
    for (repository, tag, image) in [
        ("quay.io/a/one", "1", &one),
        ("docker.io/library/two", "2", &two),
        ("charts/argo-cd", "1.0.0_up1", &chart),
    ] {
        let (repository, tag) = (
            RepositoryName::parse(repository).unwrap(),
            Tag::parse(tag).unwrap(),
        );
        let found = registry
            .head_manifest(&repository, &tag.into())
            .await
            .unwrap();
        assert_eq!(found, Some(image.digest()));
    }
    let companion = Tag::companion(&one.digest(), "sig");
    let found = registry
        .head_manifest(
            &RepositoryName::parse("quay.io/a/one").unwrap(),
            &companion.into(),
        )
        .await
        .unwrap();
    assert_eq!(found, Some(signature.digest()));

    // the layer that both images share was sent once and mounted once
    let sent: Vec<_> = site.harbor.log().all();
    let puts = sent
        .iter()
        .filter(|request| request.method == "PUT" && request.path.contains("/blobs/uploads/"))
        .count();
    let blobs: BTreeSet<String> = [&one, &two, &chart, &signature]
        .iter()
        .flat_map(|image| image.blobs.iter())
        .map(|blob| airgap_testkit::image::digest_of(blob).to_string())
        .collect();
    assert_eq!(puts, blobs.len());

    site.harbor.log().clear();
    let again = push(&site, &archive).await.unwrap();
    assert!(again.is_empty());
    assert_eq!(site.writes(), 0);
    assert_eq!(
        site.harbor.log().count(|request| request.method == "HEAD"),
        4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_come_after_every_manifest_and_manifests_after_every_blob() {
    if !tools() {
        return;
    }
    let site = Site::start();
    let many = Image::index(vec![("linux/amd64", image(1)), ("linux/arm64", image(2))]);
    let signature = Image::cosign_signature(&many.digest(), "quay.io/a/many");
    let archive = site.bundle(
        &FakeBundle::new("b")
            .with(Role::Image, "quay.io/a/many:1", &many)
            .with(Role::Image, "quay.io/a/three:3", &image(3))
            .referring(Role::Signature, &many.digest(), &signature),
    );
    push(&site, &archive).await.unwrap();
    let order: Vec<usize> = site
        .harbor
        .log()
        .all()
        .iter()
        .filter(|request| request.method == "PUT")
        .map(|request| match &request.path {
            path if path.contains("/blobs/") => 0,
            path if path.contains("/manifests/sha256:") => 1,
            path if path.contains("/manifests/sha256-") => 3,
            _ => 2,
        })
        .collect();
    assert!(order.is_sorted(), "{order:?}");
    // each manifest once: those below the index by digest, what a tag leads to by its tag
    let puts = |step| order.iter().filter(|found| **found == step).count();
    assert_eq!((puts(1), puts(2), puts(3)), (2, 2, 1));
}

/// What a registry that holds nothing is asked for an image with its signature: each request is work of its own for it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_twice_nor_what_costs_less_to_do() {
    if !tools() {
        return;
    }
    let site = Site::start();
    let one = image(1);
    let signature = Image::cosign_signature(&one.digest(), "quay.io/a/one");
    let archive = site.bundle(
        &FakeBundle::new("b")
            .with(Role::Image, "quay.io/a/one:1", &one)
            .referring(Role::Signature, &one.digest(), &signature),
    );
    let registry = site.registry().await;
    let plan = push::plan(&registry, &archive, 4, &quiet).await.unwrap();
    plan.run(&registry, &archive, 4, &quiet).await.unwrap();
    let (stats, blobs) = (registry.stats(), plan.summary.blobs);
    // the image's tag before and after, and the one blob that is worth asking for
    assert_eq!(stats.heads, 3);
    assert_eq!(stats.writes, 2 * blobs + 2);
}

/// Eight images with a large layer each.
fn eight() -> FakeBundle {
    (0..8).fold(FakeBundle::new("b"), |bundle, seed| {
        bundle.with(Role::Image, &format!("quay.io/a/n{seed}:1"), &image(seed))
    })
}

fn is_head_of(part: &'static str) -> impl Fn(&airgap_testkit::requests::Request) -> bool {
    move |request| request.method == "HEAD" && request.path.contains(part)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_without_repositories_is_asked_once_for_all_tags_and_for_the_five_largest_blobs()
{
    if !tools() {
        return;
    }
    let site = Site::start();
    let archive = site.bundle(&eight());
    let registry = site.registry().await;
    let plan = push::plan(&registry, &archive, 4, &quiet).await.unwrap();
    assert_eq!(site.harbor.log().count(is_head_of("/manifests/")), 1);
    assert_eq!(plan.summary.missing, 8);
    plan.run(&registry, &archive, 4, &quiet).await.unwrap();
    assert_eq!(site.harbor.log().count(is_head_of("/blobs/")), 5);
    // each tag is read back
    assert_eq!(site.harbor.log().count(is_head_of("/manifests/")), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_list_asks_for_each_tag() {
    if !tools() {
        return;
    }
    let site = Site::start();
    let archive = site.bundle(&eight());
    let refusal = FaultAction::Status {
        code: 403,
        retry_after: None,
    };
    let listing = Fault::always("GET", "/projects/airgap/repositories$", refusal);
    site.harbor.fault(listing);
    push(&site, &archive).await.unwrap();
    assert_eq!(site.harbor.log().count(is_head_of("/blobs/")), 8);
    assert_eq!(site.harbor.log().count(is_head_of("/manifests/")), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_a_push_left_before_its_first_manifest_are_not_sent_again() {
    if !tools() {
        return;
    }
    let site = Site::start();
    let archive = site.bundle(&eight());
    let refusal = FaultAction::Status {
        code: 400,
        retry_after: None,
    };
    site.harbor
        .fault(Fault::always("PUT", "/manifests/", refusal));
    push(&site, &archive).await.unwrap_err();
    site.harbor.clear_faults();
    site.harbor.log().clear();
    let registry = site.registry().await;
    let plan = push::plan(&registry, &archive, 4, &quiet).await.unwrap();
    assert_eq!(site.harbor.log().count(is_head_of("/manifests/")), 1);
    plan.run(&registry, &archive, 4, &quiet).await.unwrap();
    let sent = registry.stats().bytes_sent;
    assert!(sent < 100_000, "{sent} bytes were sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_blob_is_named_with_its_volume_not_tried_again_and_never_committed() {
    if !tools() {
        return;
    }
    let site = Site::start();
    let damaged = image(7);
    site.bundle(&FakeBundle::new("b").with(Role::Image, "quay.io/a/one:1", &damaged));
    let mut bytes = fs_err::read(site.path()).unwrap();
    // the last megabyte before the seek table belongs to the large layer, which is stored as it is
    let middle = bytes.len() - (1 << 20);
    bytes[middle] ^= 1;
    fs_err::write(site.path(), bytes).unwrap();
    let archive = site.open();
    let error = push(&site, &archive).await.unwrap_err();
    assert_eq!(error.class(), ExitClass::DoNotTrust, "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("sha256:") && text.contains("b.tar.zst"),
        "{text}"
    );
    let log = site.harbor.log().all();
    let deleted = log.iter().any(|request| request.method == "DELETE");
    let large = airgap_testkit::image::digest_of(
        damaged.blobs.iter().max_by_key(|blob| blob.len()).unwrap(),
    );
    let registry = site.registry().await;
    assert!(
        !registry
            .blob_exists(&RepositoryName::parse("quay.io/a/one").unwrap(), &large)
            .await
            .unwrap()
    );
    assert!(deleted, "the upload's session is deleted: {log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_the_middle_of_a_blob_sends_it_again_from_the_archive() {
    if !tools() {
        return;
    }
    let site = Site::start();
    let archive =
        site.bundle(&FakeBundle::new("b").with(Role::Image, "quay.io/a/one:1", &image(3)));
    site.harbor.fault(Fault::once(
        "PUT",
        "/blobs/uploads/",
        FaultAction::CutRequest {
            after_bytes: 100_000,
        },
    ));
    let registry = site.registry().await;
    let events = Mutex::new(Vec::new());
    let report = |event: Event| events.lock().unwrap().push(event);
    let plan = push::plan(&registry, &archive, 4, &report).await.unwrap();
    // one at a time, so that the first is the largest
    plan.run(&registry, &archive, 1, &report).await.unwrap();
    let retried = events
        .lock()
        .unwrap()
        .iter()
        .any(|event| matches!(event, Event::PushRetry { .. }));
    assert!(retried);
    assert!(
        push::plan(&registry, &archive, 4, &quiet)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_goes_away_mid_push_loses_nothing() {
    if !tools() {
        return;
    }
    let site = Site::start();
    let archive = site.bundle(
        &FakeBundle::new("b")
            .with(Role::Image, "quay.io/a/one:1", &image(1))
            .with(Role::Image, "quay.io/a/two:2", &image(2))
            .with(Role::Image, "quay.io/a/three:3", &image(3)),
    );
    site.harbor.fault(Fault {
        skip: 4,
        ..Fault::once(
            "PUT",
            "/blobs/uploads/",
            FaultAction::Gone { after_bytes: 10 },
        )
    });
    let registry = site.registry().await;
    let plan = push::plan(&registry, &archive, 4, &quiet).await.unwrap();
    // one at a time, so that four are stored when the fifth breaks off
    let error = plan.run(&registry, &archive, 1, &quiet).await.unwrap_err();
    assert_eq!(error.class(), ExitClass::Failed);
    site.harbor.clear_faults();
    site.harbor.come_back();
    site.harbor.log().clear();
    push(&site, &archive).await.unwrap();
    let puts = site
        .harbor
        .log()
        .count(|request| request.method == "PUT" && request.path.contains("/blobs/uploads/"));
    assert!(puts < 7, "{puts} of 7 blobs were sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_quota_stops_the_push_with_its_numbers() {
    if !tools() {
        return;
    }
    let site = Site::start();
    site.harbor.set_project(Project {
        quota: Some(1 << 20),
        ..Project::named("airgap")
    });
    let archive =
        site.bundle(&FakeBundle::new("b").with(Role::Image, "quay.io/a/one:1", &image(1)));
    let error = push(&site, &archive).await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Registry(airgap_registry::Error::QuotaExceeded { .. })
        ),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_do_not_wait_for_each_other() {
    if !tools() {
        return;
    }
    let site = Site::start();
    let mut bundle = FakeBundle::new("b");
    for seed in 0..12 {
        let content = noise(9 << 20, seed);
        let image = Image::oci().layer(&[("big", &content)]).build();
        bundle = bundle.with(Role::Image, &format!("quay.io/a/n{seed}:1"), &image);
    }
    let archive = site.bundle(&bundle);
    let registry = site.registry().await;
    let plan = push::plan(&registry, &archive, 64, &quiet).await.unwrap();
    tokio::time::timeout(
        Duration::from_mins(2),
        plan.run(&registry, &archive, 64, &quiet),
    )
    .await
    .expect("no deadlock")
    .unwrap();
}
