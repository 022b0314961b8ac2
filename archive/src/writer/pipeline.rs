//! Making frames on several threads, and writing each where it belongs.
//!
//! A worker takes the next unit in stream order (a shared frame, or a whole large blob, which must be hashed from
//! front to back). A frame's place follows from the lengths of all before it; those of a stored blob are known once its
//! first frame is decided on, so the next blob can begin at once and every core hashes. A worker writes the frames of such a blob
//! itself. Everything else is filled into one of a few buffers: only a frame that is among the next to get a place may be
//! filled, and there is a buffer for each of those, so no number of jobs or blobs uses more memory. Frames that may
//! shrink go to a queue from which any idle worker compresses. A worker that waits for its turn compresses meanwhile;
//! that is what makes a single worker enough.
//!
//! On file systems that fill gaps, as those of sticks do, frames are written in order.

#[cfg(test)]
mod tests;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use self::worker::Worker;
use super::output::Output;
use super::target::Target;
use crate::frame;
use crate::layout::{Content, Layout};
use crate::pool::{self, Buffer};
use crate::{BlobSource, BundleTree, Error, Event, Result};

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

/// What is known of frames that have no place yet.
enum Known {
    /// A compressed frame: its bytes and their checksum.
    Compressed(usize, u32),
    /// Frames up to this number are stored.
    StoredUntil(usize),
}

struct State<'a> {
    output: &'a mut Output,
    /// The next frame that no worker has begun, in stream order.
    next: usize,
    /// Frames whose lengths are known, while one before them is not.
    known: BTreeMap<usize, Known>,
    free: Vec<Buffer>,
    pending: VecDeque<Pending>,
    made: BTreeMap<usize, Made>,
    /// Frames that are written.
    written: usize,
    failed: Option<Error>,
    stop: bool,
}

struct Pipeline<'a> {
    tree: &'a BundleTree,
    layout: &'a Layout,
    source: &'a dyn BlobSource,
    report: &'a (dyn Fn(Event) + Sync),
    window: usize,
    /// Whether frames are written as soon as they have a place, not in order.
    ahead: bool,
    state: Mutex<State<'a>>,
    changed: Condvar,
}

/// How frames are made and written.
#[derive(Clone, Copy)]
struct Way {
    jobs: usize,
    /// As soon as they have a place, not in order.
    ahead: bool,
    /// For the second time, after which nothing starts over.
    again: bool,
}

/// Makes and writes all frames after the first; `again` says that a wrong blob made the writer start over already.
pub(super) fn run(
    tree: &BundleTree,
    layout: &Layout,
    jobs: usize,
    again: bool,
    source: &dyn BlobSource,
    output: &mut Output,
    report: &(dyn Fn(Event) + Sync),
) -> Result<()> {
    let ahead = output.keeps_gaps();
    let way = Way { jobs, ahead, again };
    run_with(tree, layout, way, source, output, report)
}

