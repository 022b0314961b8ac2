//! Who may say that a bundle is good.

use airgap_archive::{ArchiveWriter, Error, OpenOptions, VerifiedArchive, WriteOptions};
use airgap_signing::{PublicKey, SigningKey, TrustRoot};
use airgap_testkit::bundle::test_key;

use crate::support::{Folder, open, sample, small, trust, write};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn open_with(path: &camino::Utf8Path, trust: &TrustRoot) -> Result<VerifiedArchive, Error> {
    VerifiedArchive::open(path, trust, &OpenOptions::default())
}

#[test]
fn an_unknown_key_is_refused_and_the_shown_key_is_named() {
    let folder = Folder::new();
    let path = write(&small(), &folder);
    let error = open_with(&path, &TrustRoot::new(vec![key(1).public_key()])).unwrap_err();
    assert!(error.is_trust_failure());
    let shown = test_key().public_key().key_id();
    assert_eq!(
        error.to_string(),
        format!("bundle {path} is not signed by a trusted key; it shows key {shown}")
    );
}

#[test]
fn a_revoked_key_is_refused() {
    let folder = Folder::new();
    let path = write(&small(), &folder);
    let error = open_with(&path, &trust().revoke([test_key().public_key().key_id()])).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        error.is_trust_failure() && cause.contains("revoked"),
        "{cause}"
    );
}

#[test]
fn the_keys_that_are_trusted_are_told_without_the_revoked_ones() {
    let folder = Folder::new();
    let path = write(&small(), &folder);
    let (second, third) = (key(2).public_key(), key(3).public_key());
    let root = TrustRoot::new(vec![test_key().public_key(), second.clone(), third.clone()])
        .revoke([third.key_id()]);
    let bundle = open_with(&path, &root).unwrap();
    let ids: Vec<_> = bundle
        .trusted_keys()
        .iter()
        .map(PublicKey::key_id)
        .collect();
    assert_eq!(ids, [test_key().public_key().key_id(), second.key_id()]);
}

#[test]
fn a_threshold_is_met_by_countersignatures_beside_the_bundle() {
    let folder = Folder::new();
    let path = write(&small(), &folder);
    let second = key(2);
    let two = TrustRoot::new(vec![test_key().public_key(), second.public_key()]).tighten(2);
    assert!(open_with(&path, &two).unwrap_err().is_trust_failure());

    let sidecar = ArchiveWriter::countersign(&path, &second, &trust()).unwrap();
    assert_eq!(
        sidecar,
        format!("{path}.{}.sig", second.public_key().key_id())
    );
    let signed_by = open_with(&path, &two).unwrap().signed_by().to_vec();
    assert_eq!(signed_by.len(), 2);

    // the first key once more, under the second's name, is not a second key
    let again = test_key().sign(open(&path).unwrap().index()).to_line();
    fs_err::write(&sidecar, again).unwrap();
    assert!(open_with(&path, &two).unwrap_err().is_trust_failure());
}

#[test]
fn a_countersignature_alone_satisfies_a_site_that_knows_only_that_key() {
    let folder = Folder::new();
    let path = write(&small(), &folder);
    let site = key(2);
    ArchiveWriter::countersign(&path, &site, &trust()).unwrap();
    let archive = open_with(&path, &TrustRoot::new(vec![site.public_key()])).unwrap();
    assert_eq!(archive.signed_by(), [site.public_key().key_id()]);
}

#[test]
fn nobody_countersigns_what_they_do_not_trust() {
    let folder = Folder::new();
    let path = write(&small(), &folder);
    let stranger = TrustRoot::new(vec![key(3).public_key()]);
    assert!(
        ArchiveWriter::countersign(&path, &key(2), &stranger)
            .unwrap_err()
            .is_trust_failure()
    );
    assert_eq!(folder.names(), ["bundle.tar.zst"]);
}

#[test]
fn a_countersignature_of_another_bundle_does_not_count() {
    let (one, two) = (Folder::new(), Folder::new());
    let (small, sample) = (write(&small(), &one), write(&sample(), &two));
    let second = key(2);
    let sidecar = ArchiveWriter::countersign(&sample, &second, &trust()).unwrap();
    fs_err::copy(
        sidecar,
        format!("{small}.{}.sig", second.public_key().key_id()),
    )
    .unwrap();
    let both = TrustRoot::new(vec![test_key().public_key(), second.public_key()]).tighten(2);
    assert!(open_with(&small, &both).unwrap_err().is_trust_failure());
}

#[test]
fn a_signature_over_another_index_is_refused() {
    let folder = Folder::new();
    let (small, sample) = (small(), sample());
    let path = write(&small, &folder);
    // splice the other bundle's signature line into this bundle, byte for byte
    let ours = test_key()
        .sign(&small.tree.index_bytes().unwrap())
        .to_line();
    let theirs = test_key()
        .sign(&sample.tree.index_bytes().unwrap())
        .to_line();
    let mut bytes = fs_err::read(&path).unwrap();
    let at = bytes
        .windows(ours.len())
        .position(|window| window == ours.as_bytes())
        .unwrap();
    bytes[at..at + ours.len()].copy_from_slice(theirs.as_bytes());
    fs_err::write(&path, bytes).unwrap();
    let error = open(&path).unwrap_err();
    assert!(
        matches!(error, Error::Untrusted { .. }) && error.is_trust_failure(),
        "{error}"
    );
}

#[test]
fn an_unsigned_bundle_is_refused() {
    let folder = Folder::new();
    let small = small();
    let path = write(&small, &folder);
    let line = test_key()
        .sign(&small.tree.index_bytes().unwrap())
        .to_line();
    let mut bytes = fs_err::read(&path).unwrap();
    let at = bytes
        .windows(line.len())
        .position(|window| window == line.as_bytes())
        .unwrap();
    for blank in [b'\0', b'A'] {
        bytes[at..at + 88].fill(blank);
        fs_err::write(&path, &bytes).unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.is_trust_failure(), "{error}");
    }
}

#[test]
fn the_key_in_the_bundle_is_never_used() {
    let folder = Folder::new();
    let path = folder.join("bundle.tar.zst");
    small()
        .write(&path, &key(9), &WriteOptions::default())
        .unwrap();
    // consistent in itself, and signed by nobody the site knows
    assert!(matches!(open(&path), Err(Error::Untrusted { .. })));
    assert!(open_with(&path, &TrustRoot::new(Vec::new())).is_err());
}
