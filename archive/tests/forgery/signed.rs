//! Strange bundles that a trusted key has signed nevertheless.

use airgap_archive::{Error, annotations};
use airgap_testkit::bundle::test_key;
use camino::Utf8PathBuf;
use serde_json::{Value, json};

use super::{put_together, stored};
use crate::support::{Folder, open, small, verify};

/// Writes a bundle that consists of nothing but this index, properly signed by a trusted key.
fn with_index(index: &[u8], folder: &Folder) -> Utf8PathBuf {
    let mut tar = tar::Builder::new(Vec::new());
    let key = test_key();
    let line = key.sign(index).to_line();
    let pem = key.public_key().to_pem();
    let files: [(&str, &[u8]); 4] = [
        ("index.json", index),
        ("index.json.sig", line.as_bytes()),
        ("index.json.pub", pem.as_bytes()),
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
    ];
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(315_532_800);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    }
    let stream = tar.into_inner().unwrap();
    let (first, end) = stream.split_at(stream.len() - 1024);
    let path = folder.join("index.tar.zst");
    fs_err::write(&path, put_together(&[stored(first), stored(end)], index)).unwrap();
    path
}

/// The digest of nothing that any test holds.
const SOME_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn valid_index() -> Value {
    serde_json::from_slice(&small().tree.index_bytes().unwrap()).unwrap()
}

#[test]
fn an_index_without_entries_is_a_bundle() {
    let folder = Folder::new();
    let mut index = valid_index();
    index["manifests"] = json!([]);
    let path = with_index(index.to_string().as_bytes(), &folder);
    assert_eq!(verify(&path).unwrap(), []);
}

#[test]
fn signed_things_that_are_no_bundle_are_refused() {
    let folder = Folder::new();
    let index = |change: &dyn Fn(&mut Value)| {
        let mut index = valid_index();
        index["manifests"] = json!([]);
        change(&mut index);
        index.to_string()
    };
    let set = |key: &'static str, value: &'static str| {
        index(&move |index| index["annotations"][key] = json!(value))
    };
    let cases = [
        ("text", "hello".to_owned()),
        (
            "a cosign payload",
            r#"{"critical":{},"optional":null}"#.to_owned(),
        ),
        (
            "another media type",
            index(&|index| {
                index["mediaType"] = json!("application/vnd.oci.image.manifest.v1+json");
            }),
        ),
        (
            "no media type",
            index(&|index| drop(index.as_object_mut().unwrap().remove("mediaType"))),
        ),
        (
            "no annotations",
            index(&|index| drop(index.as_object_mut().unwrap().remove("annotations"))),
        ),
        (
            "a release that is no number",
            set(annotations::RELEASE, "-1"),
        ),
        (
            "a time that is none",
            set(annotations::CREATED, "yesterday"),
        ),
        ("an expiry that is none", set(annotations::EXPIRES, "never")),
        (
            "a name with control characters",
            set(annotations::NAME, "a\u{1b}[2Jb"),
        ),
        (
            "an installer that is no hash",
            set(annotations::INSTALLER_SHA256, "abc"),
        ),
        (
            "a delta without a version",
            set(annotations::DELTA_BASE, SOME_DIGEST),
        ),
        (
            "a delta without a list",
            index(&|index| {
                let texts = index["annotations"].as_object_mut().unwrap();
                texts.insert(annotations::DELTA_BASE.to_owned(), json!(SOME_DIGEST));
                texts.insert(annotations::DELTA_VERSION.to_owned(), json!("1.0.0"));
                texts.insert(annotations::DELTA_RELEASE.to_owned(), json!("1"));
            }),
        ),
        (
            "a list in a bundle that is no delta",
            index(&|index| {
                index["manifests"] = valid_index()["manifests"].clone();
                index["manifests"][0]["annotations"][annotations::ROLE] = json!("delta");
            }),
        ),
        (
            "a key twice",
            index(&|_| {}).replacen('{', r#"{"schemaVersion":2,"#, 1),
        ),
    ];
    for (what, index) in cases {
        let error = open(&with_index(index.as_bytes(), &folder)).unwrap_err();
        assert!(
            matches!(error, Error::NotABundle { .. }) && error.to_string().contains("index.json: "),
            "{what}: {error}"
        );
    }
    let newer = set(annotations::FORMAT, "2");
    let error = open(&with_index(newer.as_bytes(), &folder)).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    let reason = "format 2; this version reads format 1";
    assert!(error.to_string().contains(reason), "{error}");
}

#[test]
fn signed_descriptors_that_cannot_be_meant_are_refused() {
    let folder = Folder::new();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut index = valid_index();
        change(&mut index["manifests"]);
        index.to_string()
    };
    let first = |change: &dyn Fn(&mut Value)| with(&|manifests| change(&mut manifests[0]));
    let cases = [
        (
            "a plain blob",
            first(&|entry| entry["mediaType"] = json!("application/octet-stream")),
        ),
        (
            "another algorithm",
            first(&|entry| entry["digest"] = json!(format!("sha512:{}", "0".repeat(128)))),
        ),
        (
            "a path as digest",
            first(&|entry| entry["digest"] = json!("sha256:../../etc/passwd")),
        ),
        (
            "a manifest over 4 MiB",
            first(&|entry| entry["size"] = json!((4 << 20) + 1)),
        ),
        ("a negative size", first(&|entry| entry["size"] = json!(-1))),
        (
            "no role",
            first(&|entry| {
                drop(
                    entry["annotations"]
                        .as_object_mut()
                        .unwrap()
                        .remove(annotations::ROLE),
                );
            }),
        ),
        (
            "an unknown role",
            first(&|entry| entry["annotations"][annotations::ROLE] = json!("script")),
        ),
        (
            "no name",
            first(&|entry| {
                drop(
                    entry["annotations"]
                        .as_object_mut()
                        .unwrap()
                        .remove(annotations::REF_NAME),
                );
            }),
        ),
        (
            "a name with spaces",
            first(&|entry| entry["annotations"][annotations::REF_NAME] = json!("a b")),
        ),
        (
            "a signature of nothing",
            first(&|entry| entry["annotations"][annotations::ROLE] = json!("signature")),
        ),
        (
            "a name twice",
            with(&|manifests| {
                let again = manifests[0].clone();
                manifests.as_array_mut().unwrap().push(again);
            }),
        ),
        (
            "two sizes of one digest",
            with(&|manifests| {
                let mut again = manifests[0].clone();
                again["size"] = json!(again["size"].as_u64().unwrap() + 1);
                again["annotations"][annotations::REF_NAME] = json!("other");
                manifests.as_array_mut().unwrap().push(again);
            }),
        ),
    ];
    for (what, index) in cases {
        let error = open(&with_index(index.as_bytes(), &folder)).unwrap_err();
        // refused for what it says, not for how it lies in the file
        assert!(matches!(error, Error::NotABundle { .. }), "{what}: {error}");
        assert!(!error.to_string().contains("laid out"), "{what}: {error}");
    }
}