fn run_with(
    tree: &BundleTree,
    layout: &Layout,
    way: Way,
    source: &dyn BlobSource,
    output: &mut Output,
    report: &(dyn Fn(Event) + Sync),
) -> Result<()> {
    let workers = way.jobs.clamp(1, MAX_WORKERS);
    let window = (2 * workers + 2).min(MAX_WINDOW);
    let mut buffers = pool::take(window + workers);
    let scratches = buffers.split_off(window);
    let state = State {
        output,
        next: 1,
        known: BTreeMap::new(),
        free: buffers,
        pending: VecDeque::new(),
        made: BTreeMap::new(),
        written: 1,
        failed: None,
        stop: false,
    };
    let pipeline = Pipeline {
        tree,
        layout,
        source,
        report,
        window,
        ahead: way.ahead,
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
        let result = pipeline.write();
        let starts_over = !way.again && matches!(result, Err(Error::BlobMismatch { .. }));
        if result.is_err() && !starts_over {
            // a worker may be waiting for a blob, and is itself waited for here
            source.give_up();
        }
        result
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

impl<'p> Pipeline<'p> {
    fn lock(&self) -> MutexGuard<'_, State<'p>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<'p>>) -> MutexGuard<'a, State<'p>> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the frames that workers hand over, until all are written.
    fn write(&self) -> Result<()> {
        while let Some((number, made, target)) = self.next_made()? {
            let length = self.layout.frames[number].length;
            let written = match made.compressed {
                None => target.write_stored(&made.buffer[..length]),
                Some(size) => target.write_compressed(&made.buffer[..size]),
            };
            self.written(number, written, Some(made.buffer))?;
        }
        Ok(())
    }

    /// Waits for a frame that is made and has its place; `None` when all are written.
    fn next_made(&self) -> Result<Option<(usize, Made, Target)>> {
        let mut state = self.lock();
        loop {
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            if state.written == self.layout.frames.len() {
                return Ok(None);
            }
            let ready = state.made.first_key_value().map(|(number, _)| *number);
            let horizon = if self.ahead {
                state.output.placed()
            } else {
                state.output.placed().min(state.written + 1)
            };
            if let Some(number) = ready.filter(|number| *number < horizon)
                && let Some(made) = state.made.remove(&number)
            {
                let target = state.output.target(number);
                return Ok(Some((number, made, target)));
            }
            state = self.wait(state);
        }
    }

    /// Notes that a frame was written, or why not, and takes its buffer back.
    fn written(
        &self,
        number: usize,
        written: std::io::Result<()>,
        buffer: Option<Buffer>,
    ) -> Result<()> {
        let mut state = self.lock();
        written.map_err(|source| state.output.not_written(number, source))?;
        state.written += 1;
        state.free.extend(buffer);
        drop(state);
        self.changed.notify_all();
        (self.report)(Event::Advanced {
            bytes: self.layout.frames[number].length as u64,
        });
        Ok(())
    }

    /// Notes the lengths of frames from `number` on, and gives places to all that can have one now.
    fn learn(&self, state: &mut State<'_>, number: usize, known: Known) -> Result<()> {
        state.known.insert(number, known);
        loop {
            let next = state.output.placed();
            let Some(known) = state.known.remove(&next) else {
                return Ok(());
            };
            let content = |frame: usize| self.layout.frames[frame].length;
            match known {
                Known::Compressed(size, checksum) => {
                    let length = content(next);
                    state.output.place(size, length, checksum, self.report)?;
                }
                Known::StoredUntil(end) => {
                    for frame in next..end {
                        let length = content(frame);
                        let size = frame::stored_size(length);
                        state.output.place(size, length, 0, self.report)?;
                    }
                }
            }
        }
    }

    /// Returns where a frame of a stored blob goes, if that is known and it may be written out of turn.
    fn target(&self, number: usize) -> Option<Target> {
        let state = self.lock();
        (self.ahead && number < state.output.placed() && !state.stop && state.failed.is_none())
            .then(|| state.output.target(number))
    }

    /// Returns the first frame that may not be filled yet.
    fn horizon(&self, state: &State<'_>) -> usize {
        let begun = if self.ahead {
            state.output.placed()
        } else {
            state.written
        };
        begun + self.window
    }

    fn work(&self, scratch: Buffer) {
        let result = Worker::new(self, scratch).and_then(|mut worker| worker.run());
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
                if state.output.placed() >= self.layout.frames.len() {
                    return Work::Nothing;
                }
            } else if next < self.horizon(&state) {
                state.next = match self.layout.frames[next].content {
                    Content::Part { piece, .. } => self.layout.pieces[piece].frames().end,
                    Content::First | Content::Shared { .. } => next + 1,
                };
                return Work::Begin(next);
            }
            state = self.wait(state);
        }
    }

    /// Hands a finished frame to the writing thread; `stored_until` is the end of the frames that are stored like it.
    fn hand_over(&self, frame: usize, made: Made, stored_until: usize) -> Result<()> {
        let known = match made.compressed {
            Some(size) => Known::Compressed(size, frame::checksum(&made.buffer[..size])),
            None => Known::StoredUntil(stored_until),
        };
        let mut state = self.lock();
        // of a blob that is stored, all lengths were known with the first frame's
        if frame >= state.output.placed() && !state.covers(frame) {
            self.learn(&mut state, frame, known)?;
        }
        state.made.insert(frame, made);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }
}

impl State<'_> {
    /// Says whether a frame's length is known with an earlier one's.
    fn covers(&self, frame: usize) -> bool {
        let before = self.known.range(..frame).next_back();
        matches!(before, Some((_, Known::StoredUntil(end))) if frame < *end)
    }
}
