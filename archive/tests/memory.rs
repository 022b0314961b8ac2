//! Memory does not grow with blobs or jobs.
//!
//! Measured in a process of its own, because the peak counts everything that ran before.

use std::io::{self, Read};
use std::process::Command;

use airgap_archive::{Addition, ArchiveWriter, BlobSource, Hasher, Role, WriteOptions};
use airgap_testkit::bundle::{FakeBundle, test_key};
use airgap_testkit::image::noise;
use bytes::Bytes;
use oci_spec::image::{Digest, MediaType};
use serde_json::json;

use crate::support::{Folder, open, quiet};

/// Bytes of the blob that shrinks, and of the one that does not.
const LARGE: u64 = 2 << 30;
const NOISE: u64 = 300 << 20;

/// Blobs that exist nowhere: a pattern repeated to a size.
struct Pattern(Bytes);

impl Pattern {
    fn read(&self, size: u64) -> impl Read + Send + use<> {
        let bytes = self.0.clone();
        Repeat { bytes, at: 0 }.take(size)
    }

    fn digest(&self, size: u64) -> Digest {
        let mut hasher = Hasher::new();
        let mut reader = self.read(size);
        let mut buffer = vec![0; 1 << 20];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            hasher.update(&buffer[..count]);
        }
        hasher.finish()
    }
}

struct Repeat {
    bytes: Bytes,
    at: usize,
}

impl Read for Repeat {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.bytes.len() - self.at);
        buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at = (self.at + count) % self.bytes.len();
        Ok(count)
    }
}

struct Patterns {
    zeros: (Digest, Pattern),
    noise: (Digest, Pattern),
}

impl BlobSource for Patterns {
    fn open(&self, digest: &Digest, size: u64) -> io::Result<Box<dyn Read + Send>> {
        let found = [&self.zeros, &self.noise]
            .into_iter()
            .find(|(known, _)| known == digest);
        let (_, pattern) = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(pattern.read(size)))
    }
}

/// The peak of this process's memory, in bytes.
fn peak() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[test]
#[ignore = "run by the test below, in a process of its own"]
fn process_of_its_own() {
    let zeros = Pattern(Bytes::from(vec![0; 1 << 20]));
    // longer than a frame, so that no frame holds a repetition
    let noise = Pattern(noise(5 << 20, 1));
    let (zeros_digest, noise_digest) = (zeros.digest(LARGE), noise.digest(NOISE));
    let blob =
        |digest: &Digest, size: u64| json!({"mediaType": "x/y", "digest": digest, "size": size});
    let config = Bytes::from_static(b"{}");
    let manifest = json!({
        "schemaVersion": 2,
        "config": {"mediaType": "x/z", "digest": airgap_archive::digest_of(&config), "size": 2},
        "layers": [blob(&zeros_digest, LARGE), blob(&noise_digest, NOISE)],
    });
    let mut bundle = FakeBundle::new("large");
    bundle.tree.add_blob(config);
    let addition = Addition {
        manifest: manifest.to_string().into(),
        media_type: MediaType::ImageManifest,
        role: Role::Image,
        name: Some("large:1".to_owned()),
        subject: None,
        platform: None,
    };
    bundle.tree.add(addition).unwrap();
    let source = Patterns {
        zeros: (zeros_digest.clone(), zeros),
        noise: (noise_digest, noise),
    };

    let folder = Folder::new();
    let path = folder.join("large.tar.zst");
    let options = WriteOptions {
        jobs: 64,
        ..WriteOptions::default()
    };
    ArchiveWriter::create(&path, &bundle.tree, &test_key(), &options, &source, &quiet).unwrap();
    let written = peak();
    let archive = open(&path).unwrap();
    assert_eq!(archive.verify_all(64, &quiet).unwrap(), []);
    // as many readers as a careless caller might start
    std::thread::scope(|scope| {
        for _ in 0..64 {
            let mut blob = archive.blob(&zeros_digest).unwrap();
            scope.spawn(move || (0..8).for_each(|_| drop(blob.next_chunk().unwrap())));
        }
    });
    println!("peak {} written {written}", peak());
}

#[test]
fn memory_stays_below_200_mb_with_blobs_of_2_gib_and_64_jobs() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "memory::process_of_its_own",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let line = text.lines().find(|line| line.contains("peak ")).unwrap();
    let peak: u64 = line
        .split("peak ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(peak < 200_000_000, "{line}");
}
