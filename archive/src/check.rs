//! Comparing decoded content with the signed tree: headers, padding and hashes (FORMAT §6).

use std::ops::Range;

use crate::layout::Piece;
use crate::{Hasher, digest_of, header};

const WRONG_HEADER: &str = "its tar header is not the one for its name and size";
const WRONG_PADDING: &str = "bytes stand where padding must be";
const WRONG_HASH: &str = "its bytes do not hash to its digest";

/// Returns a small entry's bytes out of its frame's content, when header, padding and hash are right.
pub(crate) fn small<'a>(piece: &Piece, content: &'a [u8]) -> Result<&'a [u8], &'static str> {
    let range = small_range(piece);
    let bytes = content.get(range.clone()).ok_or("its frame is too short")?;
    let padding = usize::try_from(header::padding(piece.size)).expect("less than a block");
    if content[piece.at..range.start] != piece.header() {
        return Err(WRONG_HEADER);
    }
    if content[range.end..range.end + padding]
        .iter()
        .any(|byte| *byte != 0)
    {
        return Err(WRONG_PADDING);
    }
    if digest_of(bytes) != piece.digest {
        return Err(WRONG_HASH);
    }
    Ok(bytes)
}

fn small_range(piece: &Piece) -> Range<usize> {
    let start = piece.at + header::BLOCK;
    start..start + usize::try_from(piece.size).expect("a small entry is below 1 MiB")
}

/// Checks that the end of the stream is zero, as tar has it.
pub(crate) fn end(content: &[u8]) -> Result<(), &'static str> {
    let blocks = header::END;
    let last = content
        .len()
        .checked_sub(blocks)
        .map(|start| &content[start..]);
    match last {
        Some(last) if last.iter().all(|byte| *byte == 0) => Ok(()),
        _ => Err("the end of the stream is not empty"),
    }
}

/// Checks a large entry part by part; the last part is approved only when the whole hash agrees.
#[derive(Debug)]
pub(crate) struct Large {
    hasher: Option<Hasher>,
    header: Option<[u8; header::BLOCK]>,
    left: u64,
    padding: usize,
}

impl Large {
    pub(crate) fn new(piece: &Piece) -> Self {
        Self {
            hasher: Some(Hasher::new()),
            header: Some(piece.header()),
            left: piece.size,
            padding: usize::try_from(header::padding(piece.size)).expect("less than a block"),
        }
    }

    /// Takes the next part and returns where in it the blob's bytes are.
    pub(crate) fn next(
        &mut self,
        piece: &Piece,
        content: &[u8],
    ) -> Result<Range<usize>, &'static str> {
        let mut start = 0;
        if let Some(header) = self.header.take() {
            if !content.starts_with(&header) {
                return Err(WRONG_HEADER);
            }
            start = header.len();
        }
        let rest = content.len() - start;
        let bytes = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest);
        let range = start..start + bytes;
        self.left -= bytes as u64;
        let hasher = self
            .hasher
            .as_mut()
            .ok_or("it has more parts than its size allows")?;
        hasher.update(&content[range.clone()]);
        if self.left == 0 {
            // frames and tar blocks end together, so the padding is in the same part as the last byte
            let zeros = &content[range.end..];
            if zeros.len() != self.padding || zeros.iter().any(|byte| *byte != 0) {
                return Err(WRONG_PADDING);
            }
            if self.hasher.take().map(Hasher::finish).as_ref() != Some(&piece.digest) {
                return Err(WRONG_HASH);
            }
        }
        Ok(range)
    }
}
