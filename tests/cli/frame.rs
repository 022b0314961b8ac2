//! What is the same for every command: usage errors, colour, JSON, logs, interruption.

use crate::support::World;

#[test]
fn help_shows_the_way_of_a_release() {
    insta::assert_snapshot!(World::new().airgap("--help").transcript());
}

#[test]
fn a_mistyped_command_is_answered_with_the_right_one() {
    let outcome = World::new().airgap("instal");
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("install"), "{}", outcome.stderr);
}

#[test]
fn a_time_to_wait_has_bounds() {
    for (option, minutes) in [("node-timeout", 0), ("wave-timeout", 1441)] {
        let outcome = World::new().airgap(&format!("install --{option} {minutes}"));
        assert_eq!(outcome.code, 2, "{}", outcome.stderr);
        for word in [option, "1..=1440"] {
            assert!(outcome.stderr.contains(word), "{}", outcome.stderr);
        }
    }
}

#[test]
fn without_a_bundle_it_says_how_to_name_one() {
    insta::assert_snapshot!(World::new().airgap("verify").transcript());
}

#[test]
fn without_a_key_it_says_where_keys_belong() {
    let world = World::new();
    world.write("a.tar.zst", "");
    insta::assert_snapshot!(world.airgap("verify").transcript());
}

#[test]
fn several_bundles_are_never_guessed_between() {
    let world = World::new();
    world.write("a.tar.zst", "");
    world.write("b.tar.zst", "");
    insta::assert_snapshot!(world.airgap("verify --key airgap.pub").transcript());
}

#[test]
fn with_json_a_failure_is_one_document_too() {
    let outcome = World::new().airgap("--json verify");
    assert_eq!(outcome.json()["error"]["exitCode"], 2);
    assert_eq!(outcome.code, 2);
    for line in outcome.stderr.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event.is_object());
    }
}

#[test]
fn colour_is_only_where_it_is_wanted() {
    let plain = World::new().airgap("verify");
    assert!(!plain.stderr.contains('\u{1b}'));
    let colour = World::new().airgap("--color always verify");
    assert!(
        colour.stderr.contains("\u{1b}[1;31merror\u{1b}[0m"),
        "{}",
        colour.stderr
    );
    let world = World::new().set("NO_COLOR", "1");
    assert!(!world.airgap("verify").stderr.contains('\u{1b}'));
}

#[test]
fn a_failure_names_its_log_and_the_log_has_it() {
    let world = World::new();
    world.write("not.tar.zst", "this is no bundle");
    let outcome = world.airgap("status");
    assert_eq!(outcome.code, 1);
    let log = outcome
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("log: "))
        .unwrap();
    let log = log.replace("[DIR]", world.path("").as_str());
    let text = fs_err::read_to_string(log).unwrap();
    assert!(text.contains("failed to read the inventory"), "{text}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let binary = env!("CARGO_BIN_EXE_airgap");
    World::new()
        .shell(&format!("{binary} inventory schema | head -n 1"))
        .ok();
}

#[test]
fn completions_and_man_pages_come_from_the_code() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = world.airgap(&format!("util completion {shell}")).ok();
        assert!(script.contains("scan-keys"), "{shell}");
    }
    world.airgap("util man man").ok();
    let page = String::from_utf8(world.read("man/airgap-install.1")).unwrap();
    assert!(page.contains("carry on where an install stopped"));
}
