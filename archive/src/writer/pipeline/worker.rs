//! A worker of the pipeline: reads and hashes units, compresses, and writes the frames of stored blobs itself.

use std::io::Read;

use super::{Made, Mode, Pending, Pipeline, Work};
use crate::frame::{self, Compressor};
use crate::layout::{Content, Piece};
use crate::pool::Buffer;
use crate::{Error, Hasher, Result, header};

fn compressor_failed(source: std::io::Error) -> Error {
    Error::Io {
        operation: "compress",
        path: "a frame".into(),
        source,
    }
}

/// One thread's share of the work.
pub(super) struct Worker<'a, 'p> {
    pipeline: &'a Pipeline<'p>,
    compressor: Compressor,
    scratch: Buffer,
}

impl<'a, 'p> Worker<'a, 'p> {
    /// Makes a worker with a buffer of its own.
    pub(super) fn new(pipeline: &'a Pipeline<'p>, scratch: Buffer) -> Result<Self> {
        Ok(Self {
            pipeline,
            compressor: Compressor::new().map_err(compressor_failed)?,
            scratch,
        })
    }

    /// Works until there is nothing left, or somebody failed.
    pub(super) fn run(&mut self) -> Result<()> {
        loop {
            match self.pipeline.choose() {
                Work::Nothing => return Ok(()),
                Work::Compress(pending) => self.compress(pending)?,
                Work::Begin(frame) => match &self.pipeline.layout.frames[frame].content {
                    Content::Part { piece, .. } => {
                        self.large(&self.pipeline.layout.pieces[*piece])?;
                    }
                    Content::Shared { .. } | Content::First => self.shared(frame)?,
                },
            }
        }
    }

    /// Waits until `frame` may be filled and returns its buffer; compresses meanwhile. `None` means to stop.
    fn acquire(&mut self, frame: usize) -> Result<Option<Buffer>> {
        let mut state = self.pipeline.lock();
        loop {
            if state.stop || state.failed.is_some() {
                return Ok(None);
            }
            if frame < self.pipeline.horizon(&state)
                && let Some(buffer) = state.free.pop()
            {
                return Ok(Some(buffer));
            }
            if let Some(pending) = state.pending.pop_front() {
                drop(state);
                self.compress(pending)?;
                state = self.pipeline.lock();
            } else {
                state = self.pipeline.wait(state);
            }
        }
    }

    /// Compresses a frame, or leaves it to be stored when that is no larger.
    fn compress(&mut self, pending: Pending) -> Result<()> {
        let Pending { frame, mut buffer } = pending;
        let compressed = self.try_compress(frame, &mut buffer)?;
        let ready = Made { buffer, compressed };
        self.pipeline.hand_over(frame, ready, frame + 1)
    }

    /// Replaces content by its compressed frame when that is smaller than the stored one.
    fn try_compress(&mut self, frame: usize, buffer: &mut Buffer) -> Result<Option<usize>> {
        let length = self.pipeline.layout.frames[frame].length;
        let size = self
            .compressor
            .compress(&buffer[..length], &mut self.scratch)
            .map_err(compressor_failed)?;
        if size.is_some() {
            std::mem::swap(buffer, &mut self.scratch);
        }
        Ok(size)
    }

    /// Decides how a unit's frames, up to `end`, are made, on its first, and hands that one over.
    fn decide(&mut self, frame: usize, end: usize, buffer: Buffer) -> Result<Mode> {
        let length = self.pipeline.layout.frames[frame].length;
        let size = self
            .compressor
            .compress(&buffer[..length], &mut self.scratch)
            .map_err(compressor_failed)?;
        let size = size.filter(|size| frame::worthwhile(length, *size));
        let (buffer, mode) = match size {
            Some(_) => (std::mem::replace(&mut self.scratch, buffer), Mode::Compress),
            None => (buffer, Mode::Store),
        };
        let ready = Made {
            buffer,
            compressed: size,
        };
        self.pipeline.hand_over(frame, ready, end)?;
        Ok(mode)
    }

    fn shared(&mut self, number: usize) -> Result<()> {
        let frame = &self.pipeline.layout.frames[number];
        let Some(mut buffer) = self.acquire(number)? else {
            return Ok(());
        };
        let content = &mut buffer[..frame.length];
        if let Content::Shared { pieces, .. } = &frame.content {
            content.fill(0);
            for piece in &self.pipeline.layout.pieces[pieces.clone()] {
                let start = piece.at + header::BLOCK;
                content[piece.at..start].copy_from_slice(&piece.header());
                let mut blob = self.open(piece)?;
                let place = &mut content[start..start + to_usize(piece.size)];
                blob.fill(place)?;
                blob.finish()?;
            }
        }
        self.decide(number, number + 1, buffer)?;
        Ok(())
    }

