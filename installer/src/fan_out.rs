//! One operation on many hosts at a time, and every host's own result.
//!
//! Nothing here stops at the first failure: a report that names one bad host of five sends the operator round the loop four times more.
//! Which results are fatal is the caller's decision.

use std::{
    panic::resume_unwind,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Runs `work` on every item, at most `limit` at a time, each on a thread of its own; results come in the order of the items.
///
/// A `limit` of zero counts as one. A panic in `work` is carried to the caller once the other threads have ended.
pub fn for_each_host<S, T, F>(limit: usize, items: &mut [S], work: F) -> Vec<T>
where
    S: Send,
    T: Send,
    F: Fn(&mut S) -> T + Sync,
{
    let count = items.len();
    let slots: Vec<Mutex<(&mut S, Option<T>)>> = items
        .iter_mut()
        .map(|item| Mutex::new((item, None)))
        .collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..limit.clamp(1, count.max(1)))
            .map(|_| {
                scope.spawn(|| {
                    while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let mut slot = slot
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner);
                        let result = work(slot.0);
                        slot.1 = Some(result);
                    }
                })
            })
            .collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                resume_unwind(panic);
            }
        }
    });
    slots
        .into_iter()
        .filter_map(|slot| {
            slot.into_inner()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .1
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn as_many_as_the_limit_overlap_and_never_more() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        // three must be at work at a time for anybody to go on
        let together = Barrier::new(3);
        let mut items: Vec<usize> = (0..21).collect();
        let results = for_each_host(3, &mut items, |item| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            together.wait();
            running.fetch_sub(1, Ordering::SeqCst);
            *item * 2
        });
        assert_eq!(results, (0..21).map(|n| n * 2).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn nothing_to_do_and_no_limit_are_fine() {
        assert_eq!(
            for_each_host(0, &mut Vec::<u8>::new(), |n| *n),
            Vec::<u8>::new()
        );
        assert_eq!(for_each_host(0, &mut [1, 2], |n| *n), [1, 2]);
    }

    #[test]
    #[should_panic(expected = "host two")]
    fn a_panic_reaches_the_caller() {
        for_each_host(2, &mut [1, 2, 3], |n| assert_ne!(*n, 2, "host two"));
    }
}
