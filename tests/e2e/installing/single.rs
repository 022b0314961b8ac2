//! One node.

use airgap_testkit::cluster::ClusterSpec;

use super::field::{Field, possible};

#[test]
fn a_single_node_comes_up_and_a_second_run_writes_nothing() {
    if !possible() {
        return;
    }
    let field = Field::start(ClusterSpec::single(), "standard");
    let report = field.installed(&[]);
    assert_eq!(report["changed"], true);
    assert_eq!(report["nodes"][0]["ready"], true);
    assert_eq!(field.ready("solo"), ["solo"]);

    let again = field.installed(&[]);
    assert_eq!(again["changed"], false, "{again:#}");
    assert_eq!(again["registryWrites"], 0);
    assert_eq!(again["filesWritten"]["solo"], 0);
    assert!(
        again["commands"]["solo"].as_u64().unwrap() <= 2,
        "{again:#}"
    );
    let status = field.status();
    assert_eq!(status["unhealthy"], serde_json::json!([]), "{status:#}");
    assert_eq!(status["nodes"][0]["ready"], true);
}
