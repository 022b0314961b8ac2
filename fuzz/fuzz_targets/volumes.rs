//! Volumes: names, heads, lengths, and a set put together from a good bundle and the input.
#![no_main]

use airgap_archive::{OpenOptions, VerifiedArchive, digest_of, fuzzing};
use airgap_signing::{SigningKey, TrustRoot};
use camino::Utf8Path;
use libfuzzer_sys::fuzz_target;

const GOOD: &[u8] = include_bytes!("../../archive/tests/data/v1.tar.zst");

fuzz_target!(|data: &[u8]| {
    let Some((head, data)) = data.split_first_chunk::<5>() else {
        return;
    };
    let folder = tempfile::tempdir_in("/dev/shm").expect("memory for a folder");
    let path = Utf8Path::from_path(folder.path()).expect("a plain path");
    // a name of the input's making
    let name: String = data
        .iter()
        .take(12)
        .map(|byte| char::from(b"x.0123-"[usize::from(byte % 7)]))
        .collect();
    let _ = std::fs::write(path.join(&name), b"");
    fuzzing::locate(&path.join(&name));

    // the good bundle, cut where the input says; the second volume begins as the input says
    let cut = usize::from(u16::from_le_bytes([head[0], head[1]])) % GOOD.len();
    let (first, rest) = GOOD.split_at(cut);
    let mut second = if head[2] & 1 == 0 {
        volume_head(head[2] >> 1)
    } else {
        Vec::new()
    };
    let taken = usize::from(head[3]).min(data.len());
    second.extend(&data[..taken]);
    second.extend(rest);
    for patch in data[taken..].chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([patch[0], patch[1]])) % second.len();
        second[place] = patch[2];
    }
    std::fs::write(path.join("set.001"), first).expect("memory for a file");
    std::fs::write(path.join(format!("set.{:03}", 2 + head[4] % 3)), &second)
        .expect("memory for a file");
    let trust = TrustRoot::new(vec![SigningKey::from_seed(&[42; 32]).public_key()]);
    let Ok(archive) = VerifiedArchive::open(&path.join("set"), &trust, &OpenOptions::default())
    else {
        return;
    };
    for (digest, _) in archive.blobs() {
        if let Ok(bytes) = archive.read(digest, 1 << 20) {
            assert_eq!(&digest_of(&bytes), digest);
        }
    }
});

/// A head as FORMAT §8 has it, with the number of the input's choosing.
fn volume_head(number: u8) -> Vec<u8> {
    let mut head = vec![0x5a, 0x2a, 0x4d, 0x18, 44, 0, 0, 0];
    head.extend(b"airgap-v");
    head.extend(INDEX_SHA256);
    head.extend(u32::from(number).to_le_bytes());
    head
}

/// The index digest of the good bundle.
const INDEX_SHA256: [u8; 32] = [
    0x50, 0x36, 0xd2, 0x7a, 0x88, 0x68, 0x5b, 0xbf, 0x59, 0x83, 0xca, 0xf9, 0x6a, 0xb4, 0x4d, 0x6f,
    0x89, 0x6c, 0x65, 0x69, 0xdf, 0x15, 0x52, 0x17, 0x7d, 0x0c, 0x5d, 0xe0, 0x8d, 0x5b, 0x3a, 0x7c,
];
