//! `bundle` from a loopback upstream to a signed file.

mod contents;
mod damage;
mod delta;
mod signatures;

use std::sync::Arc;

use airgap_bundler::{
    BundleRequest, Cache, Error, Event, InstallerBinary, bundle, digest_of, plan,
};
use airgap_testkit::{
    image::{Image, noise},
    require_tool,
};
use camino::Utf8PathBuf;
use oci_spec::image::Digest;

use crate::support::*;

fn sha256(path: &Utf8PathBuf) -> Digest {
    digest_of(&fs_err::read(path).unwrap())
}

#[tokio::test]
async fn the_same_inputs_give_the_same_bytes_whatever_the_jobs_and_the_cache() {
    let world = World::new().await;
    let mut seen = Vec::new();
    for (folder, jobs, cold) in [
        ("a", 1, true),
        ("b", 8, true),
        ("c", 1, false),
        ("d", 8, false),
    ] {
        fs_err::create_dir_all(world.path(folder)).unwrap();
        if cold {
            let _ = fs_err::remove_dir_all(world.path("cache"));
        }
        let output = world.path(folder).join("bundle.tar.zst");
        let bundled = world
            .bundle(&BundleRequest {
                jobs,
                ..world.request(&output)
            })
            .await
            .unwrap();
        assert_eq!(bundled.fetched_bytes > 0, cold, "{folder}");
        seen.push(sha256(&output));
    }
    assert!(seen.iter().all(|digest| *digest == seen[0]), "{seen:?}");
    let output = world.path("later.tar.zst");
    let later = BundleRequest {
        source_date: Some("2030-01-01T00:00:00Z".parse().unwrap()),
        ..world.request(&output)
    };
    world.bundle(&later).await.unwrap();
    assert_ne!(sha256(&output), seen[0], "the date is part of it");
}

#[tokio::test]
async fn offline_needs_nothing_but_the_cache() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    let error = world
        .bundle_with(&world.request(&output), world.cache(), None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is not in the cache"), "{error}");
    assert!(!output.exists());
    world.bundle(&world.request(&output)).await.unwrap();
    let online = sha256(&output);
    world.upstream.log().clear();
    world
        .bundle_with(&world.request(&output), world.cache(), None)
        .await
        .unwrap();
    assert_eq!(sha256(&output), online);
    assert_eq!(world.upstream.log().all().len(), 0);
}

#[tokio::test]
async fn sizes_that_no_disk_has_do_not_overflow_a_plan() {
    let mut world = World::new().await;
    let (output, cache) = (world.path("bundle.tar.zst"), world.cache());
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let blob = |content: &[u8]| serde_json::json!({"mediaType": "x/y", "digest": digest_of(content), "size": u64::MAX});
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type,
        "config": blob(b"config"), "layers": [blob(b"one"), blob(b"two")],
    });
    let digest = cache.insert(manifest.to_string().as_bytes()).unwrap();
    for name in [DOCKER, ARGOCD] {
        let mut images = world.lock.images.iter_mut();
        let image = images.find(|image| image.name.to_string() == name).unwrap();
        image.index = Some(digest.clone());
        let locked = image.platforms.get_mut("linux/amd64").unwrap();
        locked.digest = digest.clone();
    }
    let plan = plan(&world.request(&output), &cache).unwrap();
    assert_eq!(plan.total_bytes, u64::MAX);
}

#[tokio::test]
async fn a_plan_is_inert_and_knows_what_is_cached() {
    let world = World::new().await;
    let (output, cache) = (world.path("bundle.tar.zst"), world.cache());
    world.upstream.log().clear();
    let cold = plan(&world.request(&output), &cache).unwrap();
    assert_eq!(
        (cold.items.len(), cold.cached_bytes, cold.unknown_sizes),
        (8, 0, 0)
    );
    assert!(cold.total_bytes > 4_000_000);
    assert_eq!(world.upstream.log().all().len(), 0, "a plan asks nobody");
    assert!(!output.exists());
    let bundled = world.bundle(&world.request(&output)).await.unwrap();
    assert_eq!(bundled.plan, cold);
    let warm = plan(&world.request(&output), &cache).unwrap();
    assert_eq!(warm.cached_bytes, warm.total_bytes);
    let json = serde_json::to_value(&warm).unwrap();
    assert_eq!(
        (&json["platform"], &json["release"]),
        (&"linux/amd64".into(), &1.into())
    );
    assert!(matches!(
        plan(
            &BundleRequest {
                edition: "smal",
                ..world.request(&output)
            },
            &cache
        ),
        Err(Error::Choice(_))
    ));
}

#[tokio::test]
async fn volumes_break_where_they_are_told() {
    let catalog = catalog();
    let big = Image::oci()
        .platform("linux/amd64")
        .layer(&[("big", &noise(20_000_000, 5))])
        .build();
    let world = World::over(catalog, upstream().image(RUNTIME, &big).start()).await;
    let (whole, split) = (
        world.path("bundle.tar.zst"),
        world.path("volumes/bundle.tar.zst"),
    );
    fs_err::create_dir_all(world.path("volumes")).unwrap();
    let whole = world.bundle(&world.request(&whole)).await.unwrap();
    let request = BundleRequest {
        volume_size: Some(8 << 20),
        verify_written: true,
        ..world.request(&split)
    };
    let bundled = world.bundle(&request).await.unwrap();
    assert!(bundled.paths.len() >= 3, "{:?}", bundled.paths);
    for path in &bundled.paths {
        assert!(fs_err::metadata(path).unwrap().len() <= 8 << 20);
    }
    assert_eq!(
        bundled.index_digest, whole.index_digest,
        "volumes do not change what is signed"
    );
}

