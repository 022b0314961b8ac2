//! Watches every process for words that must never show: the command lines and environments in `/proc`.
//!
//! Nodes are containers of this kernel, so one look at the machine's `/proc` sees their processes too.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// One sighting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sighting {
    /// Which of the words, by its place in the list: the word itself is a secret.
    pub word: usize,
    /// `cmdline` or `environ`.
    pub place: &'static str,
    /// The program's name.
    pub program: String,
}

/// A running watch.
#[derive(Debug)]
pub struct Sampler {
    found: Arc<Mutex<BTreeSet<Sighting>>>,
    rounds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Starts watching for `words`; the watching process itself is left out.
    #[must_use]
    pub fn start(words: &[&str]) -> Self {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let (found, rounds, stop) = (
            Arc::<Mutex<BTreeSet<Sighting>>>::default(),
            Arc::<AtomicU64>::default(),
            Arc::<AtomicBool>::default(),
        );
        let (own_found, own_rounds, own_stop) =
            (Arc::clone(&found), Arc::clone(&rounds), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !own_stop.load(Ordering::SeqCst) {
                let seen = look(&words);
                if let Ok(mut found) = own_found.lock() {
                    found.extend(seen);
                }
                own_rounds.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self {
            found,
            rounds,
            stop,
            thread: Some(thread),
        }
    }

    /// Tells whether anything was seen so far.
    #[must_use]
    pub fn has_seen(&self) -> bool {
        self.found.lock().is_ok_and(|found| !found.is_empty())
    }

    /// Stops, and tells what was seen and in how many rounds it was looked for.
    #[must_use]
    pub fn finish(mut self) -> (Vec<Sighting>, u64) {
        self.end();
        let found = self
            .found
            .lock()
            .map(|found| found.iter().cloned().collect())
            .unwrap_or_default();
        (found, self.rounds.load(Ordering::SeqCst))
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // a panic of the thread has been printed already
            let _ = thread.join();
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.end();
    }
}

fn look(words: &[Vec<u8>]) -> Vec<Sighting> {
    let own = std::process::id().to_string();
    let mut out = Vec::new();
    for entry in fs_err::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) || name == own {
            continue;
        }
        for place in ["cmdline", "environ"] {
            // a process may end while it is looked at
            let Ok(bytes) = fs_err::read(entry.path().join(place)) else {
                continue;
            };
            for (word, text) in words.iter().enumerate() {
                if !text.is_empty() && bytes.windows(text.len()).any(|window| window == text) {
                    let Ok(program) = fs_err::read_to_string(entry.path().join("comm")) else {
                        continue;
                    };
                    let program = program.trim().to_owned();
                    out.push(Sighting {
                        word,
                        place,
                        program,
                    });
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_on_a_command_line_is_seen() {
        let sampler = Sampler::start(&["canary-7f3a", "never-there-91c2"]);
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env("SECRET", "canary-7f3a")
            .spawn()
            .unwrap();
        for _ in 0..500 {
            if sampler.has_seen() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let (seen, rounds) = sampler.finish();
        assert!(rounds > 0);
        assert_eq!(
            seen,
            [Sighting {
                word: 0,
                place: "environ",
                program: "sleep".into()
            }]
        );
    }
}
