//! The one pool of frame buffers of a process.
//!
//! At most [`BUFFERS`] exist, whatever the number of jobs, uploads or archives; that bounds the memory. A task takes
//! all it needs at once, so two tasks never wait for each other holding half. Buffers are recycled, because fresh
//! ones cost more in page faults than hashing does.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::frame::CAPACITY;

/// Buffers in a process at most; with [`CAPACITY`] each, 80 MiB.
pub(crate) const BUFFERS: usize = 20;

static POOL: Pool = Pool {
    state: Mutex::new(State {
        free: Vec::new(),
        taken: 0,
    }),
    returned: Condvar::new(),
};

struct Pool {
    state: Mutex<State>,
    returned: Condvar,
}

struct State {
    free: Vec<Vec<u8>>,
    taken: usize,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // every change of the state is a single step, so a panic elsewhere cannot have left it half done
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer of [`CAPACITY`] bytes that returns to the pool when dropped. Its content is whatever was there before.
#[derive(Debug)]
pub(crate) struct Buffer(Vec<u8>);

/// Takes `count` buffers at once, waiting until so many are free.
pub(crate) fn take(count: usize) -> Vec<Buffer> {
    assert!(count <= BUFFERS, "no task needs more than the pool has");
    let mut state = POOL.lock();
    while state.taken + count > BUFFERS {
        state = POOL
            .returned
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
    }
    state.taken += count;
    (0..count)
        .map(|_| Buffer(state.free.pop().unwrap_or_else(|| vec![0; CAPACITY])))
        .collect()
}

/// Takes one buffer.
pub(crate) fn take_one() -> Buffer {
    take(1).remove(0)
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut state = POOL.lock();
        state.free.push(std::mem::take(&mut self.0));
        state.taken -= 1;
        drop(state);
        POOL.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_buffers_than_the_limit_are_ever_out() {
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let buffers = take(2);
                        let state = POOL.lock();
                        assert!(
                            state.taken <= BUFFERS && state.taken + state.free.len() <= BUFFERS
                        );
                        drop(state);
                        drop(buffers);
                    }
                });
            }
        });
    }
}
