//! What `lock` and `bundle` report, as phases and tracks.

use std::sync::{Mutex, PoisonError};

use airgap_bundler::{Event, Stage};

use crate::progress::{Counter, Progress, Unit, Update};
use crate::render;

/// Translates the bundler's events.
#[derive(Debug)]
pub(crate) struct BundlerEvents<'a> {
    progress: &'a Progress,
    stage: Mutex<Option<Stage>>,
    resolve: Counter<'a>,
    gather: Counter<'a>,
    fetch: Counter<'a>,
    write: Counter<'a>,
    verify: Counter<'a>,
}

impl<'a> BundlerEvents<'a> {
    /// Begins with nothing done.
    pub(crate) fn new(progress: &'a Progress) -> Self {
        Self {
            progress,
            stage: Mutex::new(None),
            resolve: progress.counter("resolve", Unit::Items),
            gather: progress.counter("gather", Unit::Items),
            fetch: progress.counter("fetch", Unit::Bytes),
            write: progress.counter("write", Unit::Bytes),
            verify: progress.counter("verify", Unit::Bytes),
        }
    }

    /// Shows one event.
    pub(crate) fn show(&self, event: Event) {
        match event {
            Event::Stage {
                stage,
                items,
                bytes,
            } => self.enter(stage, items, bytes),
            Event::Done { object } => {
                if let Some(counter) = self.items() {
                    counter.add(1);
                }
                self.progress.show(&Update::Detail(object));
            }
            Event::Fetching {
                object,
                digest,
                size,
                resumed,
            } => {
                let size = size.map(render::bytes).unwrap_or_default();
                let resumed = match resumed {
                    0 => String::new(),
                    bytes => format!(", of which {} are here already", render::bytes(bytes)),
                };
                let detail = format!("fetching {object} {digest} {size}{resumed}");
                self.progress.show(&Update::Detail(detail));
            }
            Event::Received { bytes } => self.fetch.add(bytes),
            Event::Evicted { digest } => self.progress.show(&Update::Warning(format!(
                "the cached copy of {digest} was damaged: it is fetched again"
            ))),
            Event::Warning { message } => self.progress.show(&Update::Warning(message)),
            Event::Archive(event) => self.archive(event),
        }
    }

    /// Ends the last stage.
    pub(crate) fn finish(&self) {
        self.leave();
    }

    fn enter(&self, stage: Stage, items: u64, bytes: u64) {
        self.leave();
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = Some(stage);
        let phase = match stage {
            Stage::Resolve => "asking upstream what there is",
            Stage::Gather => "reading manifests and charts",
            Stage::Write => "fetching and writing",
            Stage::Verify => "reading back what was written",
        };
        self.progress.show(&Update::Phase(phase.to_owned()));
        match stage {
            Stage::Resolve => self.resolve.set_total(items),
            Stage::Gather => self.gather.set_total(items),
            Stage::Write if bytes > 0 => self.fetch.set_total(bytes),
            Stage::Write | Stage::Verify => {}
        }
    }

    fn leave(&self) {
        let stage = self
            .stage
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match stage {
            Some(Stage::Resolve) => self.resolve.finish(),
            Some(Stage::Gather) => self.gather.finish(),
            Some(Stage::Write) => {
                self.fetch.finish();
                self.write.finish();
            }
            Some(Stage::Verify) => self.verify.finish(),
            None => {}
        }
    }

    fn current(&self) -> Option<Stage> {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn items(&self) -> Option<&Counter<'a>> {
        match self.current()? {
            Stage::Resolve => Some(&self.resolve),
            Stage::Gather => Some(&self.gather),
            Stage::Write | Stage::Verify => None,
        }
    }

    fn archive(&self, event: airgap_archive::Event) {
        let counter = if self.current() == Some(Stage::Verify) {
            &self.verify
        } else {
            &self.write
        };
        match event {
            airgap_archive::Event::Started { total } => counter.set_total(total),
            airgap_archive::Event::Advanced { bytes } => counter.add(bytes),
            airgap_archive::Event::StartedOver { digest } => {
                counter.restart();
                self.progress.show(&Update::Warning(format!(
                    "{digest} did not hash right: the bundle is written anew"
                )));
            }
            airgap_archive::Event::Volume { number, path } => {
                self.progress
                    .show(&Update::Detail(format!("volume {number}: {path}")));
            }
        }
    }
}
