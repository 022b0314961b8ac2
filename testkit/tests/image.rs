//! Stand-in images are the same every time, and others take them for images.

use airgap_testkit::image::{Image, noise};

#[test]
fn digests_do_not_change() {
    let layer = noise(1000, 1);
    let make = || Image::oci().layer(&[("bin/a", &layer)]).build();
    assert_eq!(make().digest(), make().digest());
    let index = Image::index(vec![("linux/amd64", make())]);
    assert_ne!(
        index.digest(),
        Image::docker_list(vec![("linux/amd64", make())]).digest()
    );
    assert_eq!(index.children.len(), 1);
    assert_eq!(index.blobs.len(), 2);
}
