//! Making frames on several threads and handing them over in order.
//!
//! A worker takes the next unit in stream order (a shared frame, or a whole large blob, which must be hashed from
//! front to back) and fills frame buffers. Frames that may shrink go to a queue from which any idle worker compresses.
//! A frame may be filled only when it is among the next few to be written, and there is a buffer for each of those:
//! so the frame the writer waits for always finds one, and no number of jobs or blobs uses more memory. A worker that
//! waits for its turn compresses meanwhile; that is what makes a single worker enough.

use std::collections::{HashMap, VecDeque};
use std::io::Read;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::output::Output;
use crate::frame::{self, Compressor};
use crate::layout::{Content, Layout, Piece};
use crate::pool::{self, Buffer};
use crate::{BlobSource, BundleTree, Error, Event, Hasher, Result, header};

/// Workers at most, whatever is asked for; each needs a buffer to compress into.
const MAX_WORKERS: usize = 8;

/// Frames in flight at most. With [`MAX_WORKERS`] this leaves four of the pool's buffers to others.
const MAX_WINDOW: usize = 8;

/// A frame ready to be written.
struct Made {
    buffer: Buffer,
    /// Bytes of the compressed frame, or `None` for content to be stored.
    compressed: Option<usize>,
}

/// How the frames of a blob are made: decided on its first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Store,
    Compress,
}

/// A frame waiting to be compressed.
struct Pending {
    frame: usize,
    buffer: Buffer,
}

struct State {
    /// The next frame that no worker has begun, in stream order.
    next: usize,
    /// Frames before this one are written.
    written: usize,
    free: Vec<Buffer>,
    pending: VecDeque<Pending>,
    made: HashMap<usize, Made>,
    failed: Option<Error>,
    stop: bool,
}

struct Pipeline<'a> {
    tree: &'a BundleTree,
    layout: &'a Layout,
    source: &'a dyn BlobSource,
    window: usize,
    state: Mutex<State>,
    changed: Condvar,
}

/// Makes and writes all frames after the first.
pub(super) fn run(
    tree: &BundleTree,
    layout: &Layout,
    jobs: usize,
    source: &dyn BlobSource,
    output: &mut Output,
    report: &(dyn Fn(Event) + Sync),
) -> Result<()> {
    let workers = jobs.clamp(1, MAX_WORKERS);
    let window = (2 * workers + 2).min(MAX_WINDOW);
    let mut buffers = pool::take(window + workers);
    let scratches = buffers.split_off(window);
    let state = State {
        next: 1,
        written: 1,
        free: buffers,
        pending: VecDeque::new(),
        made: HashMap::new(),
        failed: None,
        stop: false,
    };
    let pipeline = Pipeline {
        tree,
        layout,
        source,
        window,
        state: Mutex::new(state),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for scratch in scratches {
            let pipeline = &pipeline;
            scope.spawn(move || pipeline.work(scratch));
        }
        // whatever ends the writing also ends the workers
        let _stop = Stop(&pipeline);
        for number in 1..layout.frames.len() {
            let made = pipeline.wait_for(number)?;
            let length = layout.frames[number].length;
            match made.compressed {
                None => output.write_stored(&made.buffer[..length], report)?,
                Some(size) => output.write_compressed(&made.buffer[..size], length, report)?,
            }
            report(Event::Advanced {
                bytes: length as u64,
            });
            let mut state = pipeline.lock();
            state.written = number + 1;
            state.free.push(made.buffer);
            drop(state);
            pipeline.changed.notify_all();
        }
        Ok(())
    })
}

/// Ends the workers when dropped, also when the writing thread fails or panics.
struct Stop<'a>(&'a Pipeline<'a>);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.lock().stop = true;
        self.0.changed.notify_all();
    }
}

/// What a worker does next.
enum Work {
    Compress(Pending),
    Begin(usize),
    Nothing,
}

impl Pipeline<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a frame to be made.
    fn wait_for(&self, number: usize) -> Result<Made> {
        let mut state = self.lock();
        loop {
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            if let Some(made) = state.made.remove(&number) {
                return Ok(made);
            }
            state = self.wait(state);
        }
    }

    fn work(&self, scratch: Buffer) {
        let result = Compressor::new()
            .map_err(compressor_failed)
            .and_then(|compressor| {
                let mut worker = Worker {
                    pipeline: self,
                    compressor,
                    scratch,
                };
                worker.run()
            });
        if let Err(error) = result {
            self.lock().failed.get_or_insert(error);
            self.changed.notify_all();
        }
    }

    /// Chooses the next work; compression first, for it frees the way.
    fn choose(&self) -> Work {
        let mut state = self.lock();
        loop {
            if state.stop || state.failed.is_some() {
                return Work::Nothing;
            }
            if let Some(pending) = state.pending.pop_front() {
                return Work::Compress(pending);
            }
            let next = state.next;
            if next >= self.layout.frames.len() {
                // another worker's blob may still bring frames to compress
                if state.written >= self.layout.frames.len() {
                    return Work::Nothing;
                }
            } else if next < state.written + self.window {
                state.next = match self.layout.frames[next].content {
                    Content::Part { piece, .. } => self.layout.pieces[piece].frames().end,
                    Content::First | Content::Shared { .. } => next + 1,
                };
                return Work::Begin(next);
            }
            state = self.wait(state);
        }
    }

    /// Hands a finished frame to the writing thread.
    fn hand_over(&self, frame: usize, made: Made) {
        self.lock().made.insert(frame, made);
        self.changed.notify_all();
    }
}

fn compressor_failed(source: std::io::Error) -> Error {
    Error::Io {
        operation: "compress",
        path: "a frame".into(),
        source,
    }
}

struct Worker<'a> {
    pipeline: &'a Pipeline<'a>,
    compressor: Compressor,
    scratch: Buffer,
}

impl Worker<'_> {
    fn run(&mut self) -> Result<()> {
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
            if frame < state.written + self.pipeline.window
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
        self.pipeline.hand_over(frame, Made { buffer, compressed });
        Ok(())
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

    /// Decides how a unit's frames are made, on its first, and hands that one over.
    fn decide(&mut self, frame: usize, buffer: Buffer) -> Result<Mode> {
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
        self.pipeline.hand_over(
            frame,
            Made {
                buffer,
                compressed: size,
            },
        );
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
        self.decide(number, buffer)?;
        Ok(())
    }

    fn large(&mut self, piece: &Piece) -> Result<()> {
        let layout = self.pipeline.layout;
        let mut blob: Option<OpenBlob<'_>> = None;
        let mut left = piece.size;
        let mut mode = None;
        for number in piece.frames() {
            let Some(mut buffer) = self.acquire(number)? else {
                return Ok(());
            };
            let content = &mut buffer[..layout.frames[number].length];
            let mut at = 0;
            let blob = match &mut blob {
                Some(blob) => blob,
                none => {
                    let header = piece.header();
                    at = header.len();
                    content[..at].copy_from_slice(&header);
                    none.insert(self.open(piece)?)
                }
            };
            let end = at + to_usize(left.min((content.len() - at) as u64));
            blob.fill(&mut content[at..end])?;
            content[end..].fill(0);
            left -= (end - at) as u64;
            if left == 0 {
                // checked before the last frame is handed over, so a wrong blob is never whole in any output
                blob.finish()?;
            }
            match mode {
                None => mode = Some(self.decide(number, buffer)?),
                Some(Mode::Store) => self.pipeline.hand_over(
                    number,
                    Made {
                        buffer,
                        compressed: None,
                    },
                ),
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
