//! The same inputs give the same bytes.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};

use airgap_archive::{ArchiveWriter, BlobSource, Error, Event, Role, WriteOptions};
use airgap_testkit::bundle::{Blobs, FakeBundle, test_key};
use airgap_testkit::image::Image;
use bytes::Bytes;
use oci_spec::image::Digest;

use crate::support::{DOCKER, Folder, INDEX, OCI, noisy, quiet, sample, verify, write};

#[test]
fn the_number_of_jobs_does_not_change_the_bytes() {
    let folder = Folder::new();
    let bundle = sample();
    let mut seen = Vec::new();
    for jobs in [1, 2, 3, 8, 64] {
        let path = folder.join(&format!("{jobs}.tar.zst"));
        bundle
            .write(
                &path,
                &test_key(),
                &WriteOptions {
                    jobs,
                    ..WriteOptions::default()
                },
            )
            .unwrap();
        seen.push(fs_err::read(path).unwrap());
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn the_order_of_additions_does_not_change_the_bytes() {
    let images = [noisy(100, 1), noisy(200, 2), noisy(300, 3)];
    let names = [OCI, DOCKER, INDEX];
    let index = |order: [usize; 3]| {
        let bundle = order.iter().fold(FakeBundle::new("order"), |bundle, i| {
            bundle.with(Role::Image, names[*i], &images[*i])
        });
        bundle.tree.index_bytes().unwrap()
    };
    assert_eq!(index([0, 1, 2]), index([2, 0, 1]));
}

#[test]
fn a_blob_used_twice_is_carried_once() {
    let folder = Folder::new();
    let image = noisy(5000, 1);
    let bundle = FakeBundle::new("twice")
        .with(Role::Image, OCI, &image)
        .with(Role::Image, DOCKER, &image);
    let archive = crate::support::open(&write(&bundle, &folder)).unwrap();
    assert_eq!(archive.entries().len(), 2);
    assert_eq!(archive.blobs().len(), 3);
}

/// A source whose one blob is wrong until it is evicted, or for ever.
struct Rotten {
    good: Blobs,
    wrong: Digest,
    bytes: Bytes,
    evictions: AtomicUsize,
    heals: bool,
}

impl BlobSource for Rotten {
    fn open(&self, digest: &Digest, size: u64) -> io::Result<Box<dyn Read + Send>> {
        let healed = self.heals && self.evictions.load(Ordering::Relaxed) > 0;
        if *digest == self.wrong && !healed {
            return Ok(Box::new(io::Cursor::new(self.bytes.clone())));
        }
        self.good.open(digest, size)
    }

    fn evict(&self, digest: &Digest) -> io::Result<bool> {
        assert_eq!(*digest, self.wrong);
        self.evictions.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }
}

#[test]
fn a_blob_that_no_longer_hashes_right_is_fetched_again_once() {
    let folder = Folder::new();
    let (first, second) = (noisy(9 << 20, 1), noisy(8 << 20, 2));
    let bundle = FakeBundle::new("rotten")
        .with(Role::Image, OCI, &first)
        .with(Role::Image, DOCKER, &second);
    let good = second.blobs[1].clone();
    let wrong = airgap_archive::digest_of(&good);
    let flipped = {
        let mut bytes = good.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        Bytes::from(bytes)
    };
    let longer = Bytes::from([&good[..], b"x"].concat());
    let shorter = good.slice(..good.len() - 1);
    let expected = fs_err::read(write(&bundle, &folder)).unwrap();
    let path = folder.join("rotten.tar.zst");
    for (bytes, volume_size) in [(&flipped, None), (&longer, None), (&shorter, Some(8 << 20))] {
        for heals in [true, false] {
            let source = Rotten {
                good: bundle.blobs.clone(),
                wrong: wrong.clone(),
                bytes: bytes.clone(),
                evictions: AtomicUsize::new(0),
                heals,
            };
            let events = std::sync::Mutex::new(Vec::new());
            let report = |event: Event| events.lock().unwrap().push(event);
            let options = WriteOptions {
                volume_size,
                ..WriteOptions::default()
            };
            let written =
                ArchiveWriter::create(&path, &bundle.tree, &test_key(), &options, &source, &report);
            assert_eq!(source.evictions.load(Ordering::Relaxed), 1);
            assert!(events.into_inner().unwrap().contains(&Event::StartedOver {
                digest: wrong.clone()
            }));
            if heals {
                let written = written.unwrap();
                assert_eq!(verify(&written.paths[0]).unwrap(), []);
                if volume_size.is_none() {
                    assert!(fs_err::read(&path).unwrap() == expected);
                }
                written
                    .paths
                    .iter()
                    .for_each(|path| fs_err::remove_file(path).unwrap());
            } else {
                assert!(matches!(written, Err(Error::BlobMismatch { digest }) if digest == wrong));
            }
            assert_eq!(folder.names(), ["bundle.tar.zst"]);
        }
    }
}

#[test]
fn a_source_that_cannot_bring_a_blob_leaves_nothing() {
    let folder = Folder::new();
    let mut bundle = sample();
    bundle.blobs = Blobs::default();
    let error = bundle
        .write(
            &folder.join("x.tar.zst"),
            &test_key(),
            &WriteOptions::default(),
        )
        .unwrap_err();
    assert!(
        matches!(error, Error::BlobSource { .. }) && !error.is_trust_failure(),
        "{error}"
    );
    assert!(folder.names().is_empty());
}

#[test]
fn a_killed_run_is_followed_by_a_good_one() {
    let folder = Folder::new();
    let bundle = sample();
    // what killed runs in volumes leave behind, some of it removed by the clean-up that was killed too
    for number in [1, 2, 3, 7, 999] {
        fs_err::write(
            folder.join(&format!(".bundle.tar.zst.{number:03}.partial")),
            "half a frame",
        )
        .unwrap();
    }
    let path = write(&bundle, &folder);
    assert_eq!(folder.names(), ["bundle.tar.zst"]);
    assert_eq!(verify(&path).unwrap(), []);
}

#[test]
fn trees_that_cannot_be_bundles_are_refused_before_anything_is_written() {
    let folder = Folder::new();
    let refused = |bundle: FakeBundle| {
        let error = bundle
            .write(
                &folder.join("x.tar.zst"),
                &test_key(),
                &WriteOptions::default(),
            )
            .unwrap_err();
        assert!(folder.names().is_empty());
        assert!(matches!(error, Error::InvalidTree { .. }), "{error}");
        error.to_string()
    };
    let image = noisy(100, 1);
    let mut without_child = Image::index(vec![("linux/amd64", image.clone())]);
    without_child.children.clear();
    let error = refused(FakeBundle::new("x").with(Role::Image, OCI, &without_child));
    assert!(
        error.contains(image.digest().as_ref()) && error.contains("was not added"),
        "{error}"
    );

    let signature = Image::cosign_signature(&image.digest(), "x");
    let error =
        refused(FakeBundle::new("x").referring(Role::Signature, &image.digest(), &signature));
    assert!(error.contains("which is not carried"), "{error}");

    assert!(refused(FakeBundle::new("a b")).contains("airgap.name"));
    let _ = quiet;
}
