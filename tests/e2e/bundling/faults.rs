//! What upstream can do wrong: each with its message, its exit code, and nothing lost.

use airgap_testkit::faults::{Fault, FaultAction};
use airgap_testkit::image::Image;
use airgap_testkit::tls::TestCa;
use airgap_testkit::world::{BASIC_PASSWORD, TOKEN_PASSWORD};

use crate::support::{Connected, Outcome};

const ARGOCD: &str = "quay.io/argoproj/argocd:v3.4.4";
const LOCK: &str = "lock --upstreams upstreams.yaml";
const BUNDLE: &str = "bundle --edition community --key airgap.key --output out --cache cold --upstreams upstreams.yaml";

/// Asserts that a `lock` failed and left the lock file as it was.
#[track_caller]
fn lock_fails(connected: &Connected, code: i32, words: &[&str]) -> Outcome {
    let before = connected.read("images.lock");
    let outcome = connected.airgap(LOCK).fails(code, words);
    assert_eq!(
        connected.read("images.lock"),
        before,
        "images.lock is untouched"
    );
    outcome
}

/// Asserts that a `bundle` failed and wrote nothing.
#[track_caller]
fn bundle_fails(connected: &Connected, code: i32, words: &[&str]) {
    let _ = connected.airgap(BUNDLE).fails(code, words);
    assert!(
        connected.list("out").is_empty(),
        "{:?}",
        connected.list("out")
    );
}

#[test]
fn a_vanished_image() {
    let connected = Connected::locked();
    connected.world.registry("quay.io").remove_image(ARGOCD);
    bundle_fails(&connected, 1, &[ARGOCD, "no longer has", "airgap lock"]);
    let _ = lock_fails(&connected, 1, &[ARGOCD]);
}

#[test]
fn an_unlocked_image() {
    let connected = Connected::locked();
    let text = String::from_utf8(connected.read("images.lock")).unwrap();
    let (before, after) = text.split_once(&format!("  - name: {ARGOCD}\n")).unwrap();
    let rest = after.split_once("  - name:").unwrap().1;
    fs_err::write(
        connected.path("images.lock"),
        format!("{before}  - name: {ARGOCD}\n  - name:{rest}"),
    )
    .unwrap();
    bundle_fails(&connected, 1, &[ARGOCD, "airgap lock"]);
}

#[test]
fn a_tag_that_moved_since_the_lock() {
    let connected = Connected::locked();
    let line = |folder: &str, cache: &str| {
        format!(
            "bundle --edition community --key airgap.key --output {folder} --cache {cache} --upstreams upstreams.yaml"
        )
    };
    let _ = connected.airgap(&line("before", "one")).ok();
    let moved = Image::oci()
        .layer(&[("moved", b"another image under the same tag")])
        .build();
    connected
        .world
        .registry("quay.io")
        .put_image(ARGOCD, &moved);
    let checked = connected
        .airgap("lock --check --upstreams upstreams.yaml")
        .fails(1, &["is not up to date"]);
    assert!(checked.stdout.contains(ARGOCD), "{}", checked.transcript());
    // the bundle holds what was locked, not what the tag says now
    let _ = connected.airgap(&line("after", "two")).ok();
    let read = |folder: &str| fs_err::read(connected.bundle_in(folder)).unwrap();
    assert!(read("before") == read("after"));
}

#[test]
fn a_registry_that_answers_a_digest_wrongly() {
    let connected = Connected::locked();
    let registry = connected.world.registry("quay.io");
    registry.fault(Fault::always(
        "GET",
        "argoproj/argocd/blobs/",
        FaultAction::CorruptBody,
    ));
    bundle_fails(&connected, 3, &["argocd", "expected sha256:"]);
    registry.clear_faults();
    let _ = connected.airgap(BUNDLE).ok();
}

#[test]
fn a_wrong_authority() {
    let connected = Connected::start();
    fs_err::write(
        connected.path("upstream-ca.pem"),
        TestCa::new("somebody else").pem(),
    )
    .unwrap();
    let _ = lock_fails(&connected, 1, &["is not trusted", "ca_file"]);
}

#[test]
fn a_wrong_password() {
    let connected = Connected::start();
    fs_err::write(
        connected.path("docker/config.json"),
        connected.world.docker_config("wrong-canary"),
    )
    .unwrap();
    let outcome = lock_fails(
        &connected,
        1,
        &["refuses the login", "release-engineer", ARGOCD],
    );
    assert!(!outcome.transcript().contains("wrong-canary"));
    fs_err::write(
        connected.path("docker/config.json"),
        connected.world.docker_config(TOKEN_PASSWORD),
    )
    .unwrap();
    fs_err::write(
        connected.path("upstreams.yaml"),
        connected.world.upstreams_yaml("wrong-canary"),
    )
    .unwrap();
    let outcome = lock_fails(&connected, 1, &["refuses the login", "ghcr.io"]);
    assert!(!outcome.transcript().contains("wrong-canary"));
    fs_err::write(
        connected.path("upstreams.yaml"),
        connected.world.upstreams_yaml(BASIC_PASSWORD),
    )
    .unwrap();
    let _ = connected.airgap(LOCK).ok();
}

#[test]
fn busy_servers_are_asked_again() {
    let connected = Connected::locked();
    let busy = |code, retry_after: Option<&str>| FaultAction::Status {
        code,
        retry_after: retry_after.map(str::to_owned),
    };
    connected
        .world
        .registry("quay.io")
        .fault(Fault::once("GET", "/blobs/", busy(429, Some("1"))));
    connected
        .world
        .registry("docker.io")
        .fault(Fault::once("GET", "/blobs/", busy(503, None)));
    connected
        .world
        .downloads()
        .fault(Fault::once("GET", "rke2.linux", busy(502, None)));
    let _ = connected.airgap(BUNDLE).ok();
    let refused = |host: &str, code: u16| {
        connected
            .world
            .registry(host)
            .log()
            .count(|request| request.status == code)
    };
    assert_eq!((refused("quay.io", 429), refused("docker.io", 503)), (1, 1));
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let connected = Connected::locked();
    let downloads = connected.world.downloads();
    downloads.log().clear();
    let action = FaultAction::CutResponse {
        after_bytes: 1 << 20,
    };
    let cut = Fault::once("GET", "rke2.linux-amd64.tar.gz", action);
    downloads.fault(Fault { times: 2, ..cut });
    let _ = connected.airgap(BUNDLE).ok();
    let parts = downloads.log().count(|request| {
        request.path.ends_with("rke2.linux-amd64.tar.gz") && request.status == 206
    });
    assert_eq!(parts, 2, "{:?}", downloads.log().all());
}
