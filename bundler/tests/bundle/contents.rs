//! What a bundle holds, and under which names.

use airgap_archive::Role;
use airgap_bundler::{
    BundlePlatform, BundleRequest, artifact::HELM_CHART, default_file_name, digest_of, plan,
};
use airgap_manifests::{OBJECTS_CHART, ResolvedEdition, objects_chart, objects_chart_ref};
use oci_spec::image::ImageManifest;

use crate::support::*;

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
