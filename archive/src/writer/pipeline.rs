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

/// Makes and writes all frames after the first.
pub(super) fn run(
    tree: &BundleTree,
    layout: &Layout,
    jobs: usize,
    source: &dyn BlobSource,
    output: &mut Output,
    report: &(dyn Fn(Event) + Sync),
) -> Result<()> {
    let ahead = output.keeps_gaps();
    run_with(tree, layout, jobs, source, output, ahead, report)
}

fn run_with(
    tree: &BundleTree,
    layout: &Layout,
    jobs: usize,
    source: &dyn BlobSource,
    output: &mut Output,
    ahead: bool,
    report: &(dyn Fn(Event) + Sync),
) -> Result<()> {
    let workers = jobs.clamp(1, MAX_WORKERS);
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
        ahead,
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
        while let Some((number, made, target)) = pipeline.next_made()? {
            let length = layout.frames[number].length;
            let written = match made.compressed {
                None => target.write_stored(&made.buffer[..length]),
                Some(size) => target.write_compressed(&made.buffer[..size]),
            };
            pipeline.written(number, written, Some(made.buffer))?;
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

impl<'p> Pipeline<'p> {
    fn lock(&self) -> MutexGuard<'_, State<'p>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<'p>>) -> MutexGuard<'a, State<'p>> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{self, Read};

    use bytes::Bytes;
    use camino::Utf8Path;
    use oci_spec::image::{Digest, MediaType};

    use super::*;
    use crate::tree::Plan;
    use crate::{Addition, BundleInfo, Role, WriteOptions, digest_of};

    struct Blobs(HashMap<Digest, Bytes>);

    impl BlobSource for Blobs {
        fn open(&self, digest: &Digest, _: u64) -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(io::Cursor::new(self.0[digest].clone())))
        }
    }

    /// Bytes that do not shrink.
    fn noise(length: usize, mut state: u64) -> Vec<u8> {
        let next = std::iter::repeat_with(move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33).to_le_bytes()[0]
        });
        next.take(length).collect()
    }

    /// A tree of blobs that are stored, that shrink, and that share frames, largest first in no order of kind.
    fn tree() -> (BundleTree, Blobs) {
        let mut blobs = HashMap::new();
        let mut layers = Vec::new();
        for (number, size) in [(1, 9), (2, 30), (3, 14), (4, 13), (5, 31), (6, 2), (7, 2)] {
            let size = (size << 20) + 77;
            let content = if number % 3 == 2 {
                (0..size)
                    .map(|at| (at as u64 / 1000 % 251).to_le_bytes()[0])
                    .collect()
            } else {
                noise(size, number)
            };
            layers.push(Bytes::from(content));
        }
        layers.extend((0..40).map(|number| Bytes::from(noise(100_000 + number, 99))));
        let layers: Vec<_> = layers
            .into_iter()
            .map(|content| {
                let (digest, size) = (digest_of(&content), content.len());
                blobs.insert(digest.clone(), content);
                serde_json::json!({"mediaType": "x/layer", "digest": digest, "size": size})
            })
            .collect();
        let mut tree = BundleTree::new(BundleInfo {
            name: "test".to_owned(),
            edition: "test".to_owned(),
            version: "1.0.0".to_owned(),
            release: 1,
            platform: "all".to_owned(),
            created: jiff::Timestamp::UNIX_EPOCH,
            expires: None,
            installer_sha256: None,
            delta: None,
        });
        let config = tree.add_blob(Bytes::from_static(b"{}"));
        let manifest = serde_json::json!({
            "schemaVersion": 2, "layers": layers,
            "config": {"mediaType": "x/config", "digest": config, "size": 2},
        });
        tree.add(Addition {
            manifest: serde_json::to_vec(&manifest).unwrap().into(),
            media_type: MediaType::ImageManifest,
            role: Role::Image,
            name: Some("a/b:1".to_owned()),
            subject: None,
            platform: None,
        })
        .unwrap();
        (tree, Blobs(blobs))
    }

    #[test]
    fn in_order_or_not_with_any_number_of_workers_the_bytes_are_the_same() {
        let (tree, blobs) = tree();
        let Plan { layout, .. } = tree.plan().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let mut first = None;
        for (jobs, ahead, volume_size) in [
            (1, false, None),
            (3, false, None),
            (1, true, None),
            (2, true, None),
            (8, true, None),
            (1, false, Some(16 << 20)),
            (8, true, Some(16 << 20)),
        ] {
            let path = folder.join(format!("{jobs}-{ahead}-{volume_size:?}.tar.zst"));
            let options = WriteOptions {
                volume_size,
                ..WriteOptions::default()
            };
            let mut output = Output::create(&path, [7; 32], &options, 1).unwrap();
            output.write_stored(b"the first frame", &|_| {}).unwrap();
            let advanced = std::sync::atomic::AtomicU64::new(0);
            let report = |event| {
                if let Event::Advanced { bytes } = event {
                    advanced.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
                }
            };
            run_with(&tree, &layout, jobs, &blobs, &mut output, ahead, &report).unwrap();
            let (paths, _) = output.finish(&|_| {}).unwrap();
            let content: u64 = layout.frames[1..]
                .iter()
                .map(|frame| frame.length as u64)
                .sum();
            assert_eq!(advanced.into_inner(), content);
            let bytes: Vec<Vec<u8>> = paths
                .iter()
                .map(|path| fs_err::read(path).unwrap())
                .collect();
            match (&first, volume_size) {
                (None, _) => first = Some(bytes),
                (Some(first), None) => assert_eq!(&bytes, first, "{jobs} jobs, ahead: {ahead}"),
                (Some(_), Some(_)) if !ahead => first = Some(bytes),
                (Some(first), Some(_)) => assert_eq!(&bytes, first, "{jobs} jobs in volumes"),
            }
        }
    }

    #[test]
    fn a_blob_that_is_not_what_it_should_be_ends_all_workers() {
        let (tree, mut blobs) = tree();
        let Plan { layout, .. } = tree.plan().unwrap();
        let last = layout
            .pieces
            .iter()
            .rfind(|piece| piece.is_large())
            .unwrap();
        let digest = last.digest.clone();
        blobs
            .0
            .insert(digest.clone(), Bytes::from(noise(1 << 20, 5)));
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path())
            .unwrap()
            .join("b.tar.zst");
        for ahead in [false, true] {
            let mut output = Output::create(&path, [7; 32], &WriteOptions::default(), 1).unwrap();
            output.write_stored(b"the first frame", &|_| {}).unwrap();
            let error =
                run_with(&tree, &layout, 4, &blobs, &mut output, ahead, &|_| {}).unwrap_err();
            assert!(matches!(error, Error::BlobMismatch { digest: found } if found == digest));
            output.restart().unwrap();
            assert_eq!(output.placed(), 1);
        }
    }
}
