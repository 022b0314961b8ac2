//! Where every entry lies, and where every frame begins (FORMAT §6): computed, never read.

use std::ops::Range;

use oci_spec::image::Digest;

use crate::digest::sha256_hex;
use crate::graph::Blob;
use crate::header;
use crate::limits::{FRAME_SIZE, LARGE_BLOB};

/// An entry of the tar stream after the four first files.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// The frame in which its header lies.
    pub(crate) frame: usize,
    /// Where its header begins in that frame's content; zero for a large entry.
    pub(crate) at: usize,
}

impl Piece {
    pub(crate) fn is_large(&self) -> bool {
        self.size >= LARGE_BLOB
    }

    /// Returns the frames it lies in.
    pub(crate) fn frames(&self) -> Range<usize> {
        if !self.is_large() {
            return self.frame..self.frame + 1;
        }
        let count = header::record(self.size).div_ceil(FRAME_SIZE as u64);
        self.frame..self.frame + usize::try_from(count).expect("a frame list fits memory")
    }

    /// Renders the header that must stand before it.
    pub(crate) fn header(&self) -> [u8; header::BLOCK] {
        let hex = sha256_hex(&self.digest).expect("only sha256 digests enter a layout");
        header::render(&header::blob_name(hex), self.size)
    }
}

/// What a frame holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// The four first files.
    First,
    /// Whole small entries, and perhaps the end of the stream.
    Shared {
        /// The entries, by number.
        pieces: Range<usize>,
        /// Whether the two end blocks follow them.
        end: bool,
    },
    /// A part of one large entry, from its header on.
    Part {
        /// The entry's number.
        piece: usize,
        /// The part's number, from zero.
        part: usize,
    },
}

/// A frame: what it holds, and how many bytes of the stream that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) content: Content,
    pub(crate) length: usize,
}

/// The plan of a bundle's stream.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) frames: Vec<Frame>,
}

impl Layout {
    /// Begins with the first frame, of `length` bytes.
    pub(crate) fn new(length: usize) -> Self {
        Self {
            pieces: Vec::new(),
            frames: vec![Frame {
                content: Content::First,
                length,
            }],
        }
    }

    /// Appends a group of entries; a group begins a frame of its own.
    pub(crate) fn append(&mut self, group: &[Blob]) {
        let mut open = false;
        for (digest, size) in group {
            let record = header::record(*size);
            let number = self.pieces.len();
            if *size >= LARGE_BLOB {
                let frame = self.frames.len();
                self.pieces.push(Piece {
                    digest: digest.clone(),
                    size: *size,
                    frame,
                    at: 0,
                });
                let mut left = record;
                let mut part = 0;
                while left > 0 {
                    let length = left.min(FRAME_SIZE as u64);
                    left -= length;
                    let length = usize::try_from(length).expect("a frame is at most 4 MiB");
                    self.frames.push(Frame {
                        content: Content::Part {
                            piece: number,
                            part,
                        },
                        length,
                    });
                    part += 1;
                }
                open = false;
                continue;
            }
            let record = usize::try_from(record).expect("a small entry is about 1 MiB at most");
            let fits = open
                && self
                    .frames
                    .last()
                    .is_some_and(|frame| frame.length + record <= FRAME_SIZE);
            if !fits {
                let content = Content::Shared {
                    pieces: number..number,
                    end: false,
                };
                self.frames.push(Frame { content, length: 0 });
                open = true;
            }
            let index = self.frames.len() - 1;
            let frame = &mut self.frames[index];
            self.pieces.push(Piece {
                digest: digest.clone(),
                size: *size,
                frame: index,
                at: frame.length,
            });
            frame.length += record;
            if let Content::Shared { pieces, .. } = &mut frame.content {
                pieces.end = number + 1;
            }
        }
    }

    /// Appends the end of the stream, to the last frame if that is shared and has room.
    pub(crate) fn finish(&mut self) {
        let blocks = header::END;
        let number = self.pieces.len();
        if let Some(Frame {
            content: Content::Shared { end, .. },
            length,
        }) = self.frames.last_mut()
            && *length + blocks <= FRAME_SIZE
        {
            *end = true;
            *length += blocks;
            return;
        }
        let content = Content::Shared {
            pieces: number..number,
            end: true,
        };
        self.frames.push(Frame {
            content,
            length: blocks,
        });
    }

    /// Returns the length of the whole stream.
    pub(crate) fn content(&self) -> u64 {
        self.frames.iter().map(|frame| frame.length as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest_of;

    fn blobs(sizes: &[u64]) -> Vec<Blob> {
        sizes
            .iter()
            .enumerate()
            .map(|(i, size)| (digest_of(&i.to_le_bytes()), *size))
            .collect()
    }

    #[test]
    fn large_entries_have_frames_of_their_own_and_small_ones_share() {
        let mut layout = Layout::new(4096);
        layout.append(&blobs(&[100]));
        layout.append(&blobs(&[FRAME_SIZE as u64, LARGE_BLOB, LARGE_BLOB - 1, 0]));
        layout.finish();
        let contents: Vec<Content> = layout
            .frames
            .iter()
            .map(|frame| frame.content.clone())
            .collect();
        assert_eq!(
            contents,
            [
                Content::First,
                Content::Shared {
                    pieces: 0..1,
                    end: false
                },
                Content::Part { piece: 1, part: 0 },
                Content::Part { piece: 1, part: 1 },
                Content::Part { piece: 2, part: 0 },
                Content::Shared {
                    pieces: 3..5,
                    end: true
                },
            ]
        );
        assert_eq!(layout.pieces[1].frames(), 2..4);
    }

    proptest! {
        #[test]
        fn frames_hold_the_whole_stream_and_never_too_much(
            groups in proptest::collection::vec(proptest::collection::vec(0_u64..3 * FRAME_SIZE as u64, 0..12), 1..4),
        ) {
            let mut layout = Layout::new(4096);
            let mut expected = 4096 + header::END as u64;
            for group in &groups {
                layout.append(&blobs(group));
                expected += group.iter().map(|size| header::record(*size)).sum::<u64>();
            }
            layout.finish();
            prop_assert_eq!(layout.content(), expected);
            prop_assert!(layout.frames.iter().all(|frame| (1..=FRAME_SIZE).contains(&frame.length)));
            // entries lie end to end: each begins where the one before ended
            let starts: Vec<u64> = layout.frames.iter().scan(0, |at, frame| {
                let start = *at;
                *at += frame.length as u64;
                Some(start)
            }).collect();
            let mut at = 4096;
            for piece in &layout.pieces {
                prop_assert_eq!(starts[piece.frame] + piece.at as u64, at);
                at += header::record(piece.size);
                prop_assert!(piece.frames().end <= layout.frames.len());
            }
        }
    }
}
