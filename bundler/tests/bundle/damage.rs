//! What a bad upstream, a bad disk or a stale lock does to a bundle: a clear message, and nothing lost.

use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use airgap_bundler::{Cache, Error, Event, Stage, bundle, digest_of};
use airgap_testkit::faults::{Fault, FaultAction};
use camino::Utf8PathBuf;
use oci_spec::image::Digest;

use super::sha256;
use crate::support::*;

fn docker_layer() -> Digest {
    digest_of(
        docker_image(20)
            .blobs
            .iter()
            .max_by_key(|blob| blob.len())
            .unwrap(),
    )
}

fn cached(world: &World, digest: &Digest) -> Utf8PathBuf {
    world.path("cache/blobs/sha256").join(digest.digest())
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_is_resumed() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    let layer = docker_layer();
    world.upstream.fault(Fault::once(
        "GET",
        layer.digest(),
        FaultAction::CutResponse {
            after_bytes: 700_000,
        },
    ));
    world.bundle(&world.request(&output)).await.unwrap();
    let asked = world
        .upstream
        .log()
        .count(|request| request.path.contains(layer.digest()));
    assert!(asked >= 2, "{asked}");
}

#[tokio::test]
async fn what_an_interrupted_run_left_is_not_fetched_again() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    let cache = world.cache();
    let image = docker_image(20);
    let layer = image.blobs.iter().max_by_key(|blob| blob.len()).unwrap();
    let mut incoming = cache
        .receive(&docker_layer(), Some(layer.len() as u64))
        .await
        .unwrap()
        .unwrap();
    incoming.write(&layer[..1_500_000]).unwrap();
    drop(incoming);
    world.bundle(&world.request(&output)).await.unwrap();
    let events = world.events.lock().unwrap();
    assert!(
        events.iter().any(|event| matches!(
            event,
            Event::Fetching {
                resumed: 1_500_000,
                ..
            }
        )),
        "{events:?}"
    );
}

#[tokio::test]
async fn leftovers_of_other_content_are_thrown_away() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    let cache = world.cache();
    let mut incoming = cache.receive(&docker_layer(), None).await.unwrap().unwrap();
    incoming.write(&[7; 1000]).unwrap();
    drop(incoming);
    world.bundle(&world.request(&output)).await.unwrap();
    open(&output);
}

#[tokio::test]
async fn a_server_without_ranges_starts_over() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    let cache = world.cache();
    let image = docker_image(20);
    let layer = image.blobs.iter().max_by_key(|blob| blob.len()).unwrap();
    let mut incoming = cache
        .receive(&docker_layer(), Some(layer.len() as u64))
        .await
        .unwrap()
        .unwrap();
    incoming.write(&layer[..1_000_000]).unwrap();
    drop(incoming);
    world.upstream.fault(Fault::always(
        "GET",
        docker_layer().digest(),
        FaultAction::IgnoreRange,
    ));
    world.bundle(&world.request(&output)).await.unwrap();
    open(&output);
}

#[tokio::test]
async fn a_damaged_cached_blob_is_evicted_and_fetched_once_more() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world.bundle(&world.request(&output)).await.unwrap();
    let sound = sha256(&output);
    let path = cached(&world, &docker_layer());
    let mut bytes = fs_err::read(&path).unwrap();
    bytes[1_000_000] ^= 1;
    fs_err::write(&path, bytes).unwrap();
    world.bundle(&world.request(&output)).await.unwrap();
    assert_eq!(
        sha256(&output),
        sound,
        "the same bytes as if nothing had happened"
    );
    let events = world.events.lock().unwrap();
    assert!(
        events.contains(&Event::Evicted {
            digest: docker_layer()
        }),
        "it says so"
    );
    assert_eq!(
        digest_of(&fs_err::read(&path).unwrap()),
        docker_layer(),
        "the cache is sound again"
    );
}

#[tokio::test]
async fn a_damaged_cached_blob_offline_is_an_error_that_names_it() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world.bundle(&world.request(&output)).await.unwrap();
    fs_err::remove_file(&output).unwrap();
    let path = cached(&world, &docker_layer());
    let mut bytes = fs_err::read(&path).unwrap();
    bytes[5] ^= 1;
    fs_err::write(&path, bytes).unwrap();
    let error = world
        .bundle_with(&world.request(&output), world.cache(), None)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains(docker_layer().digest()),
        "{error}"
    );
    assert!(!output.exists());
}

