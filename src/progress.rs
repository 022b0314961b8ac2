//! Shows what is under way: bars on a terminal, plain lines elsewhere, JSON lines with `--json`.
//!
//! Libraries report plain events; each command translates its library's events into [`Update`]s.
//! Invariant: drawing never fails a command and never blocks it for long; lines and JSON are rate
//! limited, and every track's end is shown whatever the rate.

mod bundler;
mod installer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};
use serde_json::json;

use crate::redact;
use crate::render;
use crate::ui::{ProgressStyle, Style, Ui, write_err};

pub(crate) use bundler::BundlerEvents;
pub(crate) use installer::InstallerEvents;

/// Set when the command was interrupted: what is still ending has nothing more to show.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Shows nothing more, whatever threads still report.
pub(crate) fn stop(ui: &Ui) {
    let was = STOPPED.swap(true, Ordering::Relaxed);
    if !was && ui.progress_style() == ProgressStyle::Bars {
        // below what the bars have drawn
        write_err("\n");
    }
}

/// The least time between two plain lines of one track.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// The least time between two JSON lines of one track.
const JSON_INTERVAL: Duration = Duration::from_millis(500);
/// Work shorter than this is not worth a bar.
const BAR_DELAY: Duration = Duration::from_millis(250);

/// Something a user may want to see while a command works.
#[derive(Debug, Clone)]
pub(crate) enum Update {
    /// A new phase began.
    Phase(String),
    /// One thing was done, worth a line.
    Done(String),
    /// Something is worth knowing in detail only.
    Detail(String),
    /// Something is wrong, though not wrong enough to stop.
    Warning(String),
}

/// Draws updates; shared by all threads of a command.
#[derive(Debug)]
pub(crate) struct Progress {
    style: ProgressStyle,
    quiet_lines: bool,
    strong: String,
    bars: MultiProgress,
    tracks: Mutex<BTreeMap<String, Track>>,
}

/// What a track counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes, shown with rate and time left.
    Bytes,
    /// Things, just counted.
    Items,
}

/// Adds up what a track's library reports piece by piece.
#[derive(Debug)]
pub(crate) struct Counter<'a> {
    progress: &'a Progress,
    track: &'a str,
    unit: Unit,
    state: Mutex<(u64, Option<u64>)>,
}

impl Counter<'_> {
    /// Sets how much there is to do.
    pub(crate) fn set_total(&self, total: u64) {
        self.change(|state| state.1 = Some(total));
    }

    /// So much more is done.
    pub(crate) fn add(&self, amount: u64) {
        self.change(|state| state.0 = state.0.saturating_add(amount));
    }

    /// The work starts again from nothing.
    pub(crate) fn restart(&self) {
        self.change(|state| state.0 = 0);
    }

    /// The work is done.
    pub(crate) fn finish(&self) {
        self.progress.finish(self.track);
    }

    fn change(&self, change: impl FnOnce(&mut (u64, Option<u64>))) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        self.progress
            .advance(self.track, self.unit, state.0, state.1);
    }
}

#[derive(Debug)]
struct Track {
    bar: Option<ProgressBar>,
    started: Instant,
    unit: Unit,
    shown: Option<Instant>,
    done: u64,
    total: Option<u64>,
}

impl Progress {
    /// Draws as the user wished.
    pub(crate) fn new(ui: &Ui) -> Self {
        let style = ui.progress_style();
        let target = if style == ProgressStyle::Bars {
            ProgressDrawTarget::stderr_with_hz(15)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            style,
            quiet_lines: ui.is_quiet() || ui.is_json(),
            strong: ui.paint_err(Style::Strong, "\u{0}"),
            bars: MultiProgress::with_draw_target(target),
            tracks: Mutex::new(BTreeMap::new()),
        }
    }

