//! In whatever order frames are made, the bytes are the same; a wrong blob ends all workers.

use std::collections::HashMap;
use std::io::{self, Read};

use bytes::Bytes;
use camino::Utf8Path;
use oci_spec::image::{Digest, MediaType};

use super::*;
use crate::tree::Plan;
use crate::{Addition, BundleInfo, Role, WriteOptions, digest_of};

struct Blobs(HashMap<Digest, Bytes>);

impl BlobSource for Blobs {
    fn open(&self, digest: &Digest, _: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::Cursor::new(self.0[digest].clone())))
    }
}

/// Bytes that do not shrink.
fn noise(length: usize, mut state: u64) -> Vec<u8> {
    let next = std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).to_le_bytes()[0]
    });
    next.take(length).collect()
}

/// A tree of blobs that are stored, that shrink, and that share frames, largest first in no order of kind.
fn tree() -> (BundleTree, Blobs) {
    let mut blobs = HashMap::new();
    let mut layers = Vec::new();
    for (number, size) in [(1, 9), (2, 30), (3, 14), (4, 13), (5, 31), (6, 2), (7, 2)] {
        let size = (size << 20) + 77;
        let content = if number % 3 == 2 {
            (0..size)
                .map(|at| (at as u64 / 1000 % 251).to_le_bytes()[0])
                .collect()
        } else {
            noise(size, number)
        };
        layers.push(Bytes::from(content));
    }
    layers.extend((0..40).map(|number| Bytes::from(noise(100_000 + number, 99))));
    let layers: Vec<_> = layers
        .into_iter()
        .map(|content| {
            let (digest, size) = (digest_of(&content), content.len());
            blobs.insert(digest.clone(), content);
            serde_json::json!({"mediaType": "x/layer", "digest": digest, "size": size})
        })
        .collect();
    let mut tree = BundleTree::new(BundleInfo {
        name: "test".to_owned(),
        edition: "test".to_owned(),
        version: "1.0.0".to_owned(),
        release: 1,
        platform: "all".to_owned(),
        created: jiff::Timestamp::UNIX_EPOCH,
        expires: None,
        installer_sha256: None,
        delta: None,
    });
    let config = tree.add_blob(Bytes::from_static(b"{}"));
    let manifest = serde_json::json!({
        "schemaVersion": 2, "layers": layers,
        "config": {"mediaType": "x/config", "digest": config, "size": 2},
    });
    tree.add(Addition {
        manifest: serde_json::to_vec(&manifest).unwrap().into(),
        media_type: MediaType::ImageManifest,
        role: Role::Image,
        name: Some("a/b:1".to_owned()),
        subject: None,
        platform: None,
    })
    .unwrap();
    (tree, Blobs(blobs))
}

#[test]
fn in_order_or_not_with_any_number_of_workers_the_bytes_are_the_same() {
    let (tree, blobs) = tree();
    let Plan { layout, .. } = tree.plan().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(folder.path()).unwrap();
    let mut first = None;
    for (jobs, ahead, volume_size) in [
        (1, false, None),
        (3, false, None),
        (1, true, None),
        (2, true, None),
        (8, true, None),
        (1, false, Some(16 << 20)),
        (8, true, Some(16 << 20)),
    ] {
        let path = folder.join(format!("{jobs}-{ahead}-{volume_size:?}.tar.zst"));
        let options = WriteOptions {
            volume_size,
            ..WriteOptions::default()
        };
        let mut output = Output::create(&path, [7; 32], &options, 1).unwrap();
        output.write_stored(b"the first frame", &|_| {}).unwrap();
        let advanced = std::sync::atomic::AtomicU64::new(0);
        let report = |event| {
            if let Event::Advanced { bytes } = event {
                advanced.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            }
        };
        let way = Way {
            jobs,
            ahead,
            again: false,
        };
        run_with(&tree, &layout, way, &blobs, &mut output, &report).unwrap();
        let (paths, _) = output.finish(&|_| {}).unwrap();
        let content: u64 = layout.frames[1..]
            .iter()
            .map(|frame| frame.length as u64)
            .sum();
        assert_eq!(advanced.into_inner(), content);
        let bytes: Vec<Vec<u8>> = paths
            .iter()
            .map(|path| fs_err::read(path).unwrap())
            .collect();
        match (&first, volume_size) {
            (None, _) => first = Some(bytes),
            (Some(first), None) => assert_eq!(&bytes, first, "{jobs} jobs, ahead: {ahead}"),
            (Some(_), Some(_)) if !ahead => first = Some(bytes),
            (Some(first), Some(_)) => assert_eq!(&bytes, first, "{jobs} jobs in volumes"),
        }
    }
}

#[test]
fn a_blob_that_is_not_what_it_should_be_ends_all_workers() {
    let (tree, mut blobs) = tree();
    let Plan { layout, .. } = tree.plan().unwrap();
    let last = layout
        .pieces
        .iter()
        .rfind(|piece| piece.is_large())
        .unwrap();
    let digest = last.digest.clone();
    blobs
        .0
        .insert(digest.clone(), Bytes::from(noise(1 << 20, 5)));
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path())
        .unwrap()
        .join("b.tar.zst");
    for ahead in [false, true] {
        let mut output = Output::create(&path, [7; 32], &WriteOptions::default(), 1).unwrap();
        output.write_stored(b"the first frame", &|_| {}).unwrap();
        let way = Way {
            jobs: 4,
            ahead,
            again: false,
        };
        let error = run_with(&tree, &layout, way, &blobs, &mut output, &|_| {}).unwrap_err();
        assert!(matches!(error, Error::BlobMismatch { digest: found } if found == digest));
        output.restart().unwrap();
        assert_eq!(output.placed(), 1);
    }
}