#[tokio::test]
async fn a_manifest_that_the_registry_answers_wrongly_is_refused_by_name() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    let digest = docker_image(20).digest();
    world.upstream.fault(Fault::always(
        "GET",
        &format!("manifests/{digest}"),
        FaultAction::CorruptBody,
    ));
    match world.bundle(&world.request(&output)).await.unwrap_err() {
        Error::WrongContent {
            object, expected, ..
        } => {
            assert_eq!(expected, digest);
            assert!(object.contains(DOCKER), "{object}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!output.exists());
}

#[tokio::test]
async fn a_layer_that_the_registry_answers_wrongly_is_refused_by_name() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world.upstream.fault(Fault::always(
        "GET",
        docker_layer().digest(),
        FaultAction::CorruptBody,
    ));
    let error = world.bundle(&world.request(&output)).await.unwrap_err();
    let Error::WrongContent {
        object, expected, ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!((object.as_str(), expected), (DOCKER, &docker_layer()));
    assert!(!output.exists() && !cached(&world, &docker_layer()).exists());
    world.upstream.clear_faults();
    world.bundle(&world.request(&output)).await.unwrap();
}

#[tokio::test]
async fn a_vanished_image_is_named_with_its_remedy() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world.upstream.remove_image(DOCKER);
    let error = world.bundle(&world.request(&output)).await.unwrap_err();
    assert!(matches!(error, Error::Vanished { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(DOCKER) && text.contains("airgap lock"),
        "{text}"
    );
}

#[tokio::test]
async fn a_tag_that_moved_does_not_change_the_bundle() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world.upstream.put_image(DOCKER, &docker_image(99));
    world.bundle(&world.request(&output)).await.unwrap();
    assert_eq!(
        open(&output).entry(DOCKER).unwrap().descriptor.digest(),
        &docker_image(20).digest()
    );
}

#[tokio::test]
async fn an_unlocked_image_is_named_with_its_remedy() {
    let mut world = World::new().await;
    let image = world
        .lock
        .images
        .iter_mut()
        .find(|image| image.name.to_string() == DOCKER)
        .unwrap();
    image.index = None;
    image.platforms.clear();
    let output = world.path("bundle.tar.zst");
    let text = world
        .bundle(&world.request(&output))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains(DOCKER) && text.contains("airgap lock"),
        "{text}"
    );
}

#[tokio::test]
async fn an_image_that_is_referred_to_but_not_locked_is_named_with_its_place() {
    let mut world = World::new().await;
    world
        .lock
        .images
        .retain(|image| image.name.to_string() != DOCKER);
    let output = world.path("bundle.tar.zst");
    let text = world
        .bundle(&world.request(&output))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("components/argo-cd.yaml:")
            && text.contains(DOCKER)
            && text.contains("airgap lock"),
        "{text}"
    );
}

#[tokio::test]
async fn a_lock_of_other_manifests_is_refused() {
    let mut world = World::new().await;
    world.lock.manifests_digest = digest_of(b"another tree");
    let output = world.path("bundle.tar.zst");
    let text = world
        .bundle(&world.request(&output))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("other manifests") && text.contains("airgap lock"),
        "{text}"
    );
}

#[tokio::test]
async fn a_release_file_locked_to_other_than_the_releases_checksum_is_refused() {
    let mut world = World::new().await;
    let url = format!("https://{}", release_file("rke2.linux-amd64.tar.gz"));
    let file = world
        .lock
        .files
        .iter_mut()
        .find(|file| file.url == url)
        .unwrap();
    file.sha256 = Some(digest_of(b"not the release"));
    let output = world.path("bundle.tar.zst");
    let text = world
        .bundle(&world.request(&output))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("rke2.linux-amd64.tar.gz") && text.contains("airgap lock"),
        "{text}"
    );
}

#[tokio::test]
async fn every_problem_of_an_upstream_is_named_in_one_run() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world.upstream.remove_image(DOCKER);
    world.upstream.remove_image(ARGOCD);
    let error = world.bundle(&world.request(&output)).await.unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, Error::Several(_)) && text.contains(DOCKER) && text.contains(ARGOCD),
        "{text}"
    );
}

/// Mounts a small file system; `None` where that is not allowed.
struct SmallDisk(Utf8PathBuf);

