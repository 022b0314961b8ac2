//! `bundle` from a loopback upstream to a signed file.

mod damage;
mod delta;
mod signatures;

use std::sync::Arc;

use airgap_archive::Role;
use airgap_bundler::{
    BundlePlatform, BundleRequest, Cache, Error, Event, InstallerBinary, artifact::HELM_CHART,
    bundle, default_file_name, digest_of, plan,
};
use airgap_manifests::{OBJECTS_CHART, ResolvedEdition, objects_chart, objects_chart_ref};
use airgap_testkit::{
    image::{Image, noise},
    require_tool,
};
use camino::Utf8PathBuf;
use oci_spec::image::{Digest, ImageManifest};

use crate::support::*;

fn sha256(path: &Utf8PathBuf) -> Digest {
    digest_of(&fs_err::read(path).unwrap())
}

#[tokio::test]
async fn one_platform_carries_that_platforms_manifest_under_the_tag() {
    let world = World::new().await;
    let output = world.path(&default_file_name(
        "small",
        "1.0.0",
        BundlePlatform::LinuxAmd64,
    ));
    let bundled = world
        .bundle(&BundleRequest {
            verify_written: true,
            ..world.request(&output)
        })
        .await
        .unwrap();
    assert_eq!(
        (bundled.paths.as_slice(), bundled.images, bundled.charts),
        (&[output.clone()][..], 3, 1)
    );
    let archive = open(&output);
    assert_eq!(archive.index_digest(), &bundled.index_digest);
    assert_eq!(archive.info().name, "airgap-small-1.0.0-amd64");
    assert_eq!(archive.info().created, now());

    let argocd = two_platforms(1);
    let entry = archive.entry(ARGOCD).unwrap();
    assert_eq!(entry.descriptor.digest(), &child(&argocd, 0));
    assert_eq!(
        archive.manifest(&child(&argocd, 0)).unwrap(),
        argocd.children[0].1,
        "byte for byte"
    );
    assert!(
        archive.manifest(&argocd.digest()).is_err(),
        "the index stays behind"
    );
    let docker = archive.entry(DOCKER).unwrap();
    assert_eq!(
        docker.descriptor.media_type().to_string(),
        docker_image(20).media_type,
        "under its true type"
    );
}

#[tokio::test]
async fn objects_travel_in_a_generated_chart_that_is_signed_like_any_other() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    let with = ["pools".to_owned()];
    let request = BundleRequest {
        with: &with,
        verify_written: true,
        ..world.request(&output)
    };
    let chart = objects_chart_ref();
    let size = objects_chart().len() as u64;
    let item = plan(&request, &world.cache()).unwrap().items;
    let item = item
        .iter()
        .find(|item| item.name.starts_with(OBJECTS_CHART))
        .unwrap();
    assert_eq!((item.bytes, item.cached_bytes), (Some(size), size));
    let bundled = world.bundle(&request).await.unwrap();
    assert_eq!(bundled.charts, 2);
    let archive = open(&output);
    let entry = archive
        .entry(&format!("charts/{OBJECTS_CHART}:{}", chart.version))
        .unwrap();
    assert_eq!(entry.role, Role::Chart);
    let digest = entry.descriptor.digest();
    let layers = archive.references(digest).unwrap();
    let content = layers
        .iter()
        .find(|layer| layer.media_type().to_string() == HELM_CHART)
        .unwrap();
    assert_eq!(
        archive.read(content.digest(), 1 << 20).unwrap(),
        objects_chart()
    );
    let signed = |entry: &&airgap_archive::Entry| {
        entry.role == Role::Signature && entry.subject.as_ref() == Some(digest)
    };
    assert_eq!(archive.entries().iter().filter(signed).count(), 1);
}

#[tokio::test]
async fn the_edition_describes_itself_and_keeps_evidence_about_indexes() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world.bundle(&world.request(&output)).await.unwrap();
    let (archive, argocd) = (open(&output), two_platforms(1));
    let edition = archive
        .entry("edition:small")
        .unwrap()
        .descriptor
        .digest()
        .clone();
    let manifest: ImageManifest =
        serde_json::from_slice(&archive.manifest(&edition).unwrap()).unwrap();
    let description = archive
        .read(manifest.layers()[0].digest(), 1 << 20)
        .unwrap();
    let edition = ResolvedEdition::from_json(&description).unwrap();
    let image = edition
        .images
        .iter()
        .find(|image| image.name.to_string() == ARGOCD)
        .unwrap();
    assert_eq!(
        (&image.digest, image.index_digest.as_ref()),
        (&child(&argocd, 0), Some(&argocd.digest()))
    );
    let chart = archive.entry("charts/argo-cd:10.1.1").unwrap();
    assert_eq!(
        edition.charts[0].digest.as_ref(),
        Some(chart.descriptor.digest())
    );
    let evidence: Vec<_> = manifest
        .layers()
        .iter()
        .map(|layer| layer.digest().clone())
        .collect();
    assert!(
        evidence.contains(&argocd.digest()),
        "the index travels as evidence for its own signature"
    );
}

