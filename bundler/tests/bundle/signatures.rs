//! Everything that is pushed is signed in cosign's format, and openssl agrees.

use std::process::Command;

use airgap_archive::{Role, VerifiedArchive};
use airgap_bundler::{artifact::SIGNATURE_ANNOTATION, bundle, digest_of};
use airgap_signing::{Signature, SigningKey, TrustRoot};
use airgap_testkit::{image::Image, require_tool, upstream::UpstreamRegistry};
use oci_spec::image::{Descriptor, Digest, ImageManifest};
use serde_json::Value;

use crate::support::*;

/// The layers of the signature manifest for a digest.
fn layers(archive: &VerifiedArchive, subject: &Digest) -> Vec<Descriptor> {
    let of_subject = |entry: &&airgap_archive::Entry| {
        entry.role == Role::Signature && entry.subject.as_ref() == Some(subject)
    };
    let found: Vec<_> = archive.entries().iter().filter(of_subject).collect();
    let [entry] = found[..] else {
        panic!("{} signatures for {subject}", found.len())
    };
    let manifest = archive.manifest(entry.descriptor.digest()).unwrap();
    let manifest: ImageManifest = serde_json::from_slice(&manifest).unwrap();
    manifest.layers().clone()
}

fn annotation(layer: &Descriptor) -> String {
    layer.annotations().as_ref().unwrap()[SIGNATURE_ANNOTATION].clone()
}

fn verify(archive: &VerifiedArchive, layer: &Descriptor, subject: &Digest, key: &SigningKey) {
    let payload = archive.read(layer.digest(), 1 << 20).unwrap();
    let value: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(
        value["critical"]["image"]["docker-manifest-digest"],
        subject.to_string()
    );
    let signature = Signature::parse(annotation(layer).as_bytes()).unwrap();
    TrustRoot::new(vec![key.public_key()])
        .verify(&payload, &[signature])
        .unwrap();
}

#[tokio::test]
async fn every_image_chart_and_release_is_signed() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world.bundle(&world.request(&output)).await.unwrap();
    let archive = open(&output);
    let mut signed = 0;
    for entry in archive.entries() {
        if matches!(entry.role, Role::Image | Role::Chart | Role::Rke2) {
            let subject = entry.descriptor.digest();
            let layers = layers(&archive, subject);
            verify(&archive, layers.last().unwrap(), subject, &key(1));
            signed += 1;
        }
    }
    assert_eq!(signed, 5);
}

#[tokio::test]
async fn ours_is_appended_to_upstreams_signature() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world.bundle(&world.request(&output)).await.unwrap();
    let archive = open(&output);
    let subject = child(&two_platforms(1), 0);
    let layers = layers(&archive, &subject);
    assert_eq!(layers.len(), 2);
    assert_eq!(
        annotation(&layers[0]),
        "c3RhbmQtaW4=",
        "upstream's layer stays first and unchanged"
    );
    archive.read(layers[0].digest(), 1 << 20).unwrap();
    verify(&archive, &layers[1], &subject, &key(1));
    let payload: Value =
        serde_json::from_slice(&archive.read(layers[1].digest(), 1 << 20).unwrap()).unwrap();
    assert_eq!(
        payload["critical"]["identity"]["docker-reference"],
        "quay.io/argoproj/argocd"
    );
}

#[tokio::test]
async fn further_keys_add_a_sidecar_and_a_layer_each() {
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    let keys = [key(1), key(2)];
    let bundled = bundle(
        &world.request(&output),
        keys.into(),
        world.cache(),
        Some(&world.puller),
        &quiet,
    )
    .await
    .unwrap();
    let id = key(2).public_key().key_id().to_string();
    assert_eq!(
        bundled.sidecars,
        [world.path(&format!("bundle.tar.zst.{id}.sig"))]
    );
    assert_eq!(bundled.signed_by.len(), 2);
    let archive = open(&output);
    let signature = Signature::parse(&fs_err::read(&bundled.sidecars[0]).unwrap()).unwrap();
    TrustRoot::new(vec![key(2).public_key()])
        .verify(archive.index(), &[signature])
        .unwrap();
    let subject = docker_image(20).digest();
    let layers = layers(&archive, &subject);
    assert_eq!(layers.len(), 2);
    verify(&archive, &layers[0], &subject, &key(1));
    verify(&archive, &layers[1], &subject, &key(2));
}

