//! Signatures in cosign's format: a manifest whose layers are simple-signing payloads, each with its signature as an annotation.
//!
//! The signature is pure Ed25519 over the payload's bytes, and the payload names the signed manifest's digest. There is no
//! certificate and no transparency log. Whether upstream's own signatures hold is not looked at: they are carried along.

use airgap_signing::SigningKey;
use oci_spec::image::Digest;
use serde_json::{Value, json};

use super::{Artifact, OCI_MANIFEST, descriptor, render};
use crate::digest::digest_of;

/// Media type of a simple-signing payload.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation under which cosign keeps a payload's signature, in base64.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";

const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The time that cosign writes into its configs: none.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Returns the tag under which cosign looks for the signatures of `digest`.
#[must_use]
pub fn signature_tag(digest: &Digest) -> String {
    format!("{}-{}.sig", digest.algorithm(), digest.digest())
}

/// Returns the simple-signing payload for a manifest; `repository` is its full source name without tag or digest.
#[must_use]
pub fn payload(repository: &str, digest: &Digest) -> Vec<u8> {
    render(&json!({
        "critical": {
            "identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": digest.to_string()},
            "type": "cosign container image signature",
        },
        "optional": null,
    }))
}

/// Signs a manifest with every key, one layer each.
///
/// `upstream` is the manifest and config of signatures that upstream published for the same digest: its layers stay first and
/// unchanged, as `cosign sign` keeps them. Something there that is not a signature manifest is ignored.
#[must_use]
pub fn signature_manifest(
    repository: &str,
    digest: &Digest,
    keys: &[SigningKey],
    upstream: Option<(&[u8], &[u8])>,
) -> Artifact {
    let payload = payload(repository, digest);
    let (mut manifest, mut config) = upstream.and_then(parse_upstream).unwrap_or_else(empty);
    let payload_digest = digest_of(&payload);
    for key in keys {
        let mut layer = descriptor(SIMPLE_SIGNING, &payload_digest, payload.len() as u64);
        layer["annotations"] =
            json!({SIGNATURE_ANNOTATION: key.sign(&payload).to_line().trim_end()});
        push(&mut manifest["layers"], layer);
        push(
            &mut config["rootfs"]["diff_ids"],
            json!(payload_digest.to_string()),
        );
        push(&mut config["history"], json!({"created": NO_TIME}));
    }
    let config = render(&config);
    let media_type = manifest["config"]["mediaType"]
        .as_str()
        .unwrap_or(OCI_CONFIG)
        .to_owned();
    manifest["config"] = descriptor(&media_type, &digest_of(&config), config.len() as u64);
    Artifact {
        manifest: render(&manifest),
        blobs: vec![config, payload],
    }
}

/// Reads upstream's signature manifest and its config, if they are what cosign writes.
fn parse_upstream((manifest, config): (&[u8], &[u8])) -> Option<(Value, Value)> {
    let manifest: Value = serde_json::from_slice(manifest).ok()?;
    let config: Value = serde_json::from_slice(config).ok()?;
    let layers = manifest["layers"].as_array()?;
    let signs = layers
        .iter()
        .all(|layer| layer["mediaType"] == SIMPLE_SIGNING);
    let arrays = config["rootfs"]["diff_ids"].is_array()
        && (config["history"].is_null() || config["history"].is_array());
    (signs && arrays && !layers.is_empty()).then_some((manifest, config))
}

fn empty() -> (Value, Value) {
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {"mediaType": OCI_CONFIG}, "layers": []});
    let config = json!({
        "architecture": "", "os": "", "created": NO_TIME, "config": {}, "history": [],
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    (manifest, config)
}

/// Appends to an array; anything else becomes an array first.
fn push(array: &mut Value, item: Value) {
    match array {
        Value::Array(items) => items.push(item),
        other => *other = Value::Array(vec![item]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn subject() -> Digest {
        digest_of(b"an image")
    }

    #[test]
    fn the_payload_is_what_cosign_writes() {
        let expected = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"quay.io/a/b"}},"image":{{"docker-manifest-digest":"{}"}},"type":"cosign container image signature"}},"optional":null}}"#,
            subject()
        );
        assert_eq!(
            String::from_utf8(payload("quay.io/a/b", &subject())).unwrap(),
            expected
        );
        assert_eq!(
            signature_tag(&subject()),
            format!("sha256-{}.sig", subject().digest())
        );
    }

    #[test]
    fn the_same_key_gives_the_same_manifest() {
        let one = signature_manifest("quay.io/a/b", &subject(), &[key(1)], None);
        assert_eq!(
            one,
            signature_manifest("quay.io/a/b", &subject(), &[key(1)], None)
        );
        assert_ne!(
            one,
            signature_manifest("quay.io/a/b", &subject(), &[key(2)], None)
        );
    }

    #[test]
    fn upstreams_layers_annotations_and_diff_ids_stay_first() {
        let theirs = signature_manifest("quay.io/a/b", &subject(), &[key(9)], None);
        let upstream = Some((&theirs.manifest[..], &theirs.blobs[0][..]));
        let ours = signature_manifest("mirror/a/b", &subject(), &[key(1), key(2)], upstream);
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let (old, new) = (read(&theirs.manifest), read(&ours.manifest));
        assert_eq!(new["layers"].as_array().unwrap().len(), 3);
        assert_eq!(new["layers"][0], old["layers"][0]);
        let config = read(&ours.blobs[0]);
        assert_eq!(
            new["config"]["digest"],
            digest_of(&ours.blobs[0]).to_string()
        );
        let diff_ids: Vec<_> = config["rootfs"]["diff_ids"]
            .as_array()
            .unwrap()
            .iter()
            .collect();
        let layers: Vec<_> = new["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| &layer["digest"])
            .collect();
        assert_eq!(diff_ids, layers);
        assert_eq!(config["history"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn what_is_no_signature_manifest_is_not_appended_to() {
        let plain = signature_manifest("quay.io/a/b", &subject(), &[key(1)], None);
        for (manifest, config) in [
            (&b"not json"[..], &b"{}"[..]),
            (br#"{"layers":[]}"#, b"{}"),
            (
                br#"{"layers":[{"mediaType":"application/octet-stream"}]}"#,
                br#"{"rootfs":{"diff_ids":[]}}"#,
            ),
            (
                br#"{"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json"}]}"#,
                b"[]",
            ),
        ] {
            assert_eq!(
                signature_manifest(
                    "quay.io/a/b",
                    &subject(),
                    &[key(1)],
                    Some((manifest, config))
                ),
                plain
            );
        }
    }
}
