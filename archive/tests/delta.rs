//! Deltas: what they leave out, what always travels, and lists that are refused.

use airgap_archive::{
    Addition, BundleTree, DeltaBase, Difference, Error, OpenOptions, Role, VerifiedArchive,
    WriteOptions, annotations, digest_of, extract,
};
use airgap_testkit::bundle::{FakeBundle, test_key};
use airgap_testkit::image::{Image, noise};
use camino::Utf8Path;
use oci_spec::image::{Digest, MediaType};
use serde_json::json;

use crate::support::{Folder, OCI, RKE2, artifact, frames, open, trust, verify};

/// A name that only the new bundle has.
const NEW: &str = "docker.io/library/nginx:1.29";

/// An image of two large layers, of which images with equal first seeds share the first.
fn layered(base: u64, own: u64) -> Image {
    Image::oci()
        .layer(&[("usr/base", &noise(1_500_000, base))])
        .layer(&[("usr/own", &noise(1_200_000, own))])
        .build()
}

fn layers(archive: &VerifiedArchive, name: &str) -> Vec<Digest> {
    let manifest = archive.entry(name).unwrap().descriptor.digest();
    let references = archive.references(manifest).unwrap().iter().skip(1);
    references.map(|layer| layer.digest().clone()).collect()
}

fn write(bundle: &FakeBundle, path: &Utf8Path) -> VerifiedArchive {
    bundle
        .write(path, &test_key(), &WriteOptions::default())
        .unwrap();
    open(path).unwrap()
}

fn old() -> FakeBundle {
    FakeBundle::new("airgap-standard-1.0.0-amd64")
        .with(Role::Image, OCI, &layered(1, 2))
        .with(Role::Image, "quay.io/other/image:1", &layered(1, 3))
        .with(
            Role::Rke2,
            RKE2,
            &artifact("application/gzip", "rke2".into()),
        )
}

fn new() -> FakeBundle {
    let one = layered(1, 4);
    let signature = Image::cosign_signature(&one.digest(), "quay.io/argoproj/argocd");
    FakeBundle::new("airgap-standard-1.1.0-amd64")
        .with(Role::Image, OCI, &one)
        .with(Role::Image, "quay.io/other/image:1", &layered(1, 3))
        .with(Role::Image, NEW, &layered(5, 6))
        .with(
            Role::Rke2,
            RKE2,
            &artifact("application/gzip", "rke2".into()),
        )
        .referring(Role::Signature, &one.digest(), &signature)
}

#[test]
fn a_delta_leaves_out_the_layers_of_its_base_and_carries_everything_else() {
    let folder = Folder::new();
    let base = write(&old(), &folder.join("old.tar.zst"));
    let full = write(&new(), &folder.join("full.tar.zst"));
    let delta = write(&new().on(&base), &folder.join("delta.tar.zst"));
    assert_eq!(verify(&folder.join("delta.tar.zst")).unwrap(), []);

    let mut expected = vec![
        layers(&full, "quay.io/other/image:1")[0].clone(),
        layers(&full, "quay.io/other/image:1")[1].clone(),
    ];
    expected.sort_by_key(ToString::to_string);
    let omitted: Vec<Digest> = delta
        .omitted()
        .iter()
        .map(|layer| layer.digest.clone())
        .collect();
    assert_eq!(omitted, expected);
    let shared = delta
        .omitted()
        .iter()
        .find(|layer| layer.digest == layers(&full, OCI)[0])
        .unwrap();
    assert_eq!(
        shared.repositories,
        ["quay.io/argoproj/argocd", "quay.io/other/image"]
    );
    // all but the layers and the list is in both
    let held = |archive: &VerifiedArchive| -> Vec<String> {
        let blobs = archive.blobs().iter();
        let mut blobs: Vec<_> = blobs.map(|(digest, _)| digest.to_string()).collect();
        blobs.sort();
        blobs
    };
    let (in_full, in_delta) = (held(&full), held(&delta));
    for blob in &in_full {
        let left_out = expected.iter().any(|digest| digest.as_ref() == blob);
        assert_eq!(in_delta.contains(blob), !left_out, "{blob}");
    }
    let carried: u64 = layers(&full, NEW)
        .iter()
        .chain(&layers(&full, OCI)[1..])
        .map(|digest| full.blob(digest).unwrap().size())
        .sum();
    assert!(
        delta.file_bytes() < carried + carried / 10,
        "{} for {carried}",
        delta.file_bytes()
    );
}

