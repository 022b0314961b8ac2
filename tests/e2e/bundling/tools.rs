//! Stock tools read what `bundle` writes: tar, zstd, openssl, skopeo, umoci.

use airgap_testkit::image::digest_of;
use airgap_testkit::require_tool;

use crate::support::{Connected, sha256};

const ARGOCD: &str = "quay.io/argoproj/argocd:v3.4.4";
const LONGHORN: &str = "docker.io/longhornio/longhorn-ui:v1.12.1";

#[test]
fn an_unpacked_bundle_is_an_image_layout_that_stock_tools_read() {
    let tools = ["tar", "zstd", "openssl", "skopeo", "umoci"];
    if !tools.into_iter().all(require_tool) {
        return;
    }
    let connected = Connected::locked();
    let _ = connected
        .airgap(
            "bundle --edition standard --key airgap.key --output out --upstreams upstreams.yaml",
        )
        .ok();
    let bundle = connected.bundle_in("out");
    let _ = connected.shell(&format!("zstd -t {bundle}")).ok();
    let _ = connected
        .shell(&format!(
            "mkdir unpacked && tar --zstd -xf {bundle} -C unpacked"
        ))
        .ok();
    let said = connected.shell("cd unpacked && base64 -d index.json.sig > ../s && openssl pkeyutl -verify -pubin -inkey ../airgap.pub -rawin -in index.json -sigfile ../s").ok();
    assert!(said.contains("Signature Verified Successfully"), "{said}");

    let locked = digest_of(&connected.world.image(ARGOCD).children[0].1).to_string();
    let lock = String::from_utf8(connected.read("images.lock")).unwrap();
    assert!(lock.contains(&locked));
    let digest = connected
        .shell(&format!(
            "skopeo inspect --format '{{{{.Digest}}}}' oci:unpacked:{ARGOCD}"
        ))
        .ok();
    assert_eq!(digest.trim(), locked);
    let _ = connected
        .shell(&format!(
            "skopeo copy --insecure-policy --quiet oci:unpacked:{ARGOCD} dir:argocd"
        ))
        .ok();
    assert_eq!(
        sha256(&connected.path("argocd/manifest.json")),
        locked,
        "an OCI-typed image comes out with the locked digest"
    );
    let _ = connected
        .shell(&format!(
            "umoci unpack --rootless --image unpacked:{ARGOCD} root"
        ))
        .ok();
    let own = String::from_utf8(connected.read("root/rootfs/etc/stand-in")).unwrap();
    assert!(own.contains(ARGOCD), "{own}");
}

#[test]
fn a_docker_typed_image_is_extracted_with_the_locked_digest() {
    if !require_tool("skopeo") {
        return;
    }
    let connected = Connected::locked();
    let _ = connected
        .airgap(
            "bundle --edition community --key airgap.key --output out --upstreams upstreams.yaml",
        )
        .ok();
    let image = connected.world.image(LONGHORN);
    assert!(image.media_type.contains("docker"));
    let locked = digest_of(&image.children[0].1).to_string();
    let bundle = connected.bundle_in("out");
    let extract = |format: &str| {
        connected.airgap(&format!(
            "extract {LONGHORN} --bundle {bundle} --key airgap.pub --format {format} -o {format}"
        ))
    };
    let _ = extract("dir").ok();
    let _ = connected
        .shell("skopeo copy --insecure-policy --quiet --preserve-digests dir:dir dir:copy")
        .ok();
    assert_eq!(sha256(&connected.path("copy/manifest.json")), locked);
    let _ = extract("docker-archive").ok();
    let said = connected
        .shell("skopeo inspect docker-archive:docker-archive")
        .ok();
    assert!(said.contains("amd64"), "{said}");
    let warned = extract("oci");
    assert!(
        warned.stderr.contains("its digest became"),
        "{}",
        warned.transcript()
    );
}