impl SmallDisk {
    fn mount(path: Utf8PathBuf, bytes: u64) -> Option<Self> {
        fs_err::create_dir_all(&path).unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs", path.as_str()])
            .output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        if !mounted {
            println!("SKIPPED: a small file system cannot be mounted here (needs root)");
        }
        mounted.then_some(Self(path))
    }

    /// Leaves only so many bytes free.
    fn fill_to(&self, free: u64) {
        let stat = rustix::fs::statvfs(self.0.as_std_path()).unwrap();
        let filler = (stat.f_bavail * stat.f_frsize).saturating_sub(free);
        let result = fs_err::write(
            self.0.join("filler"),
            vec![0; usize::try_from(filler).unwrap()],
        );
        // whoever else wrote meanwhile has helped to fill it
        if let Err(error) = result {
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .args(["-l", self.0.as_str()])
            .status();
    }
}

#[tokio::test]
async fn a_disk_too_small_for_the_bundle_is_said_first() {
    let world = World::new().await;
    let Some(disk) = SmallDisk::mount(world.path("disk"), 1 << 20) else {
        return;
    };
    let output = disk.0.join("bundle.tar.zst");
    let error = world.bundle(&world.request(&output)).await.unwrap_err();
    let Error::NoSpace { path, needed, free } = &error else {
        panic!("{error:?}")
    };
    assert!(path == &disk.0 && needed > free, "{error}");
    assert_eq!(
        world
            .upstream
            .log()
            .count(|request| request.path.contains(docker_layer().digest())),
        0
    );
}

#[tokio::test]
async fn a_disk_that_fills_up_while_bundling_leaves_the_cache_intact_and_the_next_run_works() {
    let world = World::new().await;
    let Some(disk) = SmallDisk::mount(world.path("disk"), 16 << 20) else {
        return;
    };
    let output = disk.0.join("bundle.tar.zst");
    let cache = world.cache();
    // The disk is filled by somebody else after the free space was asked, and before the first blob is whole.
    let writing = AtomicBool::new(false);
    let report = |event: Event| match event {
        Event::Stage { stage, .. } => writing.store(stage == Stage::Write, Ordering::Relaxed),
        Event::Received { .. } if writing.swap(false, Ordering::Relaxed) => {
            disk.fill_to(256 << 10);
        }
        _ => {}
    };
    let result = bundle(
        &world.request(&output),
        [key(1)].into(),
        cache.clone(),
        Some(&world.puller),
        &report,
    )
    .await;
    let error = result.unwrap_err();
    assert!(
        error.to_string().contains("space") || format!("{error:?}").contains("StorageFull"),
        "{error:?}"
    );
    let left: Vec<_> = disk
        .0
        .read_dir_utf8()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_owned())
        .collect();
    assert_eq!(
        left,
        ["filler"],
        "nothing under the final name, nothing left over"
    );
    assert!(cache.verify().unwrap().is_empty(), "the cache is intact");
    fs_err::remove_file(disk.0.join("filler")).unwrap();
    world.bundle(&world.request(&output)).await.unwrap();
    open(&output);
}

#[tokio::test]
async fn a_cache_on_a_full_disk_says_so_and_goes_on_later() {
    let world = World::new().await;
    let Some(disk) = SmallDisk::mount(world.path("disk"), 16 << 20) else {
        return;
    };
    let output = world.path("bundle.tar.zst");
    let cache = std::sync::Arc::new(Cache::open(&disk.0.join("cache")).unwrap());
    let report = |event: Event| {
        // reported after the free space was asked, and before anything is fetched
        if let Event::Stage {
            stage: Stage::Write,
            ..
        } = event
        {
            disk.fill_to(512 << 10);
        }
    };
    let result = bundle(
        &world.request(&output),
        [key(1)].into(),
        cache.clone(),
        Some(&world.puller),
        &report,
    )
    .await;
    let error = result.unwrap_err();
    assert!(
        !output.exists() && format!("{error:?}").contains("StorageFull"),
        "{error:?}"
    );
    assert!(cache.verify().unwrap().is_empty());
    fs_err::remove_file(disk.0.join("filler")).unwrap();
    world
        .bundle_with(&world.request(&output), cache, Some(&world.puller))
        .await
        .unwrap();
    open(&output);
}
