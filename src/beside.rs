//! A body's chunks, worked on in their order by the blocking threads beside the event loop.
//!
//! Chunks wait in a short queue. Work starts when enough of them wait to be worth a thread, and ends when none do, so that
//! a thousand slow bodies hold no thread. Who pushes faster than the work is done waits, without blocking.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::{sync::Notify, task::spawn_blocking};

use crate::digest::{Digest, Hasher};

/// Up to this many bytes are hashed where they are, in the event loop: handing them over takes as long.
pub(crate) const INLINE: u64 = 256 << 10;
/// Bytes waiting from which on a thread is set to work.
const START: usize = 256 << 10;
/// Bytes waiting from which on the pusher waits too.
const FULL: usize = 2 << 20;

/// What is done with each chunk. It may block.
pub(crate) trait Work: Send + 'static {
    /// Works on the next chunk.
    fn take(&mut self, chunk: &Bytes);
}

impl Work for Hasher {
    fn take(&mut self, chunk: &Bytes) {
        self.update(chunk);
    }
}

/// The thread at work died; what it was doing is lost.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a thread that worked on a body ended early")]
pub(crate) struct Lost;

/// The work on one body.
pub(crate) struct Beside<W>(Arc<Shared<W>>);

struct Shared<W> {
    state: Mutex<State<W>>,
    /// The queue shrank, or the work stopped. Only the owner of the [`Beside`] waits.
    moved: Notify,
}

struct State<W> {
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Here while nobody works.
    work: Option<W>,
    lost: bool,
}

impl<W: Work> Beside<W> {
    pub(crate) fn new(work: W) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                queued: 0,
                work: Some(work),
                lost: false,
            }),
            moved: Notify::new(),
        }))
    }

    /// Takes the next chunk, as soon as there is room for it.
    pub(crate) async fn push(&mut self, chunk: Bytes) {
        while self.0.state().full() {
            self.0.moved.notified().await;
        }
        let mut state = self.0.state();
        if state.lost {
            return;
        }
        state.queued += chunk.len();
        state.queue.push_back(chunk);
        if state.queued >= START
            && let Some(work) = state.work.take()
        {
            self.0.set_to_work(work);
        }
    }

    /// The body ended: waits for the rest of the work and gives it back.
    pub(crate) async fn finish(self) -> Result<W, Lost> {
        loop {
            let rest = {
                let mut state = self.0.state();
                if state.lost {
                    return Err(Lost);
                }
                state.work.take().map(|work| (work, std::mem::take(&mut state.queue)))
            };
            if let Some((mut work, rest)) = rest {
                let ending = spawn_blocking(move || {
                    rest.iter().for_each(|chunk| work.take(chunk));
                    work
                });
                return ending.await.map_err(|_| Lost);
            }
            self.0.moved.notified().await;
        }
    }
}

impl<W> State<W> {
    fn full(&self) -> bool {
        self.queued >= FULL && !self.lost
    }
}

impl<W> Shared<W> {
    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> Shared<W> {
    fn set_to_work(self: &Arc<Self>, mut work: W) {
        let shared = Arc::clone(self);
        spawn_blocking(move || {
            let alarm = Alarm(&*shared);
            loop {
                let mut state = shared.state();
                let Some(chunk) = state.queue.pop_front() else {
                    // Under the lock that found the queue empty: whoever pushes next sees that nobody works.
                    state.work = Some(work);
                    break;
                };
                drop(state);
                work.take(&chunk);
                shared.state().queued -= chunk.len();
                shared.moved.notify_one();
            }
            std::mem::forget(alarm);
            shared.moved.notify_one();
        });
    }
}

/// Goes off when a thread dies at work, so that nobody waits for it.
struct Alarm<'a, W>(&'a Shared<W>);

impl<W> Drop for Alarm<'_, W> {
    fn drop(&mut self) {
        self.0.state().lost = true;
        self.0.moved.notify_one();
    }
}

/// SHA-256 and length of a body: of a short one in the event loop, of a long one beside it.
pub(crate) enum Hashing {
    /// So far the body is short.
    Here(Hasher),
    /// It is long.
    Beside(Beside<Hasher>),
}

impl Default for Hashing {
    fn default() -> Self {
        Self::Here(Hasher::default())
    }
}

impl Hashing {
    /// Takes the next chunk.
    pub(crate) async fn push(&mut self, chunk: Bytes) {
        if let Self::Here(hasher) = self {
            if hasher.length() + chunk.len() as u64 <= INLINE {
                return hasher.update(&chunk);
            }
            *self = Self::Beside(Beside::new(std::mem::take(hasher)));
        }
        if let Self::Beside(beside) = self {
            beside.push(chunk).await;
        }
    }

    /// Digest and length of all that came.
    pub(crate) async fn finish(self) -> Result<(Digest, u64), Lost> {
        Ok(match self {
            Self::Here(hasher) => hasher.finish(),
            Self::Beside(beside) => beside.finish().await?.finish(),
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        runtime.unwrap().block_on(future)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Sizes around every threshold.
        #[test]
        fn every_byte_is_hashed_once_and_in_order(sizes in prop::collection::vec(prop_oneof![0..64usize, 100_000..300_000usize], 0..12)) {
            let mut at = 0_u8;
            let chunks: Vec<Bytes> = sizes.iter().map(|&size| (0..size).map(|_| { at = at.wrapping_mul(5).wrapping_add(7); at }).collect()).collect();
            let mut hashing = Hashing::default();
            let (digest, length) = run(async {
                for chunk in &chunks {
                    hashing.push(chunk.clone()).await;
                }
                hashing.finish().await.unwrap()
            });
            prop_assert_eq!(digest, Digest::of(chunks.concat()));
            prop_assert_eq!(length, sizes.iter().sum::<usize>() as u64);
        }
    }

    struct Dying;

    impl Work for Dying {
        fn take(&mut self, _: &Bytes) {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }

    #[test]
    fn nobody_waits_for_a_thread_that_died() {
        run(async {
            let mut beside = Beside::new(Dying);
            for _ in 0..64 {
                beside.push(vec![0; START].into()).await;
            }
            assert!(beside.finish().await.is_err());
        });
    }
}
