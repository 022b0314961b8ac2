//! A flipped bit anywhere, truncation and appended bytes: all are noticed, and named.

use airgap_archive::Error;

use crate::support::{
    Folder, OCI, assert_untrusted, frames, open, quiet, sample, small, verify, write,
};

#[test]
fn any_flipped_bit_of_a_small_bundle_is_detected() {
    let folder = Folder::new();
    let path = write(&small(), &folder);
    assert_eq!(verify(&path).unwrap(), []);
    let good = fs_err::read(&path).unwrap();
    let copy = folder.join("flipped.tar.zst");
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 1 << (position % 8);
        fs_err::write(&copy, &bad).unwrap();
        assert_untrusted(
            &copy,
            &format!("bit {} of byte {position} of {}", position % 8, good.len()),
        );
    }
}

#[test]
fn flipped_bits_in_every_part_of_a_large_bundle_are_detected() {
    let folder = Folder::new();
    let path = write(&sample(), &folder);
    let good = fs_err::read(&path).unwrap();
    let frames = frames(&good);
    let kinds: Vec<bool> = frames
        .iter()
        .map(|frame| frame.end - frame.start >= frame.content)
        .collect();
    assert!(
        kinds.contains(&true) && kinds.contains(&false),
        "stored and compressed frames are both needed"
    );

    let mut positions = Vec::new();
    for frame in &frames {
        // header, first block header, tar header, somewhere inside, and the end with its padding
        positions.extend(frame.start..frame.start + 13);
        positions.extend([
            frame.start + 30,
            frame.start + (frame.end - frame.start) / 2,
        ]);
        positions.extend(frame.end - 8..frame.end);
    }
    // the frame table and the seek table, evenly
    let tail = frames.last().unwrap().end;
    positions.extend((tail..good.len()).step_by(5));
    let copy = folder.join("flipped.tar.zst");
    for (number, position) in positions.into_iter().enumerate() {
        let mut bad = good.clone();
        bad[position] ^= 1 << (number % 8);
        fs_err::write(&copy, &bad).unwrap();
        assert_untrusted(&copy, &format!("bit {} of byte {position}", number % 8));
    }
}

#[test]
fn a_damaged_layer_is_named_with_its_volume_and_its_image() {
    let folder = Folder::new();
    let path = write(&sample(), &folder);
    let archive = open(&path).unwrap();
    let manifest = archive.entry(OCI).unwrap().descriptor.digest().clone();
    let layer = archive.references(&manifest).unwrap()[1].digest().clone();
    let content = archive.read(&layer, u64::MAX).unwrap();
    let mut bytes = fs_err::read(&path).unwrap();
    // stored frames hold the layer's bytes as they are
    let at = bytes
        .windows(64)
        .position(|window| window == &content[5000..5064])
        .unwrap();
    bytes[at] ^= 1;
    fs_err::write(&path, &bytes).unwrap();

    let archive = open(&path).unwrap();
    let findings = archive.verify_all(2, &quiet).unwrap();
    let [finding] = &findings[..] else {
        panic!("{findings:?}")
    };
    assert_eq!(finding.digest.as_ref(), Some(&layer));
    assert_eq!(
        (&finding.volume, &finding.entries[..]),
        (&path, &[OCI.to_owned()][..])
    );
    assert_eq!(finding.problem, "its bytes do not hash to its digest");

    // a consumer gets an error before it could have got the whole blob, and nothing after it
    let mut blob = archive.blob(&layer).unwrap();
    let mut got = 0;
    let error = loop {
        match blob.next_chunk() {
            Ok(chunk) => got += chunk.expect("an error comes before the end").as_ref().len(),
            Err(error) => break error,
        }
    };
    assert!(got < content.len());
    assert!(error.is_trust_failure());
    let expected =
        format!("blob {layer} is damaged in {path}: its bytes do not hash to its digest");
    assert_eq!(error.to_string(), expected);
    assert!(blob.next_chunk().is_err());
    // everything else is still good
    assert!(archive.read(&manifest, 1 << 20).is_ok());
}

