//! Bundles in volumes: written while bundling, read in place, never mixed up.

use airgap_archive::{Error, Event, OpenOptions, VerifiedArchive, Volumes, WriteOptions, Written};
use airgap_testkit::bundle::{FakeBundle, test_key};
use camino::Utf8PathBuf;

use crate::support::{Folder, OCI, assert_untrusted, noisy, open, quiet, trust, verify, write};
use airgap_archive::Role;

const SIZE: u64 = 8 << 20;

fn large(seed: u64) -> FakeBundle {
    FakeBundle::new("large").with(Role::Image, OCI, &noisy(27 << 20, seed))
}

fn in_volumes(bundle: &FakeBundle, folder: &Folder) -> Written {
    let options = WriteOptions {
        volume_size: Some(SIZE),
        ..WriteOptions::default()
    };
    bundle
        .write(&folder.join("large.tar.zst"), &test_key(), &options)
        .unwrap()
}

#[test]
fn volumes_break_at_frames_keep_their_size_and_are_read_in_place() {
    let folder = Folder::new();
    let written = in_volumes(&large(1), &folder);
    assert!(written.paths.len() >= 4);
    let names: Vec<String> = (1..=written.paths.len())
        .map(|number| format!("large.tar.zst.{number:03}"))
        .collect();
    assert_eq!(folder.names(), names);
    for path in &written.paths {
        assert!(path.metadata().unwrap().len() <= SIZE);
        // any volume stands for the set
        assert_eq!(verify(path).unwrap(), []);
    }
    assert_eq!(verify(&folder.join("large.tar.zst")).unwrap(), []);
    let archive = open(&folder.join("large.tar.zst")).unwrap();
    assert_eq!(archive.paths(), written.paths);
    assert_eq!(archive.file_bytes(), written.bytes);
}

#[test]
fn joined_volumes_are_one_valid_zstd_stream() {
    let (folder, whole) = (Folder::new(), Folder::new());
    let written = in_volumes(&large(1), &folder);
    let joined: Vec<u8> = written
        .paths
        .iter()
        .flat_map(|path| fs_err::read(path).unwrap())
        .collect();
    let single = fs_err::read(write(&large(1), &whole)).unwrap();
    let stream = |bytes: &[u8]| zstd::stream::decode_all(bytes).unwrap();
    assert!(stream(&joined) == stream(&single));
    // but airgap itself wants them as they were
    fs_err::write(folder.join("joined.tar.zst"), joined).unwrap();
    let error = open(&folder.join("joined.tar.zst")).unwrap_err();
    assert!(
        error.to_string().contains("its volumes were joined"),
        "{error}"
    );
}

#[test]
fn volumes_in_several_folders_are_found() {
    let (one, two) = (Folder::new(), Folder::new());
    let written = in_volumes(&large(1), &one);
    for path in written.paths.iter().skip(1).step_by(2) {
        fs_err::rename(path, two.join(path.file_name().unwrap())).unwrap();
    }
    let options = OpenOptions {
        folders: vec![two.path().to_owned()],
    };
    let archive = VerifiedArchive::open(&written.paths[0], &trust(), &options).unwrap();
    assert_eq!(archive.verify_all(2, &quiet).unwrap(), []);
}

#[test]
fn a_missing_volume_is_named() {
    let folder = Folder::new();
    let written = in_volumes(&large(1), &folder);
    let count = written.paths.len();
    for missing in 0..count {
        let path = &written.paths[missing];
        let aside = folder.join("aside");
        fs_err::rename(path, &aside).unwrap();
        let error = open(&folder.join("large.tar.zst")).unwrap_err();
        assert!(error.is_trust_failure(), "{error}");
        let expected = format!(".{:03}", missing + 1);
        assert!(
            error.to_string().starts_with(&format!(
                "missing volume {expected} of the bundle large.tar.zst"
            )),
            "{error}"
        );
        fs_err::rename(&aside, path).unwrap();
    }
    assert_eq!(verify(&written.paths[0]).unwrap(), []);
}

