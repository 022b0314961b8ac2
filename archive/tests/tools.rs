//! What stock tools make of a bundle.

use std::process::Command;

use airgap_archive::digest_of;
use airgap_testkit::bundle::test_key;
use airgap_testkit::require_tool;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use crate::support::{Folder, OCI, open, sample, write};

fn run(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Unpacks a bundle as anyone could.
fn unpack(path: &Utf8Path, folder: &Folder) -> Utf8PathBuf {
    let target = folder.join("layout");
    fs_err::create_dir(&target).unwrap();
    let output = Command::new("tar")
        .args(["--zstd", "-xf", path.as_str(), "-C", target.as_str()])
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target
}

#[test]
fn tar_yields_exactly_what_airgap_verifies() {
    if !(require_tool("tar") && require_tool("zstd")) {
        return;
    }
    let folder = Folder::new();
    let path = write(&sample(), &folder);
    let archive = open(&path).unwrap();
    let layout = unpack(&path, &folder);
    assert_eq!(
        fs_err::read(layout.join("index.json")).unwrap(),
        archive.index()[..]
    );
    let blobs = layout.join("blobs/sha256");
    assert_eq!(
        blobs.read_dir_utf8().unwrap().count(),
        archive.blobs().len()
    );
    for (digest, size) in archive.blobs() {
        let bytes = fs_err::read(blobs.join(digest.digest())).unwrap();
        assert_eq!((&digest_of(&bytes), bytes.len() as u64), (digest, *size));
    }
    let listed = run("tar", &["--zstd", "-tvf", path.as_str()]);
    assert_eq!(listed.lines().count(), archive.blobs().len() + 4);
    assert!(
        listed
            .lines()
            .all(|line| line.starts_with("-rw-r--r-- 0/0 ")),
        "{listed}"
    );
}

#[test]
fn zstd_accepts_every_frame_and_knows_the_size() {
    if !require_tool("zstd") {
        return;
    }
    let folder = Folder::new();
    let path = write(&sample(), &folder);
    run("zstd", &["-t", path.as_str()]);
    let listed = run("zstd", &["-lv", path.as_str()]);
    let archive = open(&path).unwrap();
    assert!(
        listed.contains(&format!("({} B)", archive.content_bytes())),
        "{listed}"
    );
    let frames = crate::support::frames(&fs_err::read(&path).unwrap()).len();
    let count = |name: &str| {
        let line = listed.lines().find(|line| line.contains(name)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(count("# Zstandard Frames"), frames.to_string());
    assert_eq!(count("# Skippable Frames"), "2");
}

#[test]
fn skopeo_reads_an_oci_typed_image_out_of_an_unpacked_bundle() {
    if !(require_tool("skopeo") && require_tool("zstd")) {
        return;
    }
    let folder = Folder::new();
    let path = write(&sample(), &folder);
    let layout = unpack(&path, &folder);
    let locked = open(&path)
        .unwrap()
        .entry(OCI)
        .unwrap()
        .descriptor
        .digest()
        .to_string();
    let source = format!("oci:{layout}:{OCI}");
    let inspected: Value = serde_json::from_str(&run("skopeo", &["inspect", &source])).unwrap();
    assert_eq!(inspected["Digest"], locked);
    let copy = folder.join("copy");
    run(
        "skopeo",
        &["--insecure-policy", "copy", &source, &format!("dir:{copy}")],
    );
    assert_eq!(
        digest_of(&fs_err::read(copy.join("manifest.json")).unwrap()).to_string(),
        locked
    );
}

#[test]
fn umoci_unpacks_an_image_out_of_an_unpacked_bundle() {
    if !(require_tool("umoci") && require_tool("zstd")) {
        return;
    }
    let folder = Folder::new();
    let layout = unpack(&write(&sample(), &folder), &folder);
    let target = folder.join("root");
    run(
        "umoci",
        &[
            "unpack",
            "--rootless",
            "--image",
            &format!("{layout}:{OCI}"),
            target.as_str(),
        ],
    );
    assert_eq!(
        fs_err::read(target.join("rootfs/etc/motd")).unwrap(),
        b"hello"
    );
}

#[test]
fn openssl_verifies_the_signature_as_the_documentation_says() {
    if !(require_tool("openssl") && require_tool("zstd") && require_tool("base64")) {
        return;
    }
    let folder = Folder::new();
    let layout = unpack(&write(&sample(), &folder), &folder);
    test_key()
        .public_key()
        .write_new(&layout.join("airgap.pub"))
        .unwrap();
    let check = || {
        let script = "base64 -d index.json.sig > s && \
                      openssl pkeyutl -verify -pubin -inkey airgap.pub -rawin -in index.json -sigfile s";
        Command::new("sh")
            .args(["-c", script])
            .current_dir(&layout)
            .output()
            .unwrap()
    };
    let output = check();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let mut index = fs_err::read(layout.join("index.json")).unwrap();
    index[10] ^= 1;
    fs_err::write(layout.join("index.json"), index).unwrap();
    assert!(!check().status.success());
}