#[test]
fn every_finding_is_listed_not_only_the_first() {
    let folder = Folder::new();
    let path = write(&sample(), &folder);
    let mut bytes = fs_err::read(&path).unwrap();
    let frames = frames(&bytes);
    let archive = open(&path).unwrap();
    // the second half of the frames holds blobs only; the manifests lie in the first two after the head
    let damaged = &frames[3..];
    for frame in damaged {
        bytes[usize::midpoint(frame.start, frame.end)] ^= 4;
    }
    drop(archive);
    fs_err::write(&path, &bytes).unwrap();
    let findings = verify(&path).unwrap();
    assert!(findings.len() >= 3, "{findings:?}");
    for jobs in [1, 3, 64] {
        assert_eq!(
            open(&path).unwrap().verify_all(jobs, &quiet).unwrap(),
            findings
        );
    }
}

/// Bytes that this thread has read so far; `None` where the system does not count them.
fn bytes_read() -> Option<u64> {
    let counted = fs_err::read_to_string("/proc/thread-self/io").ok()?;
    counted
        .lines()
        .find_map(|line| line.strip_prefix("rchar: "))?
        .parse()
        .ok()
}

#[test]
fn a_flipped_bit_in_the_number_of_frames_costs_no_memory() {
    let folder = Folder::new();
    let path = write(&small(), &folder);
    let good = fs_err::read(&path).unwrap();
    // as large as the larger numbers need, and nothing in it
    let size = 300 << 20;
    for (count, expected) in [
        (1_u32 << 24, "no frame table stands before the seek table"),
        (
            (1 << 24) + 1,
            "its seek table lists more frames than a bundle can have",
        ),
        (
            u32::MAX,
            "its seek table lists more frames than a bundle can have",
        ),
    ] {
        let mut footer = good[good.len() - 9..].to_vec();
        footer[..4].copy_from_slice(&count.to_le_bytes());
        let file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(size).unwrap();
        std::os::unix::fs::FileExt::write_all_at(file.file(), &footer, size - 9).unwrap();
        let before = bytes_read();
        let error = open(&path).unwrap_err();
        let read = bytes_read()
            .zip(before)
            .map(|(after, before)| after - before);
        assert!(
            matches!(&error, Error::Damaged { reason, .. } if reason == expected),
            "{count}: {error}"
        );
        assert!(read.is_none_or(|bytes| bytes < 1 << 20), "{read:?}");
    }
}

#[test]
fn truncation_is_detected_wherever_it_happens() {
    let folder = Folder::new();
    let path = write(&sample(), &folder);
    let good = fs_err::read(&path).unwrap();
    let copy = folder.join("short.tar.zst");
    let ends = frames(&good);
    let cuts = ends.iter().map(|frame| frame.end).chain([
        0,
        1,
        8,
        9,
        100,
        good.len() - 1,
        good.len() - 9,
        good.len() - 200,
    ]);
    for cut in cuts {
        fs_err::write(&copy, &good[..cut]).unwrap();
        assert_untrusted(&copy, &format!("truncation to {cut}"));
    }
}

#[test]
fn appended_bytes_are_detected() {
    let folder = Folder::new();
    let path = write(&small(), &folder);
    let good = fs_err::read(&path).unwrap();
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    let table = good[good.len() - 200..].to_vec();
    for more in [&[0][..], b"\n", &skippable, &table, &good] {
        let mut bad = good.clone();
        bad.extend_from_slice(more);
        fs_err::write(&path, &bad).unwrap();
        let error = open(&path).unwrap_err();
        assert!(
            error.is_trust_failure() && matches!(error, Error::Damaged { .. }),
            "{error}"
        );
    }
}

#[test]
fn other_files_are_no_bundles() {
    let folder = Folder::new();
    let path = folder.join("x.tar.zst");
    let plain = zstd::bulk::compress(&[b'x'; 4096], 3).unwrap();
    for bytes in [
        &b""[..],
        b"\x28\xb5\x2f\xfd",
        b"#!/bin/sh\necho hello\n",
        &plain,
        &[0; 1000],
    ] {
        fs_err::write(&path, bytes).unwrap();
        let error = open(&path).unwrap_err();
        assert!(
            matches!(error, Error::NotABundle { .. }) && error.is_trust_failure(),
            "{error}"
        );
    }
    fs_err::remove_file(&path).unwrap();
    assert!(
        !open(&path).unwrap_err().is_trust_failure(),
        "an absent file is no attack"
    );
}