    fn large(&mut self, piece: &Piece) -> Result<()> {
        let layout = self.pipeline.layout;
        let mut blob = self.open(piece)?;
        let mut header = Some(piece.header());
        let mut left = piece.size;
        let mut mode = None;
        let mut fill = |content: &mut [u8]| -> Result<()> {
            let mut at = 0;
            if let Some(header) = header.take() {
                at = header.len();
                content[..at].copy_from_slice(&header);
            }
            let end = at + to_usize(left.min((content.len() - at) as u64));
            blob.fill(&mut content[at..end])?;
            content[end..].fill(0);
            left -= (end - at) as u64;
            if left == 0 {
                // checked before the last frame is written, so a wrong blob is never whole in any output
                blob.finish()?;
            }
            Ok(())
        };
        for number in piece.frames() {
            let length = layout.frames[number].length;
            if mode == Some(Mode::Store)
                && let Some(target) = self.pipeline.target(number)
            {
                let content = &mut self.scratch[..length];
                fill(content)?;
                let written = target.write_stored(content);
                self.pipeline.written(number, written, None)?;
                continue;
            }
            let Some(mut buffer) = self.acquire(number)? else {
                return Ok(());
            };
            fill(&mut buffer[..length])?;
            match mode {
                None if frame::is_compressed_already(&buffer[header::BLOCK..length]) => {
                    mode = Some(Mode::Store);
                    let ready = Made {
                        buffer,
                        compressed: None,
                    };
                    self.pipeline.hand_over(number, ready, piece.frames().end)?;
                }
                None => mode = Some(self.decide(number, piece.frames().end, buffer)?),
                Some(Mode::Store) => {
                    let ready = Made {
                        buffer,
                        compressed: None,
                    };
                    self.pipeline.hand_over(number, ready, piece.frames().end)?;
                }
                Some(Mode::Compress) => {
                    self.pipeline.lock().pending.push_back(Pending {
                        frame: number,
                        buffer,
                    });
                    self.pipeline.changed.notify_all();
                }
            }
        }
        Ok(())
    }

    fn open(&self, piece: &Piece) -> Result<OpenBlob<'static>> {
        let digest = piece.digest.clone();
        let reader: Box<dyn Read + Send> = match self.pipeline.tree.supplied(&digest) {
            Some(bytes) => Box::new(std::io::Cursor::new(bytes.clone())),
            None => self
                .pipeline
                .source
                .open(&digest, piece.size)
                .map_err(|source| Error::BlobSource {
                    digest: digest.clone(),
                    source,
                })?,
        };
        Ok(OpenBlob {
            digest,
            reader,
            hasher: Hasher::new(),
        })
    }
}

/// A blob being read and hashed.
struct OpenBlob<'a> {
    digest: oci_spec::image::Digest,
    reader: Box<dyn Read + Send + 'a>,
    hasher: Hasher,
}

impl OpenBlob<'_> {
    /// Reads exactly the next bytes, hashing while they are warm in the cache.
    fn fill(&mut self, mut place: &mut [u8]) -> Result<()> {
        while !place.is_empty() {
            let count = place.len().min(256 * 1024);
            match self.reader.read(&mut place[..count]) {
                Ok(0) => {
                    return Err(Error::BlobMismatch {
                        digest: self.digest.clone(),
                    });
                }
                Ok(read) => {
                    self.hasher.update(&place[..read]);
                    place = &mut place[read..];
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::BlobSource {
                        digest: self.digest.clone(),
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Demands that the blob ends here and has its digest.
    fn finish(&mut self) -> Result<()> {
        let mut more = [0];
        let ended = loop {
            match self.reader.read(&mut more) {
                Ok(read) => break read == 0,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::BlobSource {
                        digest: self.digest.clone(),
                        source,
                    });
                }
            }
        };
        let digest = std::mem::take(&mut self.hasher).finish();
        if ended && digest == self.digest {
            Ok(())
        } else {
            Err(Error::BlobMismatch {
                digest: self.digest.clone(),
            })
        }
    }
}

fn to_usize(size: u64) -> usize {
    usize::try_from(size).expect("within a frame")
}
