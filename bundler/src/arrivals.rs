//! The archive writer's source of blobs: the cache, with a wait for what is still on its way.
//!
//! Invariant: [`Arrivals::open`] returns only for a blob that is in the cache, or with an error; nobody waits for a download that
//! has failed or was given up.

use std::{
    collections::HashSet,
    io::{self, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use airgap_archive::BlobSource;
use oci_spec::image::Digest;
use tokio::sync::mpsc;

use crate::cache::Cache;

/// Which blobs are still on their way.
#[derive(Debug)]
pub(crate) struct Arrivals {
    cache: Arc<Cache>,
    state: Mutex<State>,
    changed: Condvar,
    /// Asks for a blob to be fetched anew; `None` when nothing may be fetched.
    again: Option<mpsc::UnboundedSender<Digest>>,
}

#[derive(Debug, Default)]
struct State {
    awaited: HashSet<Digest>,
    given_up: bool,
}

impl Arrivals {
    /// Prepares to wait for the blobs `awaited`; evicted ones are asked for through `again`.
    pub(crate) fn new(
        cache: Arc<Cache>,
        awaited: HashSet<Digest>,
        again: Option<mpsc::UnboundedSender<Digest>>,
    ) -> Self {
        let state = Mutex::new(State {
            awaited,
            given_up: false,
        });
        Self {
            cache,
            state,
            changed: Condvar::new(),
            again,
        }
    }

    /// Says that a blob is in the cache.
    pub(crate) fn arrived(&self, digest: &Digest) {
        self.state().awaited.remove(digest);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until a blob is not awaited any more.
    fn wait_for(&self, digest: &Digest) -> io::Result<()> {
        let mut state = self.state();
        while state.awaited.contains(digest) && !state.given_up {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if state.given_up {
            Err(io::Error::other("fetching was given up"))
        } else {
            Ok(())
        }
    }

    /// Asks for a blob anew; false when nothing may be fetched.
    fn ask_again(&self, digest: &Digest) -> bool {
        let Some(again) = &self.again else {
            return false;
        };
        self.state().awaited.insert(digest.clone());
        again.send(digest.clone()).is_ok()
    }
}

impl BlobSource for Arrivals {
    fn open(&self, digest: &Digest, _size: u64) -> io::Result<Box<dyn Read + Send>> {
        loop {
            self.wait_for(digest)?;
            if let Some(file) = self.cache.open_blob(digest).map_err(io::Error::other)? {
                return Ok(Box::new(file));
            }
            // Somebody emptied the cache by hand since the blob was seen there.
            if !self.ask_again(digest) {
                return Err(io::ErrorKind::NotFound.into());
            }
        }
    }

    fn evict(&self, digest: &Digest) -> io::Result<bool> {
        self.cache.evict(digest).map_err(io::Error::other)?;
        Ok(self.ask_again(digest))
    }

    /// Says that no more blobs will come, or are needed; whoever waits gets an error.
    fn give_up(&self) {
        self.state().given_up = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use camino::Utf8Path;

    use super::*;
    use crate::digest::digest_of;

    fn cache() -> (tempfile::TempDir, Arc<Cache>) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Utf8Path::from_path(dir.path()).unwrap()).unwrap();
        (dir, Arc::new(cache))
    }

    #[test]
    fn a_reader_waits_until_the_blob_is_there() {
        let (_dir, cache) = cache();
        let digest = digest_of(b"late");
        let arrivals = Arrivals::new(cache.clone(), HashSet::from([digest.clone()]), None);
        let text = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut text = String::new();
                arrivals
                    .open(&digest, 4)
                    .unwrap()
                    .read_to_string(&mut text)
                    .unwrap();
                text
            });
            cache.insert(b"late").unwrap();
            arrivals.arrived(&digest);
            reader.join().unwrap()
        });
        assert_eq!(text, "late");
    }

    #[test]
    fn nobody_waits_for_what_was_given_up() {
        let (_dir, cache) = cache();
        let digest = digest_of(b"never");
        let arrivals = Arrivals::new(cache, HashSet::from([digest.clone()]), None);
        thread::scope(|scope| {
            let reader = scope.spawn(|| arrivals.open(&digest, 5).map(drop));
            arrivals.give_up();
            assert!(reader.join().unwrap().is_err());
        });
    }

    #[test]
    fn an_evicted_blob_is_asked_for_again_unless_offline() {
        let (_dir, cache) = cache();
        let digest = cache.insert(b"rotten").unwrap();
        let offline = Arrivals::new(cache.clone(), HashSet::new(), None);
        assert!(!offline.evict(&digest).unwrap() && !cache.contains(&digest, None));
        assert_eq!(
            offline.open(&digest, 6).map(drop).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let online = Arrivals::new(cache, HashSet::new(), Some(sender));
        assert!(online.evict(&digest).unwrap());
        assert_eq!(receiver.try_recv().unwrap(), digest);
    }
}
