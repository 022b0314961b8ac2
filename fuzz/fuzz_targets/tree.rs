//! Reading index.json and manifests, as after a signature that holds: a signer's mistakes must not break a reader.
//!
//! Line feeds part the input: the first part is the index, the others are manifests.
#![no_main]

use airgap_archive::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == b'\n');
    let index = parts.next().unwrap_or_default();
    let manifests: Vec<&[u8]> = parts.collect();
    fuzzing::tree(index, &manifests);
});