#[tokio::test]
async fn openssl_verifies_a_payload() {
    if !require_tool("openssl") {
        return;
    }
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world.bundle(&world.request(&output)).await.unwrap();
    let archive = open(&output);
    let layer = &layers(&archive, &docker_image(20).digest())[0];
    let payload = archive.read(layer.digest(), 1 << 20).unwrap();
    assert_eq!(digest_of(&payload), *layer.digest());
    fs_err::write(world.path("payload"), payload).unwrap();
    fs_err::write(world.path("airgap.pub"), key(1).public_key().to_pem()).unwrap();
    fs_err::write(
        world.path("signature.b64"),
        format!("{}\n", annotation(layer)),
    )
    .unwrap();
    let steps = "base64 -d signature.b64 > signature && \
                 openssl pkeyutl -verify -pubin -inkey airgap.pub -rawin -in payload -sigfile signature";
    let run = Command::new("sh")
        .args(["-ec", steps])
        .current_dir(world.dir.path())
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[tokio::test]
async fn cosigns_documented_steps_hold_against_a_registry() {
    if !["openssl", "curl", "jq"].into_iter().all(require_tool) {
        return;
    }
    let world = World::new().await;
    let output = world.path("bundle.tar.zst");
    world.bundle(&world.request(&output)).await.unwrap();
    let archive = open(&output);
    let subject = child(&two_platforms(1), 0);
    let of_subject = |entry: &&airgap_archive::Entry| {
        entry.role == Role::Signature && entry.subject.as_ref() == Some(&subject)
    };
    let entry = archive.entries().iter().find(of_subject).unwrap();
    let signature = Image {
        media_type: entry.descriptor.media_type().to_string(),
        manifest: archive.manifest(entry.descriptor.digest()).unwrap(),
        children: Vec::new(),
        blobs: layers(&archive, &subject)
            .iter()
            .map(|layer| archive.read(layer.digest(), 1 << 20).unwrap().into())
            .collect(),
    };
    let tag = format!(
        "site/airgap/quay.io/argoproj/argocd:sha256-{}.sig",
        subject.digest()
    );
    let registry = UpstreamRegistry::builder().image(&tag, &signature).start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cosign-steps.sh");
    let run = |digest: &Digest, key: &SigningKey| {
        fs_err::write(world.path("airgap.pub"), key.public_key().to_pem()).unwrap();
        let repository = "site/airgap/quay.io/argoproj/argocd";
        let mut command = Command::new(script);
        command.args([registry.url().as_str(), repository, digest.as_ref()]);
        command.arg(world.path("airgap.pub")).output().unwrap()
    };
    let good = run(&subject, &key(1));
    let said = String::from_utf8_lossy(&good.stdout);
    assert!(
        good.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&good.stderr)
    );
    assert!(
        said.contains("layer 1: signed by another key")
            && said.contains("layer 2: signed by the given key"),
        "{said}"
    );
    assert!(!run(&subject, &key(9)).status.success(), "another key");
    assert!(
        !run(&digest_of(b"another image"), &key(1)).status.success(),
        "another image"
    );
}

#[tokio::test]
async fn attestations_and_referrers_travel_with_what_they_belong_to() {
    let argocd = two_platforms(1);
    let subject = Image {
        media_type: argocd.children[0].0.clone(),
        manifest: argocd.children[0].1.clone(),
        children: Vec::new(),
        blobs: Vec::new(),
    };
    let config = || ("application/vnd.oci.empty.v1+json", "{}".into());
    let layer = |text: &'static str| vec![("application/json", text.into())];
    let attestation = Image::artifact("", config(), layer("{\"predicate\":1}"), None);
    let sbom = Image::artifact(
        "application/spdx+json",
        config(),
        layer("{\"sbom\":1}"),
        Some(&subject),
    );
    let of_index = Image::artifact(
        "application/spdx+json",
        config(),
        layer("{\"index\":1}"),
        Some(&argocd),
    );
    let tag = format!(
        "quay.io/argoproj/argocd:sha256-{}.att",
        subject.digest().digest()
    );
    let upstream = upstream()
        .referrers_api()
        .image(&tag, &attestation)
        .image("quay.io/argoproj/argocd:sbom", &sbom)
        .image("quay.io/argoproj/argocd:sbom-of-index", &of_index);
    let world = World::over(catalog(), upstream.start()).await;
    let locked = world.lock.image(&ARGOCD.parse().unwrap()).unwrap();
    assert_eq!(
        locked.attached.len(),
        5,
        "two signatures, an attestation, two referrers: {locked:?}"
    );

    let output = world.path("bundle.tar.zst");
    world.bundle(&world.request(&output)).await.unwrap();
    let archive = open(&output);
    let referrers: Vec<_> = archive
        .entries()
        .iter()
        .filter(|entry| entry.role == Role::Referrer)
        .collect();
    assert!(
        referrers
            .iter()
            .all(|entry| entry.subject.as_ref() == Some(&subject.digest()))
    );
    let named: Vec<_> = referrers
        .iter()
        .map(|entry| (entry.descriptor.digest(), entry.name.as_deref()))
        .collect();
    assert_eq!(named.len(), 2, "{named:?}");
    assert!(named.contains(&(&attestation.digest(), Some(tag.as_str()))));
    assert!(named.contains(&(&sbom.digest(), None)));
    archive.read(&digest_of(b"{\"sbom\":1}"), 100).unwrap();
    let evidence = archive.read(&digest_of(b"{\"index\":1}"), 100);
    assert!(
        evidence.is_ok(),
        "what belongs to the index is kept as evidence"
    );
    assert!(
        archive.manifest(&of_index.digest()).is_err(),
        "and is not pushed"
    );
}
