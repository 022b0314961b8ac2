//! What an installation needs of memory does not grow with blobs or jobs.
//!
//! Measured in a process of its own, because the peak counts everything that ran before; the registry stays in this one.

use std::io::{self, Read};
use std::process::Command;

use airgap_archive::{
    Addition, ArchiveWriter, BlobSource, Hasher, OpenOptions, Role, VerifiedArchive, WriteOptions,
};
use airgap_installer::push;
use airgap_signing::TrustRoot;
use airgap_testkit::{
    bundle::{FakeBundle, test_key},
    image::noise,
};
use bytes::Bytes;
use camino::Utf8PathBuf;
use oci_spec::image::{Digest, MediaType};
use serde_json::json;

use crate::pushing::{Site, quiet, registry, tools};

/// Bytes of the large layer.
const LARGE: u64 = 2 << 30;
/// Layers that do not shrink, and the bytes of each: more than a frame holds.
const SMALL: (u64, usize) = (63, 5 << 20);
const JOBS: usize = 64;
const PORT: &str = "AIRGAP_TEST_PORT";
const BUNDLE: &str = "AIRGAP_TEST_BUNDLE";

/// A layer that exists nowhere.
struct Zeros(Digest);

impl Zeros {
    fn new() -> Self {
        let mut hasher = Hasher::new();
        let block = vec![0; 1 << 20];
        (0..LARGE >> 20).for_each(|_| hasher.update(&block));
        Self(hasher.finish())
    }
}

impl BlobSource for Zeros {
    fn open(&self, digest: &Digest, size: u64) -> io::Result<Box<dyn Read + Send>> {
        if *digest == self.0 {
            Ok(Box::new(io::repeat(0).take(size)))
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below, in a process of its own"]
async fn process_of_its_own() {
    let Ok(path) = std::env::var(BUNDLE).map(Utf8PathBuf::from) else {
        return;
    };
    let port = std::env::var(PORT).unwrap().parse().unwrap();
    let ca = fs_err::read_to_string(path.with_file_name("ca.pem")).unwrap();
    let trust = TrustRoot::new(vec![test_key().public_key()]);
    let archive = VerifiedArchive::open(&path, &trust, &OpenOptions::default()).unwrap();
    let registry = registry(port, &ca).await;
    let plan = push::plan(&registry, &archive, JOBS, &quiet).await.unwrap();
    plan.run(&registry, &archive, JOBS, &quiet).await.unwrap();
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    fs_err::write(path.with_file_name("peak"), kib.to_string()).unwrap();
}

#[test]
fn pushing_2_gib_with_64_jobs_stays_below_200_mb() {
    if !tools() {
        return;
    }
    let site = Site::start();
    let zeros = Zeros::new();
    let mut bundle = FakeBundle::new("large");
    let blob =
        |digest: &Digest, size: u64| json!({"mediaType": "x/y", "digest": digest, "size": size});
    let mut layers = vec![blob(&zeros.0, LARGE)];
    for seed in 0..SMALL.0 {
        let layer = noise(SMALL.1, seed);
        let digest = airgap_archive::digest_of(&layer);
        layers.push(blob(&digest, layer.len() as u64));
        bundle.tree.add_blob(layer);
    }
    let config = Bytes::from_static(b"{}");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.to_string(),
        "config": {"mediaType": "x/z", "digest": airgap_archive::digest_of(&config), "size": 2},
        "layers": layers,
    });
    bundle.tree.add_blob(config);
    let addition = Addition {
        manifest: manifest.to_string().into(),
        media_type: MediaType::ImageManifest,
        role: Role::Image,
        name: Some("quay.io/large/one:1".to_owned()),
        subject: None,
        platform: None,
    };
    bundle.tree.add(addition).unwrap();
    let options = WriteOptions::default();
    ArchiveWriter::create(
        &site.path(),
        &bundle.tree,
        &test_key(),
        &options,
        &zeros,
        &|_| {},
    )
    .unwrap();
    fs_err::write(site.path().with_file_name("ca.pem"), site.ca.pem()).unwrap();

    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::process_of_its_own", "--ignored"])
        .env(BUNDLE, site.path())
        .env(PORT, site.harbor.address().port().to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(site.harbor.used("airgap") > LARGE);
    let peak = fs_err::read_to_string(site.path().with_file_name("peak")).unwrap();
    let bytes = peak.parse::<u64>().unwrap() * 1024;
    assert!(bytes < 200_000_000, "the peak was {bytes} bytes");
}