    /// Shows one update.
    pub(crate) fn show(&self, update: &Update) {
        match update {
            Update::Phase(text) => {
                tracing::info!("{text}");
                self.note("phase", text, &self.strong.replace('\u{0}', text));
            }
            Update::Done(text) => {
                tracing::info!("{text}");
                self.note("done", text, &format!("  {text}"));
            }
            Update::Detail(text) => {
                tracing::debug!("{text}");
                if matches!(self.style, ProgressStyle::Json { .. }) {
                    self.json(&json!({"event": "detail", "message": redact::text(text)}));
                }
            }
            Update::Warning(text) => {
                tracing::warn!("{text}");
                self.note("warning", text, &format!("warning: {text}"));
            }
        }
    }

    /// Returns a counter for a track of so many things or bytes.
    pub(crate) fn counter<'a>(&'a self, track: &'a str, unit: Unit) -> Counter<'a> {
        Counter {
            progress: self,
            track,
            unit,
            state: Mutex::new((0, None)),
        }
    }

    /// Takes the bars off the screen.
    pub(crate) fn clear(&self) {
        let mut tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        for track in std::mem::take(&mut *tracks).into_values() {
            if let Some(bar) = track.bar {
                bar.finish_and_clear();
            }
        }
    }

    fn note(&self, event: &str, text: &str, line: &str) {
        if STOPPED.load(Ordering::Relaxed) {
            return;
        }
        match self.style {
            ProgressStyle::Json { .. } => {
                self.json(&json!({"event": event, "message": redact::text(text)}));
            }
            // above the bars, which then move down
            ProgressStyle::Bars => self
                .bars
                .suspend(|| write_err(&format!("{}\n", redact::text(line)))),
            ProgressStyle::Lines | ProgressStyle::Silent if !self.quiet_lines => {
                write_err(&format!("{}\n", redact::text(line)));
            }
            ProgressStyle::Lines | ProgressStyle::Silent => {}
        }
    }

    #[expect(
        clippy::unused_self,
        reason = "reads as what it is: this progress's JSON"
    )]
    fn json(&self, value: &serde_json::Value) {
        write_err(&format!("{value}\n"));
    }

    fn advance(&self, name: &str, unit: Unit, done: u64, total: Option<u64>) {
        if STOPPED.load(Ordering::Relaxed) {
            return;
        }
        let mut tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        let track = tracks
            .entry(name.to_owned())
            .or_insert_with(|| Track::new(unit));
        track.done = done;
        track.total = total;
        match self.style {
            ProgressStyle::Silent | ProgressStyle::Json { transfers: false } => {}
            ProgressStyle::Bars => {
                if track.bar.is_none() && track.started.elapsed() >= BAR_DELAY {
                    track.bar = Some(self.bars.add(new_bar(name, unit, total)));
                }
                if let Some(bar) = &track.bar {
                    if let Some(total) = total {
                        bar.set_length(total);
                    }
                    bar.set_position(done);
                }
            }
            ProgressStyle::Lines => {
                if track.is_due(LINE_INTERVAL) {
                    write_err(&format!("  {}\n", track.line(name)));
                }
            }
            ProgressStyle::Json { transfers: true } => {
                if track.is_due(JSON_INTERVAL) {
                    self.json(&json!({
                        "event": "progress", "track": name, "done": done, "total": total,
                    }));
                }
            }
        }
    }

    fn finish(&self, name: &str) {
        let mut tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(track) = tracks.remove(name) else {
            return;
        };
        if let Some(bar) = &track.bar {
            bar.finish_and_clear();
        }
        let text = track.summary(name);
        tracing::info!("{text}");
        match self.style {
            ProgressStyle::Silent => {}
            ProgressStyle::Bars => self.bars.suspend(|| write_err(&format!("  {text}\n"))),
            ProgressStyle::Lines => write_err(&format!("  {text}\n")),
            ProgressStyle::Json { .. } => self.json(&json!({
                "event": "finished", "track": name, "done": track.done, "total": track.total,
            })),
        }
    }
}

impl Track {
    fn new(unit: Unit) -> Self {
        Self {
            bar: None,
            started: Instant::now(),
            unit,
            shown: None,
            done: 0,
            total: None,
        }
    }

