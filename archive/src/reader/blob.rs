//! Streaming one blob, verified before its end is given away.

use std::io::{self, Read};
use std::ops::Range;

use bytes::Bytes;

use super::VerifiedArchive;
use super::frames::Failure;
use crate::frame::Decompressor;
use crate::layout::Piece;
use crate::pool::{self, Buffer};
use crate::{Error, Result, check};

/// Streams one blob, and withholds its last frame until the blob's hash agreed.
///
/// Whoever got the end of the stream got exactly the blob; whoever got an error must discard what came before.
/// After an error the stream stays failed.
pub struct BlobReader {
    archive: VerifiedArchive,
    piece: usize,
    state: State,
    /// What [`Read`] has not handed out yet.
    pending: Option<(Chunk, usize)>,
}

enum State {
    Small,
    Large {
        check: Box<check::Large>,
        next: usize,
        decompressor: Decompressor,
    },
    Done,
    Failed,
}

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader")
            .field("digest", &self.piece().digest)
            .finish_non_exhaustive()
    }
}

impl BlobReader {
    pub(super) fn new(archive: VerifiedArchive, piece: usize) -> Result<Self> {
        let state = {
            let piece = &archive.inner.layout.pieces[piece];
            if piece.is_large() {
                let failed = |source| Error::Io {
                    operation: "decompress",
                    path: archive.inner.frames.path(piece.frame).to_owned(),
                    source,
                };
                let decompressor = Decompressor::new().map_err(failed)?;
                State::Large {
                    check: Box::new(check::Large::new(piece)),
                    next: piece.frame,
                    decompressor,
                }
            } else {
                State::Small
            }
        };
        Ok(Self {
            archive,
            piece,
            state,
            pending: None,
        })
    }

    fn piece(&self) -> &Piece {
        &self.archive.inner.layout.pieces[self.piece]
    }

    /// Returns the blob's size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.piece().size
    }

    /// Returns the next bytes (at most 4 MiB), or `None` after the last.
    ///
    /// Blocks for a buffer of the process-wide pool: release each chunk before long, and never collect them.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let piece = &self.archive.inner.layout.pieces[self.piece];
        let frames = &self.archive.inner.frames;
        match &mut self.state {
            State::Done => Ok(None),
            State::Failed => {
                let reason = "an earlier read of it failed";
                Err(Failure::Damaged(reason).into_error(piece, frames.path(piece.frame)))
            }
            State::Small => {
                let read = self.archive.inner.small(piece);
                self.state = if read.is_ok() {
                    State::Done
                } else {
                    State::Failed
                };
                let bytes = read?;
                Ok((!bytes.is_empty()).then(|| Chunk(Memory::Copied(bytes))))
            }
            State::Large {
                check,
                next,
                decompressor,
            } => {
                let number = *next;
                let length = self.archive.inner.layout.frames[number].length;
                // a stored frame needs no second buffer; one that needs two takes them at once
                let mut buffers = pool::take(if frames.is_stored(number) { 1 } else { 2 });
                let mut content = buffers.swap_remove(0);
                let scratch: &mut [u8] = buffers
                    .first_mut()
                    .map_or(&mut [], |buffer| &mut buffer[..]);
                let read = frames.read(number, &mut content[..length], scratch, decompressor);
                drop(buffers);
                let range = read
                    .and_then(|()| {
                        check
                            .next(piece, &content[..length])
                            .map_err(Failure::Damaged)
                    })
                    .map_err(|failure| failure.into_error(piece, frames.path(number)));
                *next += 1;
                let last = *next == piece.frames().end;
                match range {
                    Ok(range) => {
                        if last {
                            self.state = State::Done;
                        }
                        // a last part can hold nothing but padding
                        Ok((!range.is_empty()).then(|| Chunk(Memory::Pooled(content, range))))
                    }
                    Err(error) => {
                        self.state = State::Failed;
                        Err(error)
                    }
                }
            }
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.pending.is_none() {
            let Some(chunk) = self.next_chunk().map_err(io::Error::other)? else {
                return Ok(0);
            };
            self.pending = Some((chunk, 0));
        }
        let Some((chunk, at)) = &mut self.pending else {
            return Ok(0);
        };
        let rest = &chunk.as_ref()[*at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        *at += count;
        if *at == chunk.as_ref().len() {
            self.pending = None;
        }
        Ok(count)
    }
}

/// Bytes of a blob, mostly in a pooled buffer, which returns to the pool when dropped.
///
/// `Bytes::from(chunk)` shares it without a copy.
#[derive(Debug)]
pub struct Chunk(Memory);

#[derive(Debug)]
enum Memory {
    Pooled(Buffer, Range<usize>),
    Copied(Bytes),
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Memory::Pooled(buffer, range) => &buffer[range.clone()],
            Memory::Copied(bytes) => bytes,
        }
    }
}

impl From<Chunk> for Bytes {
    fn from(chunk: Chunk) -> Self {
        match chunk.0 {
            Memory::Copied(bytes) => bytes,
            pooled @ Memory::Pooled(..) => Self::from_owner(Chunk(pooled)),
        }
    }
}