#[test]
fn a_delta_names_its_base_and_stands_for_the_whole_bundle() {
    let folder = Folder::new();
    let base = write(&old(), &folder.join("old.tar.zst"));
    let full = write(&new(), &folder.join("full.tar.zst"));
    let delta = write(&new().on(&base), &folder.join("delta.tar.zst"));
    let named = delta.info().delta.clone().unwrap();
    assert_eq!(&named.index_digest, base.index_digest());
    assert_eq!((named.version.as_str(), named.release), ("1.0.0", 1));
    assert_ne!(delta.index_digest(), full.index_digest());
    assert_eq!(delta.whole_digest(), full.index_digest());
    assert_eq!(full.whole_digest(), full.index_digest());
    assert!(full.omitted().is_empty());
}

#[test]
fn a_delta_is_reproducible_and_may_build_on_a_delta() {
    let folder = Folder::new();
    let base = write(&old(), &folder.join("old.tar.zst"));
    let path = folder.join("delta.tar.zst");
    let first = write(&new().on(&base), &path);
    let bytes = fs_err::read(&path).unwrap();
    for jobs in [1, 3] {
        let again = folder.join(&format!("again-{jobs}.tar.zst"));
        let options = WriteOptions {
            jobs,
            ..WriteOptions::default()
        };
        new()
            .on(&base)
            .write(&again, &test_key(), &options)
            .unwrap();
        assert_eq!(fs_err::read(&again).unwrap(), bytes);
    }

    // what a delta leaves out is at its site as well as what it carries
    let third = new().with(Role::Image, "quay.io/third/image:1", &layered(5, 7));
    let second = write(&third.on(&first), &folder.join("second.tar.zst"));
    let own = layers(&second, "quay.io/third/image:1")[1].clone();
    let large: Vec<&Digest> = second
        .blobs()
        .iter()
        .filter(|(_, size)| *size > 1_000_000)
        .map(|(digest, _)| digest)
        .collect();
    assert_eq!(large, [&own]);
}

#[test]
fn a_layer_that_is_left_out_is_named_with_the_release_that_brought_it() {
    let folder = Folder::new();
    let base = write(&old(), &folder.join("old.tar.zst"));
    let delta = write(&new().on(&base), &folder.join("delta.tar.zst"));
    let missing = layers(&delta, OCI)[0].clone();
    let error = delta.blob(&missing).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("layer {missing} is not in this delta: it came with version 1.0.0 (release 1)")
    );
    assert!(!error.is_trust_failure());
    let output = folder.join("image");
    let error = extract::image(&delta, OCI, None, extract::Format::Oci, &output).unwrap_err();
    assert!(matches!(error, Error::LeftOut { .. }), "{error}");
    assert!(!output.exists());
    // what it carries whole comes out
    extract::image(&delta, NEW, None, extract::Format::Oci, &output).unwrap();
}

#[test]
fn a_difference_counts_what_a_delta_leaves_out_as_shared() {
    let folder = Folder::new();
    let base = write(&old(), &folder.join("old.tar.zst"));
    let full = write(&new(), &folder.join("full.tar.zst"));
    let delta = write(&new().on(&base), &folder.join("delta.tar.zst"));
    let whole = Difference::between(&base, &full);
    let part = Difference::between(&base, &delta);
    assert_eq!((part.added.len(), part.changed.len()), (1, 1));
    assert_eq!(part.shared_bytes, whole.shared_bytes);
    assert_eq!(part.new_bytes, whole.new_bytes);
    let none = Difference::between(&delta, &delta);
    assert_eq!((none.new_bytes, none.added.len()), (0, 0));
}