    /// Says whether enough time went by to show the track again; the first time it starts the
    /// clock, so that short work shows nothing but its end.
    fn is_due(&mut self, interval: Duration) -> bool {
        let since = self.shown.unwrap_or(self.started);
        let due = since.elapsed() >= interval;
        if due {
            self.shown = Some(Instant::now());
        }
        due
    }

    /// Bytes a second since the track began.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is shown with two digits"
    )]
    fn rate(&self) -> u64 {
        (self.done as f64 / self.started.elapsed().as_secs_f64().max(0.001)) as u64
    }

    fn line(&self, name: &str) -> String {
        if self.unit == Unit::Items {
            let total = self
                .total
                .map(|total| format!(" of {total}"))
                .unwrap_or_default();
            return format!("{name}: {}{total}", self.done);
        }
        let rate = self.rate();
        let done = render::bytes(self.done);
        let rate_text = render::bytes(rate);
        match self.total {
            Some(total) if rate > 0 => {
                let left = Duration::from_secs(total.saturating_sub(self.done) / rate);
                let (total, left) = (render::bytes(total), render::duration(left));
                format!("{name}: {done} of {total}, {rate_text}/s, {left} left")
            }
            Some(total) => format!("{name}: {done} of {}", render::bytes(total)),
            None => format!("{name}: {done}, {rate_text}/s"),
        }
    }

    fn summary(&self, name: &str) -> String {
        let elapsed = self.started.elapsed();
        let done = match self.unit {
            Unit::Items => self.done.to_string(),
            Unit::Bytes => render::bytes(self.done),
        };
        if elapsed < Duration::from_secs(1) {
            // a rate over so short a time says nothing
            return format!("{name}: {done}");
        }
        let took = render::duration(elapsed);
        match self.unit {
            Unit::Items => format!("{name}: {done} in {took}"),
            Unit::Bytes => format!("{name}: {done} in {took}, {}/s", render::bytes(self.rate())),
        }
    }
}

fn new_bar(name: &str, unit: Unit, total: Option<u64>) -> ProgressBar {
    let template = match (unit, total) {
        (Unit::Bytes, Some(_)) => {
            "  {prefix:12} {bar:28} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left"
        }
        (Unit::Bytes, None) => "  {prefix:12} {spinner} {decimal_bytes}, {decimal_bytes_per_sec}",
        (Unit::Items, Some(_)) => "  {prefix:12} {bar:28} {pos} of {len}",
        (Unit::Items, None) => "  {prefix:12} {spinner} {pos}",
    };
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    // the templates are constants; a bad one falls back to indicatif's own
    let style = BarStyle::with_template(template).unwrap_or_else(|_| BarStyle::default_bar());
    bar.set_style(style.progress_chars("━╸─"));
    bar.set_prefix(name.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(seconds: u64, unit: Unit, done: u64, total: Option<u64>) -> Track {
        let started = Instant::now()
            .checked_sub(Duration::from_secs(seconds))
            .unwrap();
        Track {
            bar: None,
            started,
            unit,
            shown: None,
            done,
            total,
        }
    }

    #[test]
    fn a_line_says_bytes_rate_and_time_left() {
        let text = track(10, Unit::Bytes, 1_000_000_000, Some(3_000_000_000)).line("fetch");
        assert!(text.starts_with("fetch: 1.0 GB of 3.0 GB, "), "{text}");
        assert!(text.ends_with(" left"), "{text}");
    }

    #[test]
    fn things_are_counted_without_a_rate() {
        assert_eq!(
            track(10, Unit::Items, 3, Some(7)).line("resolve"),
            "resolve: 3 of 7"
        );
    }

    #[test]
    fn lines_are_rate_limited() {
        let mut quick = track(0, Unit::Bytes, 1, None);
        assert!(!quick.is_due(LINE_INTERVAL));
        let mut slow = track(6, Unit::Bytes, 1, None);
        assert!(slow.is_due(LINE_INTERVAL));
        assert!(!slow.is_due(LINE_INTERVAL));
    }
}
