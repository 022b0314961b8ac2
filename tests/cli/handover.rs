//! The site's first step: the README's own lines, which check the installer before it runs.

use airgap_signing::SigningKey;
use airgap_testkit::require_tool;

use crate::support::World;

/// The lines of the README's block that check and install the program.
fn lines() -> [String; 3] {
    let readme = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let block = readme
        .split("```sh\n")
        .find(|block| block.starts_with("base64 -d airgap-"))
        .unwrap();
    let lines: Vec<String> = block
        .split("```")
        .next()
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines
        .try_into()
        .expect("the README has exactly three lines")
}

/// A medium as `bundle` leaves it: program and signature; and the public key beside them.
fn medium() -> World {
    let world = World::new();
    world.airgap("keygen").ok();
    let key = SigningKey::read(&world.path("airgap.key"), None).unwrap();
    let program = fs_err::read(env!("CARGO_BIN_EXE_airgap")).unwrap();
    let name = format!("airgap-{}-linux-amd64", env!("CARGO_PKG_VERSION"));
    world.write(&format!("{name}.sig"), key.sign(&program).to_line());
    world.write(&name, program);
    world
}

/// The same line, but within the test's folder.
fn here(world: &World, line: &str) -> String {
    line.replace("/tmp/", &world.path("").join("tmp-").into_string())
        .replace(
            "/usr/local/bin/",
            &world.path("").join("bin-").into_string(),
        )
}

#[test]
fn the_readmes_three_lines_check_and_install_the_program() {
    if !require_tool("openssl") {
        return;
    }
    let world = medium();
    let [decode, verify, install] = lines();
    world.shell(&here(&world, &decode)).ok();
    let said = world.shell(&here(&world, &verify)).ok();
    assert!(said.contains("Signature Verified Successfully"), "{said}");
    world.shell(&here(&world, &install)).ok();
    let version = world
        .shell(&format!("{} --version", world.path("bin-airgap")))
        .ok();
    assert_eq!(version, format!("airgap {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_readmes_lines_refuse_a_changed_program() {
    if !require_tool("openssl") {
        return;
    }
    let world = medium();
    let name = format!("airgap-{}-linux-amd64", env!("CARGO_PKG_VERSION"));
    let mut program = world.read(&name);
    let middle = program.len() / 2;
    program[middle] ^= 1;
    world.write(&name, program);
    let [decode, verify, _] = lines();
    world.shell(&here(&world, &decode)).ok();
    let refused = world.shell(&here(&world, &verify));
    assert_ne!(refused.code, 0, "{}", refused.transcript());
}
