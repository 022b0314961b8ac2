//! A delta as a publisher makes it and a site looks at it.

use crate::support::Connected;

#[test]
fn a_delta_is_small_names_its_base_and_is_made_only_over_a_base_that_is_trusted() {
    let connected = Connected::locked();
    let bundle = |options: &str| {
        format!("bundle --edition standard --key airgap.key --upstreams upstreams.yaml {options}")
    };
    let _ = connected.airgap(&bundle("--output old")).ok();
    let old = connected.bundle_in("old");
    let _ = connected
        .airgap("lock --version 0.2.0 --upstreams upstreams.yaml")
        .ok();
    let _ = connected.airgap(&bundle("--output full")).ok();
    let full = connected.bundle_in("full");

    let said = connected
        .airgap(&bundle(&format!("--output delta --base {old}")))
        .ok();
    assert!(said.contains("leaves out"), "{said}");
    let delta = connected.bundle_in("delta");
    assert_eq!(
        delta.file_name(),
        Some("airgap-standard-0.2.0-from-0.1.0-amd64.tar.zst")
    );
    let size = |path: &camino::Utf8Path| fs_err::metadata(path).unwrap().len();
    assert!(size(&delta) < size(&full));
    let _ = connected
        .airgap(&bundle(&format!("--output again --base {old} --jobs 1")))
        .ok();
    assert_eq!(
        fs_err::read(connected.bundle_in("again")).unwrap(),
        fs_err::read(&delta).unwrap(),
        "the same bytes, whatever the jobs"
    );

    let listing = connected
        .airgap(&format!("inspect {delta} --key airgap.pub --json"))
        .json();
    assert_eq!(listing["info"]["delta"]["version"], "0.1.0");
    let verified = connected
        .airgap(&format!("verify {delta} --key airgap.pub --json"))
        .json();
    assert_eq!(verified["findings"], serde_json::json!([]));
    assert!(verified["leftOut"].as_u64().unwrap() > 30, "{verified:#}");
    let difference = |new: &camino::Utf8Path| {
        let line = format!("diff {old} {new} --key airgap.pub --json");
        connected.airgap(&line).json()["difference"].clone()
    };
    assert_eq!(difference(&delta), difference(&full));

    // a base that nobody vouches for lends nothing
    let _ = connected.airgap("keygen stranger.key").ok();
    let stranger =
        "bundle --edition standard --key stranger.key --output refused --upstreams upstreams.yaml";
    let _ = connected
        .airgap(&format!("{stranger} --base {old}"))
        .fails(3, &["is not signed by a trusted key"]);
    let _ = connected
        .airgap(&format!("{stranger} --base {old} --base-key airgap.pub"))
        .ok();
}