#[tokio::test]
async fn the_release_is_an_artifact_with_the_files_names() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world.bundle(&world.request(&output)).await.unwrap();
    let archive = open(&output);
    let release = archive
        .entry("rke2:v1.36.4+rke2r1")
        .unwrap()
        .descriptor
        .digest()
        .clone();
    let manifest: ImageManifest =
        serde_json::from_slice(&archive.manifest(&release).unwrap()).unwrap();
    let titles: Vec<_> = manifest
        .layers()
        .iter()
        .map(|layer| {
            layer.annotations().as_ref().unwrap()["org.opencontainers.image.title"].clone()
        })
        .collect();
    assert_eq!(
        titles,
        [
            "install.sh",
            "rke2-images-core.linux-amd64.txt",
            "rke2.linux-amd64.tar.gz",
            "sha256sum-amd64.txt"
        ]
    );
    assert_eq!(
        archive
            .read(manifest.layers()[2].digest(), 2_000_000)
            .unwrap(),
        release_archive()
    );
}

#[tokio::test]
async fn an_image_that_a_chart_names_by_digest_travels_whole() {
    let index = two_platforms(1).digest();
    let catalog = catalog_with(&[(ARGOCD, &format!("{ARGOCD}@{index}"))]);
    let world = World::over(catalog, upstream().start()).await;
    let output = world.path("bundle.tar.zst");
    world.bundle(&world.request(&output)).await.unwrap();
    let archive = open(&output);
    assert_eq!(archive.entry(ARGOCD).unwrap().descriptor.digest(), &index);
    let whole = two_platforms(10);
    assert_eq!(
        archive.entry(RUNTIME).unwrap().descriptor.digest(),
        &child(&whole, 0),
        "the others do not"
    );
}

#[tokio::test]
async fn all_platforms_carry_the_index_byte_for_byte() {
    let world = World::new().await;
    let output = world.path("all.tar.zst");
    world
        .bundle(&BundleRequest {
            platform: BundlePlatform::All,
            ..world.request(&output)
        })
        .await
        .unwrap();
    let archive = open(&output);
    let argocd = two_platforms(1);
    assert_eq!(
        archive.entry(ARGOCD).unwrap().descriptor.digest(),
        &argocd.digest()
    );
    assert_eq!(archive.manifest(&argocd.digest()).unwrap(), argocd.manifest);
    for (number, (_, manifest)) in argocd.children.iter().enumerate() {
        assert_eq!(archive.manifest(&child(&argocd, number)).unwrap(), manifest);
    }
    for blob in &argocd.blobs {
        assert_eq!(archive.read(&digest_of(blob), 1 << 20).unwrap(), *blob);
    }
    let subjects: Vec<_> = archive
        .entries()
        .iter()
        .filter(|entry| entry.role == Role::Signature)
        .collect();
    for digest in [argocd.digest(), child(&argocd, 0), child(&argocd, 1)] {
        assert!(
            subjects
                .iter()
                .any(|entry| entry.subject.as_ref() == Some(&digest)),
            "children are signed too"
        );
    }
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
        Err(Error::Catalog(_))
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
    let work = world
        .bundle(&world.request(&output))
        .await_for(std::time::Duration::from_secs(3))
        .await;
    assert!(work.is_none(), "it was still waiting for the slow layer");
    world.upstream.clear_faults();
    assert!(!output.exists());
    let cache = world.cache();
    let argocd = two_platforms(1);
    assert!(
        cache.contains(&child(&argocd, 0), None),
        "what had arrived is kept"
    );
    world.bundle(&world.request(&output)).await.unwrap();
    open(&output);
}

/// Waits for a future for so long, then drops it.
trait AwaitFor: Future + Sized {
    async fn await_for(self, time: std::time::Duration) -> Option<Self::Output> {
        tokio::time::timeout(time, self).await.ok()
    }
}

impl<F: Future> AwaitFor for F {}

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
