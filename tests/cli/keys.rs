//! `keygen`, and what openssl thinks of it.

use airgap_testkit::require_tool;

use crate::support::World;

#[test]
fn a_key_pair_is_made_once_and_never_overwritten() {
    let world = World::new();
    let made = world.airgap("keygen --json release.key");
    let document = made.json();
    assert_eq!(document["privateKey"], "release.key");
    assert_eq!(document["keyId"].as_str().unwrap().len(), 16);
    let before = world.read("release.key");
    let again = world.airgap("keygen release.key");
    insta::assert_snapshot!(again.transcript());
    assert_eq!(world.read("release.key"), before);
}

#[test]
fn the_private_key_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    world.airgap("keygen").ok();
    let mode = fs_err::metadata(world.path("airgap.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_passphrase_is_never_taken_from_the_command_line_and_openssl_opens_the_key() {
    if !require_tool("openssl") {
        return;
    }
    let world = World::new().set("RELEASE_PASS", "correct horse battery");
    world.airgap("keygen --passphrase-env RELEASE_PASS").ok();
    let pem = String::from_utf8(world.read("airgap.key")).unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let public = world
        .shell("openssl pkey -in airgap.key -passin env:RELEASE_PASS -pubout")
        .ok();
    assert_eq!(public, String::from_utf8(world.read("airgap.pub")).unwrap());
}

#[test]
fn without_a_terminal_nobody_can_be_asked() {
    let world = World::new();
    let outcome = world.shell(&format!(
        "setsid {} keygen --passphrase",
        env!("CARGO_BIN_EXE_airgap")
    ));
    assert_eq!(outcome.code, 2, "{}", outcome.transcript());
    assert!(!world.path("airgap.key").exists());
}
