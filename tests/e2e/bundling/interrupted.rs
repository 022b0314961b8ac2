//! Ctrl-C and `kill -9` in the middle, then the same command again.

use std::time::{Duration, Instant};

use airgap_testkit::faults::{Fault, FaultAction};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Connected, Outcome, sha256};

const BUNDLE: &str = "bundle --edition standard --key airgap.key --output out --cache cold --upstreams upstreams.yaml --jobs 2";

/// How many blobs were asked for.
fn blobs(connected: &Connected) -> usize {
    connected
        .world
        .servers()
        .map(|server| {
            server
                .log()
                .count(|request| request.path.contains("/blobs/"))
        })
        .sum()
}

/// Starts a command against slow registries, and signals it once some blobs have arrived.
fn signalled(
    connected: &Connected,
    arguments: &str,
    signal: Signal,
    enough: impl Fn() -> bool,
) -> Outcome {
    for host in ["docker.io", "quay.io"] {
        connected.world.registry(host).fault(Fault::always(
            "GET",
            "",
            FaultAction::Delay { millis: 60 },
        ));
    }
    let child = connected.begin(arguments);
    let start = Instant::now();
    while !enough() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "nothing was fetched"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), signal).unwrap();
    let outcome = Outcome::of(arguments, &child.wait_with_output().unwrap());
    for server in connected.world.servers() {
        server.clear_faults();
    }
    outcome
}

fn bundle_again(signal: Signal, code: i32) {
    let connected = Connected::locked();
    let line = BUNDLE
        .replace("--cache cold", "--cache whole")
        .replace("--output out", "--output whole-out");
    let _ = connected.airgap(&line).ok();
    let all = blobs(&connected);
    connected
        .world
        .servers()
        .for_each(|server| server.log().clear());
    let outcome = signalled(&connected, BUNDLE, signal, || blobs(&connected) > all / 2);
    assert_eq!(outcome.code, code, "{}", outcome.transcript());
    let finished = connected
        .list("out")
        .iter()
        .any(|name| name.ends_with(".tar.zst"));
    assert!(!finished, "{:?}", connected.list("out"));

    let before = blobs(&connected);
    let _ = connected.airgap(BUNDLE).ok();
    let fetched = blobs(&connected) - before;
    assert!(
        fetched < all,
        "what had arrived was fetched again: {fetched} of {all}"
    );
    assert_eq!(
        sha256(&connected.bundle_in("out")),
        sha256(&connected.bundle_in("whole-out"))
    );
    assert_eq!(
        connected.list("out"),
        connected.list("whole-out"),
        "nothing else is left"
    );
}

#[test]
fn ctrl_c_while_bundling_and_again() {
    bundle_again(Signal::INT, 130);
}

#[test]
fn kill_nine_while_bundling_and_again() {
    bundle_again(Signal::KILL, 128 + 9);
}

#[test]
fn ctrl_c_while_locking_changes_nothing() {
    let connected = Connected::start();
    let before = connected.read("images.lock");
    let asked = || {
        connected
            .world
            .registry("docker.io")
            .log()
            .count(|request| request.path.contains("/manifests/"))
            > 10
    };
    let outcome = signalled(
        &connected,
        "lock --upstreams upstreams.yaml",
        Signal::INT,
        asked,
    );
    assert_eq!(outcome.code, 130, "{}", outcome.transcript());
    assert_eq!(connected.read("images.lock"), before);
    let _ = connected.airgap("lock --upstreams upstreams.yaml").ok();
}