#[test]
fn volumes_of_two_bundles_are_not_mixed() {
    let (one, two) = (Folder::new(), Folder::new());
    let written = in_volumes(&large(1), &one);
    let other = in_volumes(&large(2), &two);
    for number in 1..written.paths.len() {
        let good = fs_err::read(&written.paths[number]).unwrap();
        fs_err::copy(&other.paths[number], &written.paths[number]).unwrap();
        let error = open(&written.paths[0]).unwrap_err();
        assert!(
            matches!(&error, Error::VolumeForeign { path } if *path == written.paths[number]),
            "{error}"
        );
        assert_eq!(
            error.to_string(),
            format!("volume {} belongs to another bundle", written.paths[number])
        );
        // the right volume in a further folder is preferred to a foreign one beside the first
        let aside = Folder::new();
        fs_err::write(
            aside.join(written.paths[number].file_name().unwrap()),
            &good,
        )
        .unwrap();
        let options = OpenOptions {
            folders: vec![aside.path().to_owned()],
        };
        assert!(VerifiedArchive::open(&written.paths[0], &trust(), &options).is_ok());
        fs_err::write(&written.paths[number], good).unwrap();
    }
}

#[test]
fn a_volume_that_does_not_begin_as_one_is_damaged_not_foreign() {
    let folder = Folder::new();
    let written = in_volumes(&large(1), &folder);
    let path = &written.paths[1];
    let good = fs_err::read(path).unwrap();
    let zeros = [&[0; 4096][..], &good[4096..]].concat();
    let flipped = |position: usize| {
        let mut bad = good.clone();
        bad[position] ^= 1;
        bad
    };
    let heads = [good[..51].to_vec(), Vec::new(), zeros];
    // magic, length and tag
    for bytes in heads.into_iter().chain([0, 4, 8, 15].map(flipped)) {
        fs_err::write(path, bytes).unwrap();
        let error = open(&written.paths[0]).unwrap_err();
        assert!(error.is_trust_failure());
        assert_eq!(
            error.to_string(),
            format!("bundle is damaged: {path}: it does not begin as a volume does")
        );
    }
}

#[test]
fn swapped_and_renumbered_volumes_are_refused() {
    let folder = Folder::new();
    let written = in_volumes(&large(1), &folder);
    let aside = folder.join("aside");
    fs_err::rename(&written.paths[1], &aside).unwrap();
    fs_err::rename(&written.paths[2], &written.paths[1]).unwrap();
    fs_err::rename(&aside, &written.paths[2]).unwrap();
    assert!(matches!(
        open(&written.paths[0]),
        Err(Error::VolumeForeign { .. })
    ));
}

#[test]
fn a_damaged_volume_is_named() {
    let folder = Folder::new();
    let written = in_volumes(&large(1), &folder);
    for path in &written.paths {
        let good = fs_err::read(path).unwrap();
        // the middle of a volume is a layer's content
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        fs_err::write(path, bad).unwrap();
        match verify(path) {
            Ok(findings) => assert_eq!(
                findings
                    .iter()
                    .map(|finding| &finding.volume)
                    .collect::<Vec<_>>(),
                [written.paths.last().unwrap()]
            ),
            Err(error) => assert!(error.is_trust_failure(), "{error}"),
        }
        // cut off, and grown
        for bytes in [&good[..good.len() - 1], &[&good[..], b"x"].concat()] {
            fs_err::write(path, bytes).unwrap();
            let error = open(path).unwrap_err();
            assert!(
                error.is_trust_failure() && error.to_string().contains(path.as_str()),
                "{error}"
            );
        }
        fs_err::write(path, good).unwrap();
    }
}