#[tokio::test]
async fn the_installer_is_handed_over_signed_and_named_in_the_index() {
    let world = World::new().await;
    let (output, program) = (world.path("bundle.tar.zst"), world.path("airgap-release"));
    fs_err::write(&program, b"\x7fELF and so on").unwrap();
    let installer = Some(InstallerBinary {
        path: &program,
        version: "0.1.0",
        arch: "amd64",
    });
    let bundled = world
        .bundle(&BundleRequest {
            installer,
            ..world.request(&output)
        })
        .await
        .unwrap();
    let handover = bundled.handover.unwrap();
    assert_eq!(handover.path, world.path("airgap-0.1.0-linux-amd64"));
    assert_eq!(
        handover.delivery_note,
        format!("{}  airgap-0.1.0-linux-amd64", handover.sha256)
    );
    let archive = open(&output);
    assert_eq!(
        archive.info().installer_sha256.as_ref(),
        Some(&handover.sha256)
    );
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(
            &fs_err::metadata(&handover.path).unwrap().permissions()
        ) & 0o777,
        0o755
    );

    if !require_tool("openssl") {
        return;
    }
    fs_err::write(world.path("airgap.pub"), &handover.public_key).unwrap();
    for line in &handover.first_steps[..2] {
        let line = line.replace("/tmp/airgap.sig", "raw.sig");
        let status = std::process::Command::new("sh")
            .args(["-ec", &line])
            .current_dir(world.dir.path())
            .status()
            .unwrap();
        assert!(status.success(), "{line}");
    }
    fs_err::write(
        world.path("delivery-note.txt"),
        format!("{}\n", handover.delivery_note),
    )
    .unwrap();
    let check = &handover.first_steps_without_openssl[0];
    let status = std::process::Command::new("sh")
        .args(["-ec", check])
        .current_dir(world.dir.path())
        .status()
        .unwrap();
    assert!(status.success(), "{check}");
}

#[tokio::test]
async fn dropping_the_work_leaves_nothing_under_the_final_name_and_a_cache_to_go_on_from() {
    use airgap_testkit::faults::{Fault, FaultAction};
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    let slow = FaultAction::Delay { millis: 60_000 };
    let docker_layer = digest_of(
        docker_image(20)
            .blobs
            .iter()
            .max_by_key(|blob| blob.len())
            .unwrap(),
    );
    world
        .upstream
        .fault(Fault::always("GET", docker_layer.digest(), slow));
    let cache = world.cache();
    let arrived = child(&two_platforms(1), 0);
    let request = world.request(&output);
    let arriving = async {
        while !cache.contains(&arrived, None) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = world.bundle(&request) => panic!("it did not wait for the slow layer"),
        () = arriving => {}
    }
    world.upstream.clear_faults();
    // the writer hears of it on a thread of its own
    let partial = world.path(".bundle.tar.zst.001.partial");
    for _ in 0..3_000 {
        if !partial.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(!partial.exists(), "the writer goes on");
    assert!(!output.exists());
    assert!(cache.contains(&arrived, None), "what had arrived is kept");
    world.bundle(&request).await.unwrap();
    open(&output);
}

#[tokio::test]
async fn an_expiry_counts_from_the_source_date() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world
        .bundle(&BundleRequest {
            expires_days: Some(30),
            ..world.request(&output)
        })
        .await
        .unwrap();
    let expires: jiff::Timestamp = "2026-12-21T08:00:00Z".parse().unwrap();
    assert_eq!(open(&output).info().expires, Some(expires));
}

#[tokio::test]
async fn each_blob_is_fetched_once() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world.upstream.log().clear();
    world
        .bundle(&BundleRequest {
            jobs: 8,
            ..world.request(&output)
        })
        .await
        .unwrap();
    let mut blobs: Vec<String> = world
        .upstream
        .log()
        .all()
        .into_iter()
        .map(|request| request.path)
        .filter(|path| path.contains("/blobs/"))
        .collect();
    let all = blobs.len();
    blobs.sort();
    blobs.dedup();
    assert_eq!(blobs.len(), all, "{blobs:?}");
    assert!(
        world
            .events
            .lock()
            .unwrap()
            .iter()
            .any(|event| matches!(event, Event::Received { .. }))
    );
}

#[tokio::test]
async fn a_missing_output_folder_is_named() {
    let world = World::new().await;
    let output = world.path("nowhere/bundle.tar.zst");
    let error = bundle(
        &world.request(&output),
        [key(1)].into(),
        world.cache(),
        Some(&world.puller),
        &quiet,
    )
    .await
    .unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_cache_is_shared_by_reference() {
    fn assert_shared<T: Send + Sync>() {}
    assert_shared::<Arc<Cache>>();
}
