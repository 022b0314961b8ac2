//! Taking images and files out, in forms that other tools read; comparing bundles.

use std::process::Command;

use airgap_archive::extract::{self, Format};
use airgap_archive::{Difference, Error, Role, VerifiedArchive, annotations, digest_of};
use airgap_testkit::bundle::FakeBundle;
use airgap_testkit::image::Image;
use airgap_testkit::require_tool;
use serde_json::{Value, json};

use crate::support::{DOCKER, Folder, INDEX, OCI, RKE2, noisy, open, sample, write};

fn archive(folder: &Folder) -> VerifiedArchive {
    open(&write(&sample(), folder)).unwrap()
}

/// Runs a tool and returns what it printed.
fn run(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn skopeo_digest(image: &str) -> String {
    let text = run("skopeo", &["inspect", image]);
    let value: Value = serde_json::from_str(&text).unwrap();
    value["Digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_docker_typed_image_keeps_its_digest_in_skopeos_dir_form() {
    if !require_tool("skopeo") {
        return;
    }
    let folder = Folder::new();
    let archive = archive(&folder);
    let target = folder.join("image");
    let extracted = extract::image(&archive, DOCKER, None, Format::Dir, &target).unwrap();
    let locked = archive.entry(DOCKER).unwrap().descriptor.digest();
    assert!(&extracted.digest == locked && !extracted.converted);
    assert_eq!(skopeo_digest(&format!("dir:{target}")), locked.to_string());
    // and skopeo can copy it on, every blob checked by it
    let copy = folder.join("copy");
    run(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            &format!("dir:{target}"),
            &format!("dir:{copy}"),
        ],
    );
    assert_eq!(
        digest_of(&fs_err::read(copy.join("manifest.json")).unwrap()),
        *locked
    );
}

#[test]
fn images_extracted_to_an_oci_layout_are_read_by_skopeo() {
    if !require_tool("skopeo") {
        return;
    }
    let folder = Folder::new();
    let archive = archive(&folder);
    for (name, converted) in [(OCI, false), (DOCKER, true)] {
        let target = folder.join(if converted { "docker" } else { "oci" });
        let extracted = extract::image(&archive, name, None, Format::Oci, &target).unwrap();
        assert_eq!(extracted.converted, converted);
        assert_eq!(
            skopeo_digest(&format!("oci:{target}:{name}")),
            extracted.digest.to_string()
        );
        let copy = folder.join("copy");
        run(
            "skopeo",
            &[
                "--insecure-policy",
                "copy",
                &format!("oci:{target}:{name}"),
                &format!("dir:{copy}"),
            ],
        );
        fs_err::remove_dir_all(copy).unwrap();
    }
    let same = archive.entry(OCI).unwrap().descriptor.digest();
    assert_eq!(
        skopeo_digest(&format!("oci:{}:{OCI}", folder.join("oci"))),
        same.to_string()
    );
}

#[test]
fn docker_archives_are_read_by_skopeo() {
    if !require_tool("skopeo") {
        return;
    }
    let folder = Folder::new();
    let archive = archive(&folder);
    for (number, name) in [OCI, DOCKER].into_iter().enumerate() {
        let target = folder.join(&format!("{number}.tar"));
        extract::image(&archive, name, None, Format::DockerArchive, &target).unwrap();
        let copy = folder.join("copy");
        run(
            "skopeo",
            &[
                "--insecure-policy",
                "copy",
                &format!("docker-archive:{target}"),
                &format!("dir:{copy}"),
            ],
        );
        // the config, and with it every layer's content, is the one that was locked
        let manifest: Value =
            serde_json::from_slice(&fs_err::read(copy.join("manifest.json")).unwrap()).unwrap();
        let digest = archive.entry(name).unwrap().descriptor.digest();
        let config = archive.references(digest).unwrap()[0].digest();
        assert_eq!(manifest["config"]["digest"], config.to_string());
        fs_err::remove_dir_all(copy).unwrap();
    }
}

#[test]
fn one_platform_of_several_is_chosen_or_asked_for() {
    let folder = Folder::new();
    let archive = archive(&folder);
    let error = extract::image(&archive, INDEX, None, Format::Dir, &folder.join("x")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot extract {INDEX}: choose one of its platforms: linux/amd64, linux/arm64")
    );
    assert!(
        extract::image(
            &archive,
            INDEX,
            Some("linux/s390x"),
            Format::Dir,
            &folder.join("x")
        )
        .is_err()
    );
    let arm = extract::image(
        &archive,
        INDEX,
        Some("linux/arm64"),
        Format::Dir,
        &folder.join("arm"),
    )
    .unwrap();
    let children = archive
        .references(archive.entry(INDEX).unwrap().descriptor.digest())
        .unwrap();
    assert_eq!(&arm.digest, children[1].digest());
    // an OCI layout holds them all
    let whole = extract::image(&archive, INDEX, None, Format::Oci, &folder.join("all")).unwrap();
    assert_eq!(
        &whole.digest,
        archive.entry(INDEX).unwrap().descriptor.digest()
    );
    assert_eq!(
        folder
            .join("all/blobs/sha256")
            .read_dir_utf8()
            .unwrap()
            .count(),
        1 + 2 * 3
    );
}

#[test]
fn nothing_is_overwritten_and_nothing_half_done_is_left() {
    let folder = Folder::new();
    let path = write(&sample(), &folder);
    fs_err::create_dir(folder.join("there")).unwrap();
    let archive = open(&path).unwrap();
    let error =
        extract::image(&archive, OCI, None, Format::Dir, &folder.join("there")).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");

    let digest = archive.entry(OCI).unwrap().descriptor.digest();
    let layer = archive.references(digest).unwrap()[1].digest().clone();
    let content = archive.read(&layer, u64::MAX).unwrap();
    let mut bytes = fs_err::read(&path).unwrap();
    let at = bytes
        .windows(64)
        .position(|window| window == &content[9000..9064])
        .unwrap();
    bytes[at] ^= 1;
    fs_err::write(&path, bytes).unwrap();
    let archive = open(&path).unwrap();
    for format in [Format::Oci, Format::Dir, Format::DockerArchive] {
        let error = extract::image(&archive, OCI, None, format, &folder.join("new")).unwrap_err();
        assert!(
            matches!(error, Error::BlobDamaged { .. }) && error.is_trust_failure(),
            "{error}"
        );
    }
    assert!(
        extract::file(&archive, &layer, &folder.join("layer"))
            .unwrap_err()
            .is_trust_failure()
    );
    assert_eq!(folder.names(), ["bundle.tar.zst", "there"]);
}

#[test]
fn files_of_an_artifact_are_listed_by_title_and_extracted() {
    let folder = Folder::new();
    let config = json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2});
    let layer = |title: &str, bytes: &[u8]| json!({"mediaType": "text/plain", "digest": digest_of(bytes), "size": bytes.len(), "annotations": {annotations::TITLE: title}});
    let image = |title: &str| Image {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        manifest:
            json!({"schemaVersion": 2, "config": config, "layers": [layer(title, b"#!/bin/sh\n")]})
                .to_string()
                .into(),
        children: Vec::new(),
        blobs: vec!["{}".into(), "#!/bin/sh\n".into()],
    };
    let bundle = FakeBundle::new("files")
        .with(Role::Rke2, RKE2, &image("install.sh"))
        .with(Role::Chart, "charts/x:1", &image("../../etc/cron.d/x"));
    let archive = open(&write(&bundle, &folder)).unwrap();
    let files = extract::files(&archive, archive.entry(RKE2).unwrap()).unwrap();
    assert_eq!((files[0].name.as_str(), files[0].size), ("install.sh", 10));
    let target = folder.join("install.sh");
    extract::file(&archive, &files[0].digest, &target).unwrap();
    assert_eq!(fs_err::read(&target).unwrap(), b"#!/bin/sh\n");
    assert!(matches!(
        extract::file(&archive, &files[0].digest, &target),
        Err(Error::Exists { .. })
    ));

    let error = extract::files(&archive, archive.entry("charts/x:1").unwrap()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("its title is not a plain file name"),
        "{error}"
    );
}

