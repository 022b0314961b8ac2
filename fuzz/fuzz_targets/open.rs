//! Opening a bundle: first frame, index, frame table, seek table, frames.
//!
//! The first byte chooses: the input is the whole file; the input stands behind a properly signed first frame; or it
//! patches a good bundle. Whatever is handed out must hash to its digest, or not be handed out.
#![no_main]

use airgap_archive::{OpenOptions, VerifiedArchive, digest_of, fuzzing};
use airgap_signing::{SigningKey, TrustRoot};
use camino::Utf8Path;
use libfuzzer_sys::fuzz_target;

const GOOD: &[u8] = include_bytes!("../../archive/tests/data/v1.tar.zst");

fn check(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new_in("/dev/shm").expect("memory for a file");
    std::fs::write(file.path(), bytes).expect("memory for a file");
    let path = Utf8Path::from_path(file.path()).expect("a plain path");
    let trust = TrustRoot::new(vec![key().public_key()]);
    let Ok(archive) = VerifiedArchive::open(path, &trust, &OpenOptions::default()) else {
        return;
    };
    let findings = archive.verify_all(1, &|_| {}).expect("memory to verify");
    let mut good = 0;
    for (digest, size) in archive.blobs() {
        if let Ok(bytes) = archive.read(digest, 1 << 20) {
            assert_eq!((&digest_of(&bytes), bytes.len() as u64), (digest, *size));
            good += 1;
        }
    }
    assert!(!findings.is_empty() || good == archive.blobs().len());
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[42; 32])
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    match mode % 5 {
        0 => check(data),
        1 => {
            let split = data.len() / 2;
            let mut bytes = fuzzing::signed_first_frame(&data[..split], &key());
            bytes.extend(&data[split..]);
            check(&bytes);
        }
        2 => {
            // three bytes a patch: where, and the byte to put there
            let mut bytes = GOOD.to_vec();
            for patch in data.chunks_exact(3) {
                let place = usize::from(u16::from_le_bytes([patch[0], patch[1]])) % bytes.len();
                bytes[place] = patch[2];
            }
            check(&bytes);
        }
        3 => fuzzing::first_frame(data),
        _ => {
            if let Some((length, data)) = data.split_first_chunk() {
                fuzzing::compressed_frame(data, usize::from(u16::from_le_bytes(*length)).max(1));
            }
            if let Some((sha256, data)) = data.split_first_chunk() {
                fuzzing::tables(data, sha256);
            }
        }
    }
});
