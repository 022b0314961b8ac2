//! A bundle of format 1, kept for ever: what was once delivered stays readable.

use std::io::Write as _;

use airgap_archive::{Role, UntrustedListing, WriteOptions};
use airgap_testkit::bundle::{FakeBundle, test_key};
use airgap_testkit::image::Image;
use camino::{Utf8Path, Utf8PathBuf};

use crate::support::{Folder, open, verify};

fn path() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1.tar.zst")
}

/// What the fixture was made of. Its layers come from a compressor that may change, so the bytes are compared only
/// where nothing but this crate decides.
fn made_of() -> FakeBundle {
    let image = Image::artifact(
        "",
        ("application/vnd.oci.image.config.v1+json", "{}".into()),
        vec![(
            "application/vnd.oci.image.layer.v1.tar",
            "a layer, a layer, a layer, a layer\n".repeat(40).into(),
        )],
        None,
    );
    let signature = Image::cosign_signature(&image.digest(), "example.org/fixture");
    FakeBundle::new("v1")
        .with(Role::Image, "example.org/fixture:1", &image)
        .referring(Role::Signature, &image.digest(), &signature)
}

#[test]
fn the_first_format_is_still_read() {
    assert_eq!(verify(&path()).unwrap(), []);
    let archive = open(&path()).unwrap();
    let digest = archive
        .entry("example.org/fixture:1")
        .unwrap()
        .descriptor
        .digest();
    let layer = archive.references(digest).unwrap()[1].digest();
    assert!(archive.read(layer, 10_000).unwrap().starts_with(b"a layer"));
    assert_eq!(
        archive.index_digest().to_string(),
        "sha256:5036d27a88685bbf5983caf96ab44d6f896c6569df1552177d0c5de08d5b3a7c"
    );
    assert_eq!(
        UntrustedListing::open(&path(), &[]).unwrap().entries.len(),
        2
    );
}

#[test]
fn the_first_format_is_still_written() {
    let folder = Folder::new();
    let written = folder.join("v1.tar.zst");
    made_of()
        .write(&written, &test_key(), &WriteOptions::default())
        .unwrap();
    let (old, new) = (
        fs_err::read(path()).unwrap(),
        fs_err::read(&written).unwrap(),
    );
    if old != new {
        // a newer libzstd may compress otherwise; everything signed must still be the same
        let first = crate::support::frames(&old)[0];
        assert!(
            old[..first.end] == new[..first.end],
            "the first frame changed, so the format changed"
        );
        writeln!(
            std::io::stderr(),
            "note: compressed frames differ from the fixture's"
        )
        .unwrap();
    }
}
