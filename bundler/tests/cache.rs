//! The cache keeps its promise whatever interrupts it.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use airgap_bundler::{Cache, Error, PruneOptions, Pruned, digest_of};
use camino::Utf8Path;

fn temporary() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(Utf8Path::from_path(dir.path()).unwrap()).unwrap();
    (dir, cache)
}

#[tokio::test]
async fn a_blob_is_there_only_when_digest_and_size_agree() {
    let (_dir, cache) = temporary();
    let digest = digest_of(b"hello world");
    let mut incoming = cache.receive(&digest, Some(11)).await.unwrap().unwrap();
    incoming.write(b"hello ").unwrap();
    assert!(
        !cache.contains(&digest, None),
        "nothing is visible before the end"
    );
    incoming.write(b"world").unwrap();
    incoming.finish().unwrap();
    assert!(cache.contains(&digest, Some(11)));
    assert!(!cache.contains(&digest, Some(12)));
    assert_eq!(cache.read(&digest, 100).unwrap().unwrap(), b"hello world");
    assert!(cache.receive(&digest, Some(11)).await.unwrap().is_none());
}

#[tokio::test]
async fn an_interrupted_download_goes_on_where_it_stopped() {
    let (_dir, cache) = temporary();
    let digest = digest_of(b"hello world");
    let mut incoming = cache.receive(&digest, Some(11)).await.unwrap().unwrap();
    incoming.write(b"hello ").unwrap();
    drop(incoming);
    assert_eq!(cache.partial_bytes(&digest), 6);
    let mut incoming = cache.receive(&digest, Some(11)).await.unwrap().unwrap();
    assert_eq!(incoming.offset(), 6);
    incoming.write(b"world").unwrap();
    assert!(incoming.is_complete());
    incoming.finish().unwrap();
    assert!(cache.contains(&digest, Some(11)));
    assert_eq!(cache.partial_bytes(&digest), 0);
}

#[tokio::test]
async fn a_download_that_only_lacked_its_name_asks_for_nothing() {
    let (_dir, cache) = temporary();
    let digest = digest_of(b"hello world");
    for size in [Some(11), None] {
        let mut incoming = cache.receive(&digest, size).await.unwrap().unwrap();
        assert!(!incoming.is_complete());
        incoming.write(b"hello world").unwrap();
        drop(incoming);
        let incoming = cache.receive(&digest, size).await.unwrap().unwrap();
        assert!(incoming.is_complete(), "{size:?}");
        incoming.finish().unwrap();
        cache.evict(&digest).unwrap();
    }
}

#[tokio::test]
async fn wrong_content_is_thrown_away_and_named() {
    let (_dir, cache) = temporary();
    let digest = digest_of(b"right");
    for (bytes, size) in [
        (&b"wrong"[..], Some(5)),
        (b"rig", Some(5)),
        (b"right and more", Some(5)),
        (b"left", None),
    ] {
        let mut incoming = cache.receive(&digest, size).await.unwrap().unwrap();
        assert_eq!(incoming.offset(), 0, "wrong bytes are not resumed");
        let result = incoming.write(bytes).and_then(|()| incoming.finish());
        match result {
            Err(Error::WrongContent { expected, .. }) => assert_eq!(expected, digest),
            other => panic!("{other:?}"),
        }
        assert!(!cache.contains(&digest, None));
    }
}

#[tokio::test]
async fn two_tasks_fetch_a_digest_once() {
    let (_dir, cache) = temporary();
    let digest = digest_of(b"once");
    let mut first = cache.receive(&digest, Some(4)).await.unwrap().unwrap();
    let second = cache.receive(&digest, Some(4));
    tokio::pin!(second);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), &mut second)
            .await
            .is_err(),
        "the second waits"
    );
    first.write(b"once").unwrap();
    first.finish().unwrap();
    assert!(second.await.unwrap().is_none(), "the second finds it there");
}

#[tokio::test]
async fn a_waiting_task_takes_over_what_another_left() {
    let (_dir, cache) = temporary();
    let digest = digest_of(b"twice");
    let mut first = cache.receive(&digest, Some(5)).await.unwrap().unwrap();
    first.write(b"tw").unwrap();
    let (second, ()) = tokio::join!(cache.receive(&digest, Some(5)), async { drop(first) });
    assert_eq!(second.unwrap().unwrap().offset(), 2);
}

#[test]
fn a_blob_that_rotted_counts_as_absent() {
    let (dir, cache) = temporary();
    let digest = cache.insert(b"sound").unwrap();
    fs_err::write(
        dir.path().join("blobs/sha256").join(digest.digest()),
        b"s0und",
    )
    .unwrap();
    assert!(cache.read(&digest, 100).unwrap().is_none());
    assert!(!cache.contains(&digest, None), "it is evicted");
    let digest = cache.insert(b"sound").unwrap();
    let other = cache.insert(b"other").unwrap();
    fs_err::write(
        dir.path().join("blobs/sha256").join(other.digest()),
        b"0ther",
    )
    .unwrap();
    assert_eq!(cache.verify().unwrap(), BTreeSet::from([other.to_string()]));
    assert!(cache.contains(&digest, None) && !cache.contains(&other, None));
}

#[test]
fn a_blob_larger_than_its_limit_is_refused() {
    let (_dir, cache) = temporary();
    let digest = cache.insert(&[7; 100]).unwrap();
    assert!(matches!(
        cache.read(&digest, 99),
        Err(Error::Unusable { .. })
    ));
    assert_eq!(cache.read(&digest, 100).unwrap().unwrap().len(), 100);
}

#[test]
fn only_sha256_is_cached() {
    let (_dir, cache) = temporary();
    let digest = format!("sha512:{}", "a".repeat(128)).parse().unwrap();
    assert!(matches!(
        cache.open_blob(&digest),
        Err(Error::Unusable { .. })
    ));
}

/// Prunes a cache that nobody uses: a child that another test is starting holds a copy of its lock until it runs.
fn prune(root: &Utf8Path, options: &PruneOptions) -> Pruned {
    for _ in 0..200 {
        match Cache::prune(root, options) {
            Err(Error::CacheBusy { .. }) => std::thread::sleep(Duration::from_millis(50)),
            result => return result.unwrap(),
        }
    }
    panic!("the cache {root} is in use for 10 seconds")
}

#[test]
fn prune_spares_what_is_referenced_or_young_and_waits_for_nobody() {
    let (dir, cache) = temporary();
    let root = Utf8Path::from_path(dir.path()).unwrap();
    let (kept, gone) = (
        cache.insert(b"kept").unwrap(),
        cache.insert(b"gone").unwrap(),
    );
    let everything = PruneOptions {
        keep: HashSet::from([kept.clone()]),
        ..PruneOptions::default()
    };
    assert!(
        matches!(
            Cache::prune(root, &everything),
            Err(Error::CacheBusy { .. })
        ),
        "a cache in use is left alone"
    );
    drop(cache);

    let young = PruneOptions {
        older_than: Some(Duration::from_hours(1)),
        ..PruneOptions::default()
    };
    assert_eq!(prune(root, &young).removed, 0);
    let pruned = prune(
        root,
        &PruneOptions {
            dry_run: true,
            ..everything.clone()
        },
    );
    assert_eq!(
        (
            pruned.removed,
            pruned.removed_bytes,
            pruned.kept,
            pruned.kept_bytes
        ),
        (1, 4, 1, 4)
    );
    assert_eq!(prune(root, &everything), pruned);
    let cache = Cache::open(root).unwrap();
    assert!(cache.contains(&kept, None) && !cache.contains(&gone, None));
}
