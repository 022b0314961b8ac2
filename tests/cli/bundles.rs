//! `verify`, `inspect`, `extract`, `diff` and `sign` on small bundles.
//!
//! What they find out is the archive's business and tested there; here is what they say, and the
//! exit code it comes with.

use airgap_archive::{BundleInfo, Role, WriteOptions};
use airgap_signing::SigningKey;
use airgap_testkit::bundle::{FakeBundle, test_key};
use airgap_testkit::image::{Image, noise};

use crate::support::World;

const NAME: &str = "airgap-standard-1.0.0-amd64.tar.zst";

fn info(release: u64, installer_sha256: Option<String>) -> BundleInfo {
    BundleInfo {
        name: NAME.trim_end_matches(".tar.zst").to_owned(),
        edition: "standard".to_owned(),
        version: format!("{release}.0.0"),
        release,
        platform: "linux/amd64".to_owned(),
        created: "2026-01-02T03:04:05Z".parse().unwrap(),
        expires: None,
        installer_sha256,
        delta: None,
    }
}

fn image(text: &str) -> Image {
    Image::oci().layer(&[("hello", text.as_bytes())]).build()
}

fn write(world: &World, name: &str, bundle: &FakeBundle) {
    let options = WriteOptions::default();
    let _ = bundle
        .write(&world.path(name), &test_key(), &options)
        .unwrap();
}

/// A folder with a bundle, and the key it is signed with.
fn delivered() -> World {
    let world = World::new();
    test_key()
        .public_key()
        .write_new(&world.path("airgap.pub"))
        .unwrap();
    let bundle = FakeBundle::with_info(info(1, None))
        .with(
            Role::Image,
            "quay.io/argoproj/argocd:v3.4.4",
            &image("argocd"),
        )
        .with(
            Role::Image,
            "docker.io/library/pause:3.10",
            &Image::docker().layer(&[("p", b"x")]).build(),
        );
    write(&world, NAME, &bundle);
    world
}

#[test]
fn a_good_bundle_is_as_signed() {
    insta::assert_snapshot!(delivered().airgap("verify --key airgap.pub").transcript());
}

#[test]
fn verify_as_json_is_one_document() {
    let document = delivered().airgap("verify --json --key airgap.pub").json();
    assert_eq!(document["findings"], serde_json::json!([]));
    assert_eq!(document["info"]["release"], 1);
    assert_eq!(
        document["signedBy"][0],
        test_key().public_key().key_id().to_string()
    );
}

#[test]
fn without_progress_the_events_of_json_still_come() {
    let world = delivered();
    let events = |options: &str| -> Vec<String> {
        let stderr = world
            .airgap(&format!("verify --json {options} --key airgap.pub"))
            .stderr;
        let event = |line: &str| -> serde_json::Value { serde_json::from_str(line).unwrap() };
        let told = stderr.lines().map(event);
        told.map(|event| event["event"].as_str().unwrap().to_owned())
            .filter(|event| event != "progress")
            .collect()
    };
    assert!(events("").contains(&"finished".to_owned()));
    assert_eq!(events("--no-progress"), events(""));
    assert!(events("--quiet").is_empty());
}

#[test]
fn a_bundle_signed_by_somebody_else_is_not_to_be_trusted() {
    let world = delivered();
    world.airgap("keygen other.key").ok();
    insta::assert_snapshot!(world.airgap("verify --key other.pub").transcript());
}

#[test]
fn damage_is_found_and_exit_code_3() {
    let world = delivered();
    let large = Image::oci().layer(&[("noise", &noise(300_000, 1))]).build();
    let bundle =
        FakeBundle::with_info(info(1, None)).with(Role::Image, "ghcr.io/large/image:1", &large);
    fs_err::remove_file(world.path(NAME)).unwrap();
    write(&world, NAME, &bundle);
    let mut bytes = world.read(NAME);
    // in the middle of the layer, far from index and manifests
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    world.write(NAME, bytes);
    let outcome = world.airgap("verify --key airgap.pub");
    assert_eq!(outcome.code, 3, "{}", outcome.transcript());
    assert!(
        outcome.stdout.contains("needed by ghcr.io/large/image:1"),
        "{}",
        outcome.transcript()
    );
    assert!(
        outcome.stderr.contains("do not use this"),
        "{}",
        outcome.transcript()
    );
}

#[test]
fn a_bundle_can_be_listed_in_full() {
    insta::assert_snapshot!(delivered().airgap("inspect --key airgap.pub").transcript());
}

/// The names of fields are what scripts rely on.
#[test]
fn the_listing_as_json_keeps_its_field_names() {
    insta::assert_snapshot!(delivered().airgap("inspect --json --key airgap.pub").stdout);
}

