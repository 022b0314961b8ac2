//! A delta on a site that has its base, and on one that has not.

use airgap_testkit::cluster::ClusterSpec;

use super::{
    bench::Bench,
    field::{Field, possible},
};

#[test]
fn a_delta_is_refused_where_its_base_is_missing_and_installed_where_it_is() {
    if !possible() {
        return;
    }
    let mut field = Field::start(ClusterSpec::single(), "community");
    let delta = Bench::get().delta("community", 1);
    let whole = std::mem::replace(&mut field.bundle, delta.clone());

    let before = field.harbor.log().all().len();
    let refused = field.install(&[]).fails(4, &[]);
    assert!(
        refused.stdout.contains("layers that this delta leaves out")
            && refused
                .stdout
                .contains("install the bundle of version 1.0.0"),
        "{}",
        refused.transcript()
    );
    let stored: Vec<_> = field.harbor.log().all()[before..]
        .iter()
        .filter(|request| request.is_write() && !request.path.contains("/blobs/uploads/"))
        .cloned()
        .collect();
    assert!(stored.is_empty(), "{stored:#?}");

    field.bundle = whole;
    field.installed(&[]);
    field.bundle = delta;
    let report = field.installed(&[]);
    assert_eq!(report["changed"], true);
    assert_eq!(report["release"]["version"], "1.1.0");
    let again = field.installed(&[]);
    assert_eq!(again["changed"], false, "{again:#}");

    // the whole bundle of the same release is the same release
    field.bundle = Bench::get().bundle("community", 1);
    assert_eq!(field.installed(&[])["changed"], false);
}
