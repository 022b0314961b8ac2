//! What `preflight` and `install` report, as phases, lines and tracks.

use std::sync::{Mutex, PoisonError};

use airgap_installer::{Event, Phase};

use crate::progress::{Counter, Progress, Unit, Update};
use crate::render;

/// Translates the installer's events.
#[derive(Debug)]
pub(crate) struct InstallerEvents<'a> {
    progress: &'a Progress,
    push: Counter<'a>,
    verify: Counter<'a>,
    last_wave: Mutex<String>,
}

impl<'a> InstallerEvents<'a> {
    /// Begins with nothing done.
    pub(crate) fn new(progress: &'a Progress) -> Self {
        Self {
            progress,
            push: progress.counter("push", Unit::Bytes),
            verify: progress.counter("verify", Unit::Bytes),
            last_wave: Mutex::new(String::new()),
        }
    }

    /// Shows one event.
    pub(crate) fn show(&self, event: &Event) {
        match event {
            Event::PhaseStarted { phase } => self.say(&Update::Phase(phase.title().to_owned())),
            Event::PhaseDone { phase, changes } => {
                if *phase == Phase::Registry {
                    self.push.finish();
                }
                self.say(&match changes {
                    0 => Update::Detail(format!("{phase}: nothing to change")),
                    some => Update::Done(format!("{phase}: {some} changed")),
                });
            }
            Event::Host { host, message } => self.say(&Update::Done(format!("{host}: {message}"))),
            Event::Notice { message } => self.say(&Update::Done(message.clone())),
            Event::Warning { message } => self.say(&Update::Warning(message.clone())),
            Event::PushPlanned {
                tags,
                present,
                blobs,
                bytes,
            } => {
                self.push.set_total(*bytes);
                self.say(&Update::Done(format!(
                    "{tags} tags to push, {present} right already; at most {} in {blobs} blobs",
                    render::bytes(*bytes)
                )));
            }
            Event::PushProgress { bytes } => self.push.add(*bytes),
            Event::PushedBlob { digest, size, sent } => {
                let how = if *sent { "sent" } else { "there already" };
                self.say(&Update::Detail(format!(
                    "blob {digest} ({}) {how}",
                    render::bytes(*size)
                )));
            }
            Event::PushRetry { digest, reason } => {
                self.say(&Update::Warning(format!(
                    "blob {digest} is sent again: {reason}"
                )));
            }
            Event::PushedTag { name } => self.say(&Update::Detail(format!("pushed {name}"))),
            Event::Verified { bytes, total } => {
                self.verify.set_total(*total);
                self.verify.add(*bytes);
            }
            Event::Wave {
                wave,
                of,
                healthy,
                total,
                waiting,
            } => {
                self.wave(*wave, *of, *healthy, *total, waiting);
            }
        }
    }

    fn say(&self, update: &Update) {
        self.progress.show(update);
    }

    /// A wave is asked about every few seconds, but only what changed is worth a line.
    fn wave(&self, wave: u64, of: u64, healthy: u64, total: u64, waiting: &[String]) {
        let mut text = format!("wave {wave} of {of}: {healthy} of {total} healthy");
        if !waiting.is_empty() {
            text = format!("{text}; waiting for {}", waiting.join(", "));
        }
        let mut last = self
            .last_wave
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *last != text {
            last.clone_from(&text);
            self.progress.show(&Update::Done(text));
        }
    }
}