#[test]
fn a_bundle_that_nothing_vouches_for_says_so_on_every_line() {
    let world = delivered();
    let refused = world.airgap("inspect");
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains("--insecure-untrusted"),
        "{}",
        refused.transcript()
    );
    let listed = world.airgap("inspect --insecure-untrusted").ok();
    assert!(listed.contains("quay.io/argoproj/argocd:v3.4.4"));
    for line in listed.lines() {
        assert!(line.starts_with("UNVERIFIED"), "{line}");
    }
}

#[test]
fn the_installer_beside_a_bundle_is_checked_with_it() {
    let world = World::new();
    test_key()
        .public_key()
        .write_new(&world.path("airgap.pub"))
        .unwrap();
    let program = b"the installer";
    let sha256 = airgap_archive::digest_of(program).digest().to_owned();
    let bundle = FakeBundle::with_info(info(1, Some(sha256))).with(
        Role::Image,
        "quay.io/argoproj/argocd:v3.4.4",
        &image("argocd"),
    );
    write(&world, NAME, &bundle);
    world.write("airgap-0.1.0-linux-amd64", program);
    world.write(
        "airgap-0.1.0-linux-amd64.sig",
        test_key().sign(program).to_line(),
    );
    insta::assert_snapshot!(
        "installer_as_signed",
        world.airgap("verify --key airgap.pub").transcript()
    );

    world.write("airgap-0.1.0-linux-amd64", b"something else");
    let outcome = world.airgap("verify --key airgap.pub");
    assert_eq!(outcome.code, 3, "{}", outcome.transcript());
    insta::assert_snapshot!("installer_changed", outcome.transcript());
}

#[test]
fn an_image_is_taken_out_with_its_digest() {
    let world = delivered();
    let command =
        "extract quay.io/argoproj/argocd:v3.4.4 --format dir --output argocd --key airgap.pub";
    insta::assert_snapshot!(world.airgap(command).transcript());
    assert!(world.path("argocd/manifest.json").exists());
}

#[test]
fn a_name_that_is_not_there_leads_to_the_list() {
    insta::assert_snapshot!(
        delivered()
            .airgap("extract quay.io/nobody:1 --key airgap.pub")
            .transcript()
    );
}

#[test]
fn a_difference_names_what_changed() {
    let world = delivered();
    let newer = FakeBundle::with_info(info(2, None))
        .with(
            Role::Image,
            "quay.io/argoproj/argocd:v3.4.4",
            &image("argocd, rebuilt"),
        )
        .with(Role::Image, "ghcr.io/new/thing:1", &image("thing"));
    write(&world, "new.tar.zst", &newer);
    let command = format!("diff {NAME} new.tar.zst --key airgap.pub");
    insta::assert_snapshot!(world.airgap(&command).transcript());
}

#[test]
fn a_countersignature_makes_a_threshold_of_two() {
    let world = delivered();
    let second = SigningKey::from_seed(&[7; 32]);
    second.write_new(&world.path("second.key"), None).unwrap();
    second
        .public_key()
        .write_new(&world.path("second.pub"))
        .unwrap();
    let both = "verify --key airgap.pub --key second.pub --threshold 2";
    let before = world.airgap(both);
    assert_eq!(before.code, 3, "{}", before.transcript());
    world
        .airgap("sign --key second.key --trusted airgap.pub")
        .ok();
    world.airgap(both).ok();
}

/// Beside the delivered bundle, a delta on it in which one image changed.
fn with_delta() -> World {
    let world = delivered();
    let trust = airgap_signing::TrustRoot::new(vec![test_key().public_key()]);
    let base = airgap_archive::VerifiedArchive::open(
        &world.path(NAME),
        &trust,
        &airgap_archive::OpenOptions::default(),
    )
    .unwrap();
    let pause = Image::docker().layer(&[("p", b"x")]).build();
    let delta = FakeBundle::with_info(info(2, None))
        .with(
            Role::Image,
            "quay.io/argoproj/argocd:v3.4.4",
            &image("another argocd"),
        )
        .with(Role::Image, "docker.io/library/pause:3.10", &pause)
        .on(&base);
    write(&world, "delta.tar.zst", &delta);
    world
}

#[test]
fn a_delta_says_what_it_builds_on() {
    let world = with_delta();
    insta::assert_snapshot!(
        world
            .airgap("inspect --key airgap.pub delta.tar.zst")
            .transcript()
    );
    insta::assert_snapshot!(
        world
            .airgap("verify --key airgap.pub delta.tar.zst")
            .transcript()
    );
}

#[test]
fn an_image_whose_layers_a_delta_leaves_out_is_in_the_base() {
    let world = with_delta();
    insta::assert_snapshot!(
        world
            .airgap("extract --key airgap.pub --bundle delta.tar.zst --output pause docker.io/library/pause:3.10")
            .transcript()
    );
}

#[test]
fn a_delta_differs_from_its_base_as_the_whole_bundle_would() {
    let world = with_delta();
    let diff = format!("diff --key airgap.pub {NAME} delta.tar.zst");
    insta::assert_snapshot!(world.airgap(&diff).transcript());
}
