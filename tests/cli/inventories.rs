//! `inventory`: example, check and schema.

use crate::support::World;

#[test]
fn the_example_is_right_by_its_own_check() {
    let world = World::new();
    let example = world.airgap("inventory example").ok();
    world.write("hosts.yaml", example);
    insta::assert_snapshot!(world.airgap("inventory check").transcript());
}

#[test]
fn everything_wrong_is_listed_with_its_line() {
    let world = World::new();
    let example = world.airgap("inventory example").ok();
    let wrong = example
        .replace("domain: platform", "domian: platform")
        .replace("{name: cp2, role", "{name: cp1, role");
    world.write("hosts.yaml", wrong);
    insta::assert_snapshot!(world.airgap("inventory check").transcript());
}

#[test]
fn a_password_in_the_file_is_refused() {
    let world = World::new();
    let example = world.airgap("inventory example").ok();
    let wrong = example.replace(
        "password: {file: ./secrets/harbor-push}",
        "password: hunter2hunter2",
    );
    assert_ne!(wrong, example);
    world.write("hosts.yaml", wrong);
    let outcome = world.airgap("inventory check");
    assert_eq!(outcome.code, 2);
    assert!(
        !outcome.stderr.contains("hunter2hunter2"),
        "{}",
        outcome.stderr
    );
    insta::assert_snapshot!(outcome.transcript());
}

#[test]
fn without_an_inventory_it_says_how_to_begin() {
    insta::assert_snapshot!(World::new().airgap("inventory check").transcript());
}

#[test]
fn the_schema_is_json() {
    let schema = World::new().airgap("inventory schema").json();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
}
