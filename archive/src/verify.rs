//! Checking every byte of a bundle.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use camino::Utf8PathBuf;
use oci_spec::image::Digest;

use crate::frame::Decompressor;
use crate::layout::{Content, Piece};
use crate::pool::{self, Buffer};
use crate::reader::Failure;
use crate::{Event, Result, VerifiedArchive, check};

/// Threads at most: each holds two frame buffers of the pool, and two stay for others.
const MAX_JOBS: usize = (pool::BUFFERS - 2) / 2;

/// One thing wrong with a bundle whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The blob, where one is concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The names of the top-level entries that need it.
    pub entries: Vec<String>,
    /// The file that holds it.
    pub volume: Utf8PathBuf,
    /// What is wrong, in one lower-case phrase.
    pub problem: String,
}

/// A unit of work: a shared frame, or a large entry with all its frames.
#[derive(Debug, Clone, Copy)]
enum Task {
    Shared(usize),
    Large(usize),
}

impl VerifiedArchive {
    /// Hashes every blob and compares every header and padding byte, on up to `jobs` threads.
    ///
    /// Lists every finding, not the first, in the order of the bundle; an empty list means that every byte is what
    /// the signed index says. What stands outside the frames was compared when the bundle was opened.
    pub fn verify_all(&self, jobs: usize, report: &(dyn Fn(Event) + Sync)) -> Result<Vec<Finding>> {
        let inner = &self.inner;
        let mut tasks: Vec<Task> = Vec::new();
        for (number, frame) in inner.layout.frames.iter().enumerate() {
            match frame.content {
                Content::Shared { .. } => tasks.push(Task::Shared(number)),
                Content::Part { piece, part: 0 } => tasks.push(Task::Large(piece)),
                Content::First | Content::Part { .. } => {}
            }
        }
        report(Event::Started {
            total: self.content_bytes(),
        });
        report(Event::Advanced {
            bytes: inner.layout.frames[0].length as u64,
        });
        let next = AtomicUsize::new(0);
        let problems = Mutex::new(BTreeMap::new());
        let failures = std::thread::scope(|scope| {
            let work = || -> Result<(), Failure> {
                let mut buffers = pool::take(2);
                let mut decompressor = Decompressor::new().map_err(Failure::Io)?;
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = self.verify_task(*task, &mut buffers, &mut decompressor, report);
                    problems
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend(found);
                }
                Ok(())
            };
            let threads: Vec<_> = (0..jobs.clamp(1, MAX_JOBS))
                .map(|_| scope.spawn(work))
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                        .err()
                })
                .count()
        });
        let mut problems = problems
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if failures > 0 {
            problems.insert(
                (0, 0),
                "not checked: the decompressor could not be set up".to_owned(),
            );
        }
        if problems.is_empty() {
            return Ok(Vec::new());
        }
        let users = self.users();
        let findings = problems.into_iter().map(|((frame, piece), problem)| {
            let digest = inner
                .layout
                .pieces
                .get(piece)
                .map(|piece| piece.digest.clone());
            let entries = digest
                .as_ref()
                .and_then(|digest| users.get(digest))
                .cloned()
                .unwrap_or_default();
            let volume = inner.frames.path(frame).to_owned();
            Finding {
                digest,
                entries: entries.into_iter().collect(),
                volume,
                problem,
            }
        });
        Ok(findings.collect())
    }

    /// Verifies one task and returns its problems by frame and entry; an entry past the last stands for none.
    fn verify_task(
        &self,
        task: Task,
        buffers: &mut [Buffer],
        decompressor: &mut Decompressor,
        report: &(dyn Fn(Event) + Sync),
    ) -> Vec<((usize, usize), String)> {
        let inner = &self.inner;
        let [content, scratch] = buffers else {
            return Vec::new();
        };
        let advance = |bytes: usize| {
            report(Event::Advanced {
                bytes: bytes as u64,
            });
        };
        match task {
            Task::Shared(number) => {
                let frame = &inner.layout.frames[number];
                let Content::Shared { pieces, end } = &frame.content else {
                    return Vec::new();
                };
                let content = &mut content[..frame.length];
                let read = inner.frames.read(number, content, scratch, decompressor);
                advance(frame.length);
                if let Err(failure) = read {
                    let problem = failure.describe();
                    if pieces.is_empty() {
                        return vec![((number, usize::MAX), problem)];
                    }
                    return pieces
                        .clone()
                        .map(|piece| ((number, piece), problem.clone()))
                        .collect();
                }
                let mut found = Vec::new();
                for piece in pieces.clone() {
                    if let Err(problem) = check::small(&inner.layout.pieces[piece], content) {
                        found.push(((number, piece), problem.to_owned()));
                    }
                }
                if *end && let Err(problem) = check::end(content) {
                    found.push(((number, usize::MAX), problem.to_owned()));
                }
                found
            }
            Task::Large(number) => {
                let piece: &Piece = &inner.layout.pieces[number];
                let mut checker = check::Large::new(piece);
                let mut problem = None;
                for frame in piece.frames() {
                    let length = inner.layout.frames[frame].length;
                    if problem.is_none() {
                        let content = &mut content[..length];
                        let outcome = inner
                            .frames
                            .read(frame, content, scratch, decompressor)
                            .and_then(|()| checker.next(piece, content).map_err(Failure::Damaged));
                        problem = outcome
                            .err()
                            .map(|failure| ((frame, number), failure.describe()));
                    }
                    advance(length);
                }
                problem.into_iter().collect()
            }
        }
    }

    /// Returns for every blob the names of the entries that need it.
    fn users(&self) -> HashMap<Digest, BTreeSet<String>> {
        let mut users: HashMap<Digest, BTreeSet<String>> = HashMap::new();
        for entry in self.entries() {
            let subject = || {
                entry
                    .subject
                    .as_ref()
                    .map(|subject| format!("{} of {subject}", entry.role))
            };
            let name = entry.name.clone().or_else(subject).unwrap_or_default();
            let mut open = vec![entry.descriptor.digest().clone()];
            while let Some(digest) = open.pop() {
                if users
                    .entry(digest.clone())
                    .or_default()
                    .insert(name.clone())
                {
                    let references = self.references(&digest).unwrap_or_default();
                    open.extend(
                        references
                            .iter()
                            .map(|descriptor| descriptor.digest().clone()),
                    );
                }
            }
        }
        users
    }
}

impl Failure {
    fn describe(&self) -> String {
        match self {
            Self::Io(error) => format!("cannot be read: {error}"),
            Self::Damaged(reason) => (*reason).to_owned(),
        }
    }
}
