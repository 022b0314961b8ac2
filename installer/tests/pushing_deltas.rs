//! A delta pushed onto what the registry has from its base.

use airgap_archive::{OpenOptions, Role, VerifiedArchive, WriteOptions};
use airgap_installer::{ExitClass, push};
use airgap_registry::{RepositoryName, Tag};
use airgap_signing::TrustRoot;
use airgap_testkit::bundle::{FakeBundle, test_key};
use camino::Utf8PathBuf;

use crate::pushing::{Site, image, push, quiet, tools};

/// Two releases: the second has one more image, and another layer in the first one's.
fn releases(site: &Site) -> (VerifiedArchive, VerifiedArchive) {
    let base = site.bundle(
        &FakeBundle::new("old")
            .with(Role::Image, "quay.io/a/one:1", &image(1))
            .with(Role::Image, "quay.io/a/two:1", &image(2)),
    );
    let delta = FakeBundle::new("new")
        .with(Role::Image, "quay.io/a/one:2", &image(1))
        .with(Role::Image, "quay.io/a/two:2", &image(3))
        // in a repository of its own: what it needs must be mounted there
        .with(Role::Image, "quay.io/b/moved:2", &image(2))
        .on(&base);
    let path = Utf8PathBuf::from(site.path().as_str().replace("b.tar", "delta.tar"));
    delta
        .write(&path, &test_key(), &WriteOptions::default())
        .unwrap();
    let trust = TrustRoot::new(vec![test_key().public_key()]);
    let delta = VerifiedArchive::open(&path, &trust, &OpenOptions::default()).unwrap();
    (base, delta)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_sends_what_is_new_and_mounts_what_it_leaves_out() {
    if !tools() {
        return;
    }
    let site = Site::start();
    let (base, delta) = releases(&site);
    push(&site, &base).await.unwrap();
    let before = site.registry().await;
    let plan = push::plan(&before, &delta, 4, &quiet).await.unwrap();
    // the shared layer and the own ones of the first two images
    assert_eq!((plan.summary.left_out, plan.summary.unproven), (3, 0));
    let sent: u64 = delta
        .blobs()
        .iter()
        .filter(|(_, size)| *size > 1 << 20)
        .map(|(_, size)| size)
        .sum();
    assert!(plan.summary.bytes < sent + 10_000, "{}", plan.summary.bytes);

    let registry = site.registry().await;
    plan.run(&registry, &delta, 4, &quiet).await.unwrap();
    assert!(registry.stats().bytes_sent < sent + 20_000);
    for (repository, tag) in [("quay.io/a/one", "2"), ("quay.io/b/moved", "2")] {
        let repository = RepositoryName::parse(repository).unwrap();
        let found = registry
            .head_manifest(&repository, &Tag::parse(tag).unwrap().into())
            .await
            .unwrap();
        assert!(found.is_some(), "{repository}:{tag}");
        for layer in delta.omitted() {
            let needed = repository.to_string() == "quay.io/b/moved";
            if needed && layer.repositories.contains(&"quay.io/a/two".to_owned()) {
                assert!(
                    registry
                        .blob_exists(&repository, &layer.digest)
                        .await
                        .unwrap(),
                    "{} in {repository}",
                    layer.digest
                );
            }
        }
    }
    // a second run asks for the tags and nothing else
    let quietly = site.registry().await;
    let again = push::plan(&quietly, &delta, 4, &quiet).await.unwrap();
    assert!(again.is_empty());
    assert_eq!(quietly.stats().heads, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_whose_base_is_not_there_is_refused_before_anything_is_written() {
    if !tools() {
        return;
    }
    let site = Site::start();
    let (_, delta) = releases(&site);
    let registry = site.registry().await;
    let plan = push::plan(&registry, &delta, 4, &quiet).await.unwrap();
    assert_eq!((plan.summary.left_out, plan.summary.unproven), (0, 3));
    let writes = site.writes();
    let error = plan.run(&registry, &delta, 4, &quiet).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "3 of the layers that this delta leaves out cannot be had from the registry: they came with version 1.0.0 (release 1)"
    );
    assert_eq!(error.class(), ExitClass::Failed);
    assert_eq!(site.writes(), writes);
}
