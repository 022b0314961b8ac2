//! The first frame: the four first files, in raw blocks (FORMAT §2).
//!
//! This is all that is looked at before the signature holds: fixed offsets, fixed names, one size field, and no
//! decompressor. Whatever is not exactly as rendered here is no bundle.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use airgap_signing::{PublicKey, Signature, SigningKey, TrustRoot};
use bytes::Bytes;
use camino::Utf8Path;

use crate::limits::{FRAME_SIZE, MAX_INDEX};
use crate::{Error, Result, frame, header};

const INDEX: &str = "index.json";
const SIGNATURE: &str = "index.json.sig";
const KEY: &str = "index.json.pub";
const LAYOUT: &str = "oci-layout";
const LAYOUT_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// What the first frame holds; nothing in it is trusted yet.
#[derive(Debug)]
pub(crate) struct First {
    /// The exact bytes of `index.json`.
    pub(crate) index: Bytes,
    /// The signature in the bundle.
    pub(crate) signature: Signature,
    /// The key the bundle shows.
    pub(crate) key: PublicKey,
    /// Bytes of the frame's content.
    pub(crate) length: usize,
}

fn append(stream: &mut Vec<u8>, name: &str, content: &[u8]) {
    stream.extend(header::render(name, content.len() as u64));
    stream.extend(content);
    let padding = header::padding(content.len() as u64);
    stream.extend(std::iter::repeat_n(
        0,
        usize::try_from(padding).expect("less than a block"),
    ));
}

/// Renders the content of the first frame.
pub(crate) fn render(index: &[u8], signature: &Signature, key: &PublicKey) -> Vec<u8> {
    let mut stream = Vec::with_capacity(index.len() + 8 * 1024);
    append(&mut stream, INDEX, index);
    append(&mut stream, SIGNATURE, signature.to_line().as_bytes());
    append(&mut stream, KEY, key.to_pem().as_bytes());
    append(&mut stream, LAYOUT, LAYOUT_CONTENT);
    stream
}

/// Returns the length of the first frame's content for an index of so many bytes.
pub(crate) fn length(index: usize) -> usize {
    let fixed = [
        Signature::LINE_LENGTH,
        PublicKey::PEM_LENGTH,
        LAYOUT_CONTENT.len(),
    ];
    let records = std::iter::once(index)
        .chain(fixed)
        .map(|size| header::record(size as u64));
    usize::try_from(records.sum::<u64>()).expect("an index is at most 4 MiB")
}

/// Renders the first frame's content, signed by `signer`.
pub(crate) fn signed(index: &[u8], signer: &SigningKey) -> Vec<u8> {
    render(index, &signer.sign(index), &signer.public_key())
}

/// Reads and takes apart the first frame of the file.
pub(crate) fn read(file: &File, path: &Utf8Path) -> Result<First> {
    let not = |reason: &str| Error::NotABundle {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let io = |source| Error::Io {
        operation: "read",
        path: path.to_owned(),
        source,
    };
    let mut start = [0; frame::STORED_HEADER];
    match file.read_exact_at(&mut start, 0) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(not("it is too short"));
        }
        Err(e) => return Err(io(e)),
    }
    let size = u32::from_le_bytes([start[5], start[6], start[7], start[8]]);
    let length = usize::try_from(size).unwrap_or(usize::MAX);
    if length > FRAME_SIZE || length == 0 || start != frame::stored_header(length) {
        return Err(not(
            "it does not begin with a stored frame of at most 4 MiB",
        ));
    }
    let mut content = vec![0; length];
    frame::read_stored(file, 0, &mut content)
        .map_err(io)?
        .map_err(not)?;
    parse(content).map_err(not)
}

/// Takes apart the content of a first frame.
pub(crate) fn parse(content: Vec<u8>) -> Result<First, &'static str> {
    let content = Bytes::from(content);
    let block = header::BLOCK;
    let size = content
        .get(..block)
        .and_then(index_size)
        .ok_or("it does not begin with index.json")?;
    if size > MAX_INDEX {
        return Err("index.json is larger than the format allows");
    }
    let end = block + usize::try_from(size).map_err(|_| "index.json is too large")?;
    let index = content
        .get(block..end)
        .map(|_| content.slice(block..end))
        .ok_or("index.json is cut off")?;

    // everything else has a fixed size, so the rest is rendered and compared as a whole
    let signature_at =
        block + usize::try_from(header::record(size)).map_err(|_| "index.json is too large")?;
    let line = content.get(signature_at..signature_at + Signature::LINE_LENGTH);
    let signature = line
        .and_then(|line| Signature::parse(line).ok())
        .ok_or("it is not signed")?;
    let key_at = signature_at + 2 * block;
    let pem = content.get(key_at..key_at + PublicKey::PEM_LENGTH);
    let key = pem
        .and_then(|pem| std::str::from_utf8(pem).ok())
        .and_then(|pem| PublicKey::from_pem(pem).ok())
        .ok_or("index.json.pub is not an Ed25519 public key")?;
    if render(&index, &signature, &key) != content {
        return Err("its first files are not laid out as the format says");
    }
    Ok(First {
        length: content.len(),
        index,
        signature,
        key,
    })
}

/// Reads the size field of the first header: eleven octal digits and a zero byte.
fn index_size(header: &[u8]) -> Option<u64> {
    let digits = header.get(124..136)?.strip_suffix(b"\0")?;
    digits.iter().try_fold(0_u64, |size, digit| match digit {
        b'0'..=b'7' => Some(size * 8 + u64::from(digit - b'0')),
        _ => None,
    })
}

/// Says whether the key that the bundle shows made the signature that it carries.
///
/// Proves nothing about trust; it only leaves no byte of the first frame that could change unnoticed.
pub(crate) fn is_consistent(first: &First) -> bool {
    TrustRoot::new(vec![first.key.clone()])
        .verify(&first.index, &[first.signature])
        .is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> (Vec<u8>, SigningKey) {
        let key = SigningKey::from_seed(&[5; 32]);
        (signed(br#"{"schemaVersion":2}"#, &key), key)
    }

    #[test]
    fn what_was_rendered_is_read() {
        let (content, key) = sample();
        assert_eq!(content.len(), length(br#"{"schemaVersion":2}"#.len()));
        let first = parse(content).unwrap();
        assert_eq!(first.key, key.public_key());
        assert_eq!(&first.index[..], br#"{"schemaVersion":2}"#);
        assert!(is_consistent(&first));
    }

    #[test]
    fn every_flipped_bit_of_the_first_files_is_seen() {
        let (content, _) = sample();
        for position in 0..content.len() {
            for bit in 0..8 {
                let mut bad = content.clone();
                bad[position] ^= 1 << bit;
                // either its shape is wrong, or the signature no longer holds under the key shown
                assert!(
                    parse(bad).map_or(true, |first| !is_consistent(&first)),
                    "byte {position} bit {bit}"
                );
            }
        }
    }

    #[test]
    fn a_fifth_file_is_refused() {
        let (mut content, _) = sample();
        append(&mut content, "hello", b"world");
        assert!(parse(content).is_err());
    }

    proptest! {
        #[test]
        fn parsing_anything_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..4096), digits in "[0-7]{11}") {
            let mut content = bytes;
            if content.len() > 136 {
                content[124..135].copy_from_slice(digits.as_bytes());
                content[135] = 0;
            }
            let _ = parse(content);
        }
    }
}
