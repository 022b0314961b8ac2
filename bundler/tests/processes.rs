//! What only a process of its own can show: `kill -9` at any moment, two processes at once, and memory.
//!
//! The child is this test binary again, told by its environment to make one bundle.

use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use airgap_bundler::{BundleRequest, Cache, bundle, digest_of};
use airgap_manifests::{ImageLock, RenderedImages};
use airgap_testkit::{
    image::{Image, noise},
    upstream::UpstreamBuilder,
};
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::Digest;
use serde_json::json;

use crate::support::*;

/// The variable that tells the child its folder.
const FOLDER: &str = "AIRGAP_TEST_CHILD";
const JOBS: &str = "AIRGAP_TEST_CHILD_JOBS";
const CHILD_OUTPUT: &str = "AIRGAP_TEST_CHILD_OUTPUT";
/// The name of the bundle that most children make.
const OUTPUT: &str = "bundle.tar.zst";

#[test]
#[ignore = "the other tests of this file start it as a process of its own"]
fn process_of_its_own() {
    let Ok(folder) = std::env::var(FOLDER).map(Utf8PathBuf::from) else {
        return;
    };
    let jobs = std::env::var(JOBS).unwrap().parse().unwrap();
    let lock = ImageLock::load(&folder.join("images.lock")).unwrap();
    let puller = puller_of(&fs_err::read_to_string(folder.join("upstreams.yaml")).unwrap());
    let catalog = catalog();
    let records = catalog.fresh_records(&lock, &RenderedImages::new());
    let catalog = catalog.with_records(records);
    let output = folder.join(std::env::var(CHILD_OUTPUT).unwrap());
    let request = BundleRequest {
        catalog: &catalog,
        lock: &lock,
        edition: "small",
        with: &[],
        accepted: &[],
        platform: airgap_bundler::BundlePlatform::LinuxAmd64,
        output: &output,
        source_date: None,
        expires_days: None,
        volume_size: None,
        jobs,
        overwrite: true,
        base: None,
        verify_written: false,
        installer: None,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cache = Cache::open(&folder.join("cache")).unwrap();
    runtime
        .block_on(bundle(
            &request,
            [key(1)].into(),
            cache.into(),
            Some(&puller),
            &quiet,
        ))
        .unwrap();
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    fs_err::write(folder.join("peak"), kib.to_string()).unwrap();
}

fn spawn(folder: &Utf8Path, jobs: usize, output: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::process_of_its_own", "--ignored"])
        .env(FOLDER, folder)
        .env(JOBS, jobs.to_string())
        .env(CHILD_OUTPUT, output)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn world_of(upstream: UpstreamBuilder) -> World {
    let world = World::over(catalog(), upstream.start()).await;
    fs_err::write(world.path("images.lock"), world.lock.to_yaml()).unwrap();
    fs_err::write(
        world.path("upstreams.yaml"),
        world.upstream.upstreams_yaml(None),
    )
    .unwrap();
    world
}

#[tokio::test]
async fn kill_nine_at_any_moment_is_harmless() {
    let world = world_of(upstream()).await;
    let output = world.path("bundle.tar.zst");
    let clean = world.path("clean/bundle.tar.zst");
    fs_err::create_dir_all(world.path("clean")).unwrap();
    let cache = std::sync::Arc::new(Cache::open(&world.path("clean/cache")).unwrap());
    world
        .bundle_with(&world.request(&clean), cache, Some(&world.puller))
        .await
        .unwrap();
    let sound = digest_of(&fs_err::read(&clean).unwrap());
    for millis in [5, 20, 40, 60, 90, 130, 200, 300, 450] {
        let mut child = spawn(world.dir.path().try_into().unwrap(), 4, OUTPUT);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        if output.exists() {
            assert_eq!(
                digest_of(&fs_err::read(&output).unwrap()),
                sound,
                "whole or not there"
            );
        }
        assert!(
            world.cache().verify().unwrap().is_empty(),
            "the cache holds nothing but whole blobs"
        );
    }
    assert!(
        spawn(world.dir.path().try_into().unwrap(), 4, OUTPUT)
            .wait()
            .unwrap()
            .success(),
        "the same command again"
    );
    assert_eq!(digest_of(&fs_err::read(&output).unwrap()), sound);
}

#[tokio::test]
async fn two_processes_share_a_cache_and_fetch_each_blob_once() {
    let world = world_of(upstream()).await;
    world.upstream.log().clear();
    let outputs = ["a.tar.zst", "b.tar.zst", OUTPUT];
    let folder = world.dir.path().try_into().unwrap();
    let mut children = outputs.map(|output| spawn(folder, 4, output));
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    open(&world.path("bundle.tar.zst"));
    let mut blobs: Vec<_> = world
        .upstream
        .log()
        .all()
        .into_iter()
        .map(|request| request.path)
        .collect();
    blobs.retain(|path| path.contains("/blobs/"));
    let all = blobs.len();
    blobs.sort();
    blobs.dedup();
    assert_eq!(blobs.len(), all, "{blobs:?}");
}

/// Writes a file that no compressor shrinks.
fn big_file(path: &Utf8Path, bytes: u64, seed: u64) -> Digest {
    use sha2::{Digest as _, Sha256};
    let block = noise(8 << 20, seed);
    let (mut file, mut hasher, mut left) =
        (fs_err::File::create(path).unwrap(), Sha256::new(), bytes);
    while left > 0 {
        let part = &block[..usize::try_from(left)
            .unwrap_or(block.len())
            .min(block.len())];
        file.write_all(part).unwrap();
        hasher.update(part);
        left -= part.len() as u64;
    }
    airgap_bundler::from_hex(&hex::encode(hasher.finalize())).unwrap()
}

/// Peak memory stays under 200 MB whatever the blobs' size and the jobs. `AIRGAP_TEST_BLOB_MIB=2048` makes the blobs as large as
/// the promise says; it needs 15 GB of disk.
#[tokio::test]
async fn memory_stays_small_with_large_blobs_and_many_jobs() {
    let large = std::env::var("AIRGAP_TEST_BLOB_MIB").map_or(64, |mib| mib.parse().unwrap()) << 20;
    let files = tempfile::tempdir().unwrap();
    let mut upstream = upstream();
    let config = Image::oci().build().blobs.remove(0);
    let mut layers = Vec::new();
    for number in 0..66 {
        let bytes = if number < 2 { large } else { 2 << 20 };
        let path = root(&files).join(number.to_string());
        let digest = big_file(&path, bytes, number + 1);
        layers.push(json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest.to_string(), "size": bytes}));
        upstream = upstream.blob_from(&digest, path);
    }
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let config_type = "application/vnd.oci.image.config.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "layers": layers,
        "config": {"mediaType": config_type, "digest": digest_of(&config).to_string(), "size": config.len()},
    });
    let image = Image {
        media_type: media_type.to_owned(),
        manifest: manifest.to_string().into(),
        children: Vec::new(),
        blobs: vec![config],
    };
    let world = world_of(upstream.image(RUNTIME, &image)).await;
    assert!(
        spawn(world.dir.path().try_into().unwrap(), 64, OUTPUT)
            .wait()
            .unwrap()
            .success()
    );
    let kib: u64 = fs_err::read_to_string(world.path("peak"))
        .unwrap()
        .parse()
        .unwrap();
    println!(
        "peak resident memory: {} MB with two blobs of {} MiB",
        kib * 1024 / 1_000_000,
        large >> 20
    );
    assert!(kib * 1024 < 200_000_000, "{kib} KiB");
    let archive = open(&world.path("bundle.tar.zst"));
    assert!(archive.blobs().iter().any(|(_, size)| *size == large));
}
