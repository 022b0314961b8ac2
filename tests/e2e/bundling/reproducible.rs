//! The same inputs give the same bytes, and nothing is fetched twice.

use crate::support::{Connected, sha256};

#[test]
fn bytes_do_not_depend_on_jobs_or_cache_and_offline_needs_neither_upstream() {
    let connected = Connected::locked();
    let bundle = |options: &str, folder: &str| {
        let line = format!(
            "bundle --edition standard --key airgap.key --output {folder} --upstreams upstreams.yaml {options}"
        );
        let _ = connected.airgap(&line).ok();
        sha256(&connected.bundle_in(folder))
    };
    let first = bundle("--jobs 1", "one");
    let requests = || {
        connected
            .world
            .servers()
            .map(|server| server.log().count(|_| true))
            .sum::<usize>()
    };
    let before = requests();
    assert_eq!(
        bundle("--jobs 8", "eight"),
        first,
        "with a warm cache and eight jobs"
    );
    assert_eq!(requests(), before, "a warm cache asks nobody");
    assert_eq!(
        bundle("--jobs 8 --cache cold", "cold"),
        first,
        "with a cold cache"
    );
    assert!(requests() > before);
    for server in connected.world.servers() {
        server.leave();
    }
    assert_eq!(bundle("--offline", "offline"), first, "offline");
    let line =
        "bundle --edition standard --key airgap.key --output nothing --offline --cache empty";
    let _ = connected.airgap(line).fails(1, &["is not in the cache"]);
    assert!(connected.list("nothing").is_empty());
}

#[test]
fn volumes_are_read_where_they_lie() {
    let connected = Connected::locked();
    let line = "bundle --edition standard --key airgap.key --output out --volume-size 8MiB --platform all --upstreams upstreams.yaml";
    let _ = connected.airgap(line).ok();
    let volumes: Vec<String> = connected
        .list("out")
        .into_iter()
        .filter(|name| name.contains(".tar.zst."))
        .collect();
    assert!(volumes.len() > 2, "{volumes:?}");
    for volume in &volumes {
        assert!(
            fs_err::metadata(connected.path("out").join(volume))
                .unwrap()
                .len()
                <= 8 << 20,
            "{volume}"
        );
    }
    let said = connected
        .airgap(&format!("verify out/{} --key airgap.pub", volumes[1]))
        .ok();
    assert!(said.contains("all as signed"), "{said}");
    let third = connected.path("out").join(&volumes[2]);
    fs_err::rename(&third, connected.path("elsewhere")).unwrap();
    let _ = connected
        .airgap(&format!("verify out/{} --key airgap.pub", volumes[0]))
        .fails(3, &["missing volume .003"]);
}

#[test]
fn all_platforms_keep_the_indexes_byte_for_byte() {
    let connected = Connected::locked();
    let line = "bundle --edition standard --platform all --key airgap.key --output out --upstreams upstreams.yaml --verify-written";
    let _ = connected.airgap(line).ok();
    let bundle = connected.bundle_in("out");
    assert!(bundle.as_str().ends_with("-all.tar.zst"), "{bundle}");
    let listing = connected
        .airgap(&format!("inspect {bundle} --key airgap.pub --json"))
        .json();
    for entry in listing["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["role"] == "image")
    {
        let image = connected.world.image(entry["name"].as_str().unwrap());
        assert_eq!(
            entry["digest"],
            image.digest().to_string(),
            "{}",
            entry["name"]
        );
    }
}