#[test]
fn flipped_bits_in_volume_heads_are_detected() {
    let folder = Folder::new();
    let written = in_volumes(&large(1), &folder);
    for path in &written.paths[1..] {
        let good = fs_err::read(path).unwrap();
        for position in 0..60 {
            let mut bad = good.clone();
            bad[position] ^= 1 << (position % 8);
            fs_err::write(path, bad).unwrap();
            assert_untrusted(path, &format!("byte {position} of {path}"));
        }
        fs_err::write(path, good).unwrap();
    }
}

#[test]
fn a_bundle_that_fits_one_volume_is_a_plain_file() {
    let (one, two) = (Folder::new(), Folder::new());
    let bundle = crate::support::small();
    let written = in_volumes(&bundle, &one);
    assert_eq!(one.names(), ["large.tar.zst"]);
    assert_eq!(
        fs_err::read(&written.paths[0]).unwrap(),
        fs_err::read(write(&bundle, &two)).unwrap()
    );
}

#[test]
fn a_volume_size_too_small_is_refused() {
    let folder = Folder::new();
    let options = WriteOptions {
        volume_size: Some(SIZE - 1),
        ..WriteOptions::default()
    };
    let error = large(1)
        .write(&folder.join("x.tar.zst"), &test_key(), &options)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot bundle in volumes of that size: a volume has at least 8388608 bytes"
    );
    assert!(folder.names().is_empty());
}

#[test]
fn each_volume_is_reported_when_it_is_begun() {
    let folder = Folder::new();
    let bundle = large(1);
    let seen = std::sync::Mutex::new(Vec::<Utf8PathBuf>::new());
    let report = |event: Event| {
        if let Event::Volume { path, .. } = event {
            seen.lock().unwrap().push(path);
        }
    };
    let options = WriteOptions {
        volume_size: Some(SIZE),
        ..WriteOptions::default()
    };
    let path = folder.join("large.tar.zst");
    let written = airgap_archive::ArchiveWriter::create(
        &path,
        &bundle.tree,
        &test_key(),
        &options,
        &bundle.blobs,
        &report,
    )
    .unwrap();
    assert_eq!(seen.into_inner().unwrap(), written.paths[1..]);
}

#[test]
fn a_volume_that_is_there_is_not_deleted_without_leave() {
    let folder = Folder::new();
    for (name, options) in [
        ("large.tar.zst.002", WriteOptions::default()),
        (
            "large.tar.zst.999",
            WriteOptions {
                volume_size: Some(SIZE),
                ..WriteOptions::default()
            },
        ),
    ] {
        let there = folder.join(name);
        fs_err::write(&there, "somebody's").unwrap();
        let target = folder.join("large.tar.zst");
        let error = large(1).write(&target, &test_key(), &options).unwrap_err();
        assert!(
            matches!(&error, Error::Exists { path } if *path == there),
            "{error}"
        );
        assert_eq!(folder.names(), [name]);
        let options = WriteOptions {
            overwrite: true,
            ..options
        };
        let written = large(1).write(&target, &test_key(), &options).unwrap();
        assert_eq!(folder.names().len(), written.paths.len());
        written
            .paths
            .iter()
            .for_each(|path| fs_err::remove_file(path).unwrap());
    }
}

#[test]
fn replacing_a_larger_set_leaves_no_volume_of_the_old() {
    let folder = Folder::new();
    in_volumes(&large(1), &folder);
    let options = WriteOptions {
        volume_size: Some(20 << 20),
        overwrite: true,
        ..WriteOptions::default()
    };
    let written = large(2)
        .write(&folder.join("large.tar.zst"), &test_key(), &options)
        .unwrap();
    assert_eq!(folder.names().len(), written.paths.len());
    assert_eq!(verify(&written.paths[0]).unwrap(), []);
    // and without leave nothing is replaced
    let error = large(3)
        .write(
            &folder.join("large.tar.zst"),
            &test_key(),
            &WriteOptions::default(),
        )
        .unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert_eq!(verify(&written.paths[0]).unwrap(), []);
    assert_eq!(
        Volumes::locate(&written.paths[1], &[]).unwrap().paths(),
        written.paths
    );
}
