//! Ctrl-C: exit code 130, and what to type to carry on.

use std::io::Read as _;
use std::process::{Command, Stdio};

use crate::support::World;

#[test]
fn ctrl_c_ends_with_130_and_says_how_to_carry_on() {
    let world = World::new();
    // an upstream that accepts connections and never answers
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let prefixes: String = [
        "github.com",
        "raw.githubusercontent.com",
        "charts.jetstack.io",
        "seaweedfs.github.io",
    ]
    .map(|host| format!("  - {{prefix: \"https://{host}/\", replace: \"http://{address}/\"}}\n"))
    .concat();
    let mirrors: String = [
        "docker.io",
        "quay.io",
        "ghcr.io",
        "registry.k8s.io",
        "ecr-public.aws.com",
    ]
    .map(|host| format!("  {host}: {{endpoint: [\"http://{address}\"]}}\n"))
    .concat();
    world.write(
        "upstreams.yaml",
        format!("mirrors:\n{mirrors}urls:\n{prefixes}"),
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_airgap"))
        .args(["lock", "--upstreams", "upstreams.yaml", "--cache", "cache"])
        .current_dir(world.path(""))
        .env("HOME", world.path("home"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // once somebody asked, the command is at work and listens for signals
    let _asked = silent.accept().unwrap();
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    let status = child.wait().unwrap();
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("to carry on, type: "), "{said}");
    assert!(
        said.contains("lock --upstreams upstreams.yaml --cache cache"),
        "{said}"
    );
    assert!(!world.path("images.lock").exists());
}
