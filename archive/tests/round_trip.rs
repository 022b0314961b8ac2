//! What was written is what is read.

use std::io::Read as _;

use airgap_archive::{Error, Role, UntrustedListing, digest_of};
use airgap_testkit::bundle::{FakeBundle, test_key};
use airgap_testkit::image::Image;
use bytes::Bytes;
use proptest::prelude::*;

use crate::support::{
    DOCKER, Folder, INDEX, OCI, RKE2, artifact, noisy, open, quiet, sample, write,
};

#[test]
fn a_bundle_says_what_it_holds_and_who_signed_it() {
    let folder = Folder::new();
    let bundle = sample();
    let archive = open(&write(&bundle, &folder)).unwrap();
    assert_eq!(archive.info(), bundle.tree.info());
    assert_eq!(archive.signed_by(), [test_key().public_key().key_id()]);
    assert_eq!(archive.index()[..], bundle.tree.index_bytes().unwrap());
    assert_eq!(archive.index_digest(), &digest_of(archive.index()));
    let names: Vec<_> = archive
        .entries()
        .iter()
        .map(|entry| (entry.role, entry.name.as_deref()))
        .collect();
    assert_eq!(
        names,
        [
            (Role::Rke2, Some(RKE2)),
            (Role::Image, Some(DOCKER)),
            (Role::Image, Some(OCI)),
            (Role::Image, Some(INDEX)),
            (Role::Signature, None),
        ]
    );
    let subject = archive.entries()[4].subject.clone();
    assert_eq!(
        subject.as_ref(),
        Some(archive.entry(OCI).unwrap().descriptor.digest())
    );
    assert_eq!(archive.content_bytes(), bundle.tree.content_size().unwrap());
}

#[test]
fn every_blob_can_be_read_and_streamed() {
    let folder = Folder::new();
    let archive = open(&write(&sample(), &folder)).unwrap();
    assert_eq!(archive.verify_all(4, &quiet).unwrap(), []);
    for (digest, size) in archive.blobs() {
        let whole = archive.read(digest, *size).unwrap();
        assert_eq!((&digest_of(&whole), whole.len() as u64), (digest, *size));
        let mut streamed = Vec::new();
        archive
            .blob(digest)
            .unwrap()
            .read_to_end(&mut streamed)
            .unwrap();
        assert!(streamed == whole);
    }
}

#[test]
fn blobs_can_be_read_from_many_threads_at_once() {
    let folder = Folder::new();
    let archive = open(&write(&sample(), &folder)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..32 {
            let archive = archive.clone();
            scope.spawn(move || {
                let count = archive.blobs().len();
                for step in 0..count {
                    let (digest, size) = &archive.blobs()[(step + thread) % count];
                    let mut blob = archive.blob(digest).unwrap();
                    let mut total = 0;
                    while let Some(chunk) = blob.next_chunk().unwrap() {
                        total += Bytes::from(chunk).len() as u64;
                    }
                    assert_eq!(total, *size);
                }
            });
        }
    });
}

#[test]
fn a_blob_larger_than_the_callers_limit_is_not_read() {
    let folder = Folder::new();
    let archive = open(&write(&sample(), &folder)).unwrap();
    let (digest, size) = archive
        .blobs()
        .iter()
        .max_by_key(|(_, size)| *size)
        .unwrap();
    let error = archive.read(digest, size - 1).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[test]
fn what_is_not_carried_is_not_found() {
    let folder = Folder::new();
    let archive = open(&write(&sample(), &folder)).unwrap();
    let other = digest_of(b"other");
    for error in [
        archive.entry("quay.io/argoproj/argocd:v3.4.5").unwrap_err(),
        archive.manifest(&other).unwrap_err(),
        archive.references(&other).unwrap_err(),
        archive.blob(&other).unwrap_err(),
    ] {
        assert!(
            matches!(error, Error::NotFound { .. }) && !error.is_trust_failure(),
            "{error}"
        );
    }
}

#[test]
fn a_listing_without_trust_shows_the_index_only() {
    let folder = Folder::new();
    let path = write(&sample(), &folder);
    // cut after the first frame: the listing needs nothing else
    let bytes = fs_err::read(&path).unwrap();
    let first = crate::support::frames(&bytes)[0];
    fs_err::write(&path, &bytes[..first.end]).unwrap();
    let listing = UntrustedListing::open(&path, &[]).unwrap();
    assert_eq!(listing.entries.len(), 5);
    assert_eq!(listing.shown_key, test_key().public_key());
    assert!(open(&path).is_err());
}

#[test]
fn an_empty_blob_is_carried() {
    let folder = Folder::new();
    let bundle = FakeBundle::new("empty").with(Role::Image, OCI, &artifact("x/y", Bytes::new()));
    let archive = open(&write(&bundle, &folder)).unwrap();
    assert_eq!(archive.read(&digest_of(b""), 0).unwrap(), b"");
    assert_eq!(archive.verify_all(1, &quiet).unwrap(), []);
}

#[test]
fn a_manifest_of_more_than_a_mebibyte_is_carried() {
    let folder = Folder::new();
    let layers = (0..12_000)
        .map(|_| {
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                Bytes::from_static(b"x"),
            )
        })
        .collect();
    let image = Image::artifact(
        "",
        ("application/vnd.oci.image.config.v1+json", "{}".into()),
        layers,
        None,
    );
    assert!(image.manifest.len() > 1 << 20);
    let archive = open(&write(
        &FakeBundle::new("large").with(Role::Image, OCI, &image),
        &folder,
    ))
    .unwrap();
    assert_eq!(archive.manifest(&image.digest()).unwrap(), image.manifest);
    assert_eq!(archive.verify_all(1, &quiet).unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn blobs_of_any_size_round_trip(
        sizes in proptest::collection::vec(prop_oneof![2_usize..5000, 1_000_000_usize..1_100_000, 4_190_000_usize..4_200_000, 8_380_000_usize..8_400_000], 1..6),
    ) {
        let folder = Folder::new();
        let mut bundle = FakeBundle::new("sizes");
        for (number, size) in sizes.iter().enumerate() {
            bundle = bundle.with(Role::Image, &format!("example.org/{number}:1"), &noisy(*size, number as u64));
        }
        let archive = open(&write(&bundle, &folder)).unwrap();
        prop_assert_eq!(archive.verify_all(2, &quiet).unwrap(), vec![]);
        for (digest, size) in archive.blobs() {
            prop_assert_eq!(&digest_of(&archive.read(digest, *size).unwrap()), digest);
        }
    }
}
