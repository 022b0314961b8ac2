//! Doors for the fuzz targets in `fuzz/`, which are built with `--cfg fuzzing`; no other build has them.

use airgap_signing::SigningKey;

use crate::frame::{self, Decompressor};
use crate::graph::Graph;
use crate::{Volumes, first, index, tail};

/// Takes apart the content of a first frame; when it is one, rendering it again gives the same bytes.
pub fn first_frame(content: &[u8]) {
    if let Ok(parsed) = first::parse(content.to_vec()) {
        assert_eq!(
            first::render(&parsed.index, &parsed.signature, &parsed.key),
            content
        );
    }
}

/// Reads an index, and the given manifests as if it had named them.
pub fn tree(index: &[u8], manifests: &[&[u8]]) {
    let Ok((info, entries)) = index::parse(index) else {
        return;
    };
    // what was read can be written and read again
    let (again, sorted) =
        index::parse(&index::render(&info, &entries)).expect("an index that was rendered");
    assert_eq!((again, sorted.len()), (info, entries.len()));
    let Ok(mut graph) = Graph::new(&entries) else {
        return;
    };
    for children in [false, true] {
        let group = if children {
            graph.children()
        } else {
            graph.top()
        }
        .to_vec();
        for ((digest, _), bytes) in group.iter().zip(manifests) {
            let _ = graph.add(digest, bytes);
        }
    }
    let _ = graph.leaves(&entries);
}

/// Reads a tail; when it is one, rendering it again gives the same bytes.
pub fn tables(bytes: &[u8], index_sha256: &[u8; 32]) {
    let _ = tail::frame_count(bytes);
    if let Ok((volumes, frames)) = tail::parse(bytes, index_sha256) {
        assert_eq!(tail::render(index_sha256, &volumes, &frames), bytes);
    }
}

/// Decompresses bytes as a frame of so much content.
pub fn compressed_frame(bytes: &[u8], content: usize) {
    let mut output = vec![0; content];
    let _ = Decompressor::new()
        .expect("memory for a decompressor")
        .decompress(bytes, &mut output);
}

/// Makes the first frame of a bundle with this index, signed.
#[must_use]
pub fn signed_first_frame(index: &[u8], signer: &SigningKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_stored(&mut bytes, &first::signed(index, signer)).expect("memory can be written");
    bytes
}

/// Looks for volumes; the names of the files are the input.
pub fn locate(path: &camino::Utf8Path) {
    let _ = Volumes::locate(path, &[]);
}