#[test]
fn what_stock_tools_unpack_of_a_delta_is_what_it_carries() {
    let folder = Folder::new();
    let base = write(&old(), &folder.join("old.tar.zst"));
    let path = folder.join("delta.tar.zst");
    let delta = write(&new().on(&base), &path);
    let bytes = fs_err::read(&path).unwrap();
    let mut tar = tar::Archive::new(zstd::stream::Decoder::new(&bytes[..]).unwrap());
    let entries = tar.entries().unwrap();
    let names = entries.map(|entry| entry.unwrap().path().unwrap().display().to_string());
    let blobs: Vec<String> = names.filter(|name| name.starts_with("blobs/")).collect();
    let expected: Vec<String> = delta
        .blobs()
        .iter()
        .map(|(digest, _)| format!("blobs/sha256/{}", digest.digest()))
        .collect();
    assert_eq!(blobs, expected);
}

/// Signs a list of one's own making, as only the holder of a trusted key can.
fn with_list(list: &serde_json::Value) -> Result<(), Error> {
    let mut info = FakeBundle::new("delta").tree.info().clone();
    info.delta = Some(DeltaBase {
        index_digest: digest_of(b"another index"),
        version: "1.0.0".to_owned(),
        release: 1,
    });
    let addition = |manifest, role, name: &str| Addition {
        manifest,
        media_type: MediaType::ImageManifest,
        role,
        name: Some(name.to_owned()),
        subject: None,
        platform: None,
    };
    let list = serde_json::to_vec(list).unwrap().into();
    let mut tree = BundleTree::new(info);
    tree.add(addition(layered(1, 2).manifest, Role::Image, OCI))?;
    tree.add(addition(list, Role::Delta, "delta:1.0.0"))?;
    tree.index_bytes().map(drop)
}

#[test]
fn lists_that_cannot_be_meant_are_refused() {
    let image = layered(1, 2);
    let manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    let listed = |descriptor: &serde_json::Value| {
        let mut layer = descriptor.clone();
        layer["annotations"] = json!({annotations::DELTA_REPOSITORIES: "quay.io/argoproj/argocd"});
        layer
    };
    let layer = listed(&manifest["layers"][0]);
    let list = |layers: serde_json::Value| {
        let config = json!({
            "mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
            "digest": digest_of(b"{}"),
        });
        json!({"schemaVersion": 2, "config": config, "layers": layers})
    };
    assert!(with_list(&list(json!([layer]))).is_ok());

    let changed = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut layer = layer.clone();
        change(&mut layer);
        list(json!([layer]))
    };
    let cases = [
        (
            "a config",
            list(json!([listed(&manifest["config"])])),
            "no layer of images alone",
        ),
        (
            "something nobody needs",
            changed(&|layer| layer["digest"] = json!(format!("sha256:{}", "7".repeat(64)))),
            "no layer of images alone",
        ),
        ("a layer twice", list(json!([layer, layer])), "twice"),
        (
            "another size",
            changed(&|layer| layer["size"] = json!(7)),
            "two sizes",
        ),
        (
            "a layer that is nowhere",
            changed(&|layer| layer["annotations"] = json!({})),
            "nothing says where",
        ),
        (
            "no repository",
            changed(&|layer| layer["annotations"][annotations::DELTA_REPOSITORIES] = json!("")),
            "are not 1 to 8 names",
        ),
    ];
    for (what, list, reason) in cases {
        let error = with_list(&list).unwrap_err().to_string();
        assert!(error.contains(reason), "{what}: {error}");
    }
}

#[test]
fn a_delta_whose_carried_blob_is_missing_is_damaged() {
    let folder = Folder::new();
    let base = write(&old(), &folder.join("old.tar.zst"));
    let full = write(&new(), &folder.join("full.tar.zst"));
    let path = folder.join("delta.tar.zst");
    write(&new().on(&base), &path);
    // a delta's own index with another's frames: what is absent is not what is listed
    let (delta, full) = (
        fs_err::read(&path).unwrap(),
        fs_err::read(full.paths()[0]).unwrap(),
    );
    let at = frames(&delta)[0].end;
    let others = frames(&full)[0].end;
    fs_err::write(&path, [&delta[..at], &full[others..]].concat()).unwrap();
    let error = VerifiedArchive::open(&path, &trust(), &OpenOptions::default()).unwrap_err();
    assert!(error.is_trust_failure(), "{error}");
}