#[test]
fn two_bundles_are_compared_by_name_digest_and_blobs() {
    let (one, two) = (Folder::new(), Folder::new());
    let (kept, old, new, gone) = (
        noisy(5000, 1),
        noisy(6000, 2),
        noisy(7000, 3),
        noisy(8000, 4),
    );
    let before = FakeBundle::new("1")
        .with(Role::Image, "kept:1", &kept)
        .with(Role::Image, "moved:1", &old)
        .with(Role::Image, "gone:1", &gone);
    let after = FakeBundle::new("2")
        .with(Role::Image, "kept:1", &kept)
        .with(Role::Image, "moved:1", &new)
        .with(Role::Image, "added:1", &kept);
    let (before, after) = (
        open(&write(&before, &one)).unwrap(),
        open(&write(&after, &two)).unwrap(),
    );
    let difference = Difference::between(&before, &after);
    let names = |entries: &[airgap_archive::Entry]| {
        entries
            .iter()
            .filter_map(|entry| entry.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&difference.added), ["added:1"]);
    assert_eq!(names(&difference.removed), ["gone:1"]);
    assert_eq!(difference.changed.len(), 1);
    assert_eq!(difference.changed[0].1.descriptor.digest(), &new.digest());
    // the new layer and its manifest; the layer and manifest kept, and the config that all share
    assert_eq!(difference.new_bytes, 7000 + new.manifest.len() as u64);
    assert_eq!(
        difference.shared_bytes,
        5000 + kept.manifest.len() as u64 + 2
    );
}
