//! Neutral reads as a bounded service: so many at once, so many a second, so many waiting, one at a time for a path.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::sync::{Semaphore, oneshot};

use super::{Neutral, pace::Pace, read};
use crate::{
    target::TargetPath,
    telemetry::Metrics,
    upstream::{Upstream, UpstreamError},
};

/// How much the service does.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Reads sent at once; at least one.
    pub reads: usize,
    /// Reads that wait for their turn.
    pub waiting: usize,
    /// Reads sent a second; as many may be sent at once after a second's pause.
    pub rate: u32,
    /// Bytes of a body, beyond which it is given up as [`Neutral::Unverifiable`].
    pub length: u64,
}

impl Bounds {
    /// `reads` at once, 1,024 waiting, 1,000 a second, 1 TiB.
    pub fn new(reads: usize) -> Self {
        Self {
            reads,
            waiting: 1024,
            rate: 1000,
            length: 1 << 40,
        }
    }
}

type Outcome = Result<Neutral, UpstreamError>;
type Flight = Shared<BoxFuture<'static, Outcome>>;

/// The service. Clones share it.
///
/// A read begins after it was asked for: a caller joins a read that waits, never one already sent, whose answer may be
/// older than what the caller wants to know about (an upload that just ended in doubt).
#[derive(Clone)]
pub struct Reader(Arc<Inner>);

struct Inner {
    upstream: Arc<dyn Upstream>,
    metrics: Metrics,
    permits: Semaphore,
    bounds: Bounds,
    pace: Pace,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// Reads not yet sent.
    waiting: usize,
    paths: HashMap<TargetPath, Lane>,
}

/// The reads of one path: at most one sent and one waiting behind it.
struct Lane {
    waiting: Option<Flight>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Reader {
    /// A service with the usual bounds and `max_reads` at once.
    pub fn new(upstream: Arc<dyn Upstream>, max_reads: usize, metrics: Metrics) -> Self {
        Self::bounded(upstream, Bounds::new(max_reads), metrics)
    }

    /// A service with bounds of its own.
    pub fn bounded(upstream: Arc<dyn Upstream>, bounds: Bounds, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            upstream,
            metrics,
            permits: Semaphore::new(bounds.reads.clamp(1, Semaphore::MAX_PERMITS)),
            bounds,
            pace: Pace::new(bounds.rate),
            queue: Mutex::default(),
        }))
    }

    /// Reads a path. Callers that come while a read of it waits share that read.
    ///
    /// The read goes on when the caller gives up. Errors: the upstream's, and [`UpstreamError::Busy`] at once when too
    /// many wait already.
    pub async fn read(&self, path: &TargetPath) -> Outcome {
        match self.join(path) {
            Some(flight) => flight.await,
            None => {
                self.0.metrics.neutral_reads_total.with_label_values(&["busy"]).inc();
                Err(UpstreamError::Busy)
            }
        }
    }

    fn join(&self, path: &TargetPath) -> Option<Flight> {
        let mut queue = self.0.queue();
        if let Some(waiting) = queue.paths.get(path).and_then(|lane| lane.waiting.clone()) {
            return Some(waiting);
        }
        if queue.waiting >= self.0.bounds.waiting {
            return None;
        }
        queue.waiting += 1;
        self.0.metrics.neutral_queue.inc();
        let (done, outcome) = oneshot::channel();
        let gone = || UpstreamError::Broken("the neutral read was abandoned".to_owned());
        let flight = outcome
            .map(move |outcome| outcome.unwrap_or_else(|_| Err(gone())))
            .boxed()
            .shared();
        let lane = queue.paths.entry(path.clone()).or_insert_with(|| Lane {
            waiting: None,
            turn: Arc::default(),
        });
        lane.waiting = Some(flight.clone());
        let place = Place {
            inner: Arc::clone(&self.0),
            path: path.clone(),
            sent: false,
        };
        let turn = Arc::clone(&lane.turn);
        tokio::spawn(async move {
            let outcome = place.fly(turn).await;
            let _ = done.send(outcome);
        });
        Some(flight)
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read's place in the queue; given back however the read ends.
struct Place {
    inner: Arc<Inner>,
    path: TargetPath,
    sent: bool,
}

impl Place {
    async fn fly(mut self, turn: Arc<tokio::sync::Mutex<()>>) -> Outcome {
        let inner = Arc::clone(&self.inner);
        let _turn = turn.lock().await;
        let _permit = inner.permits.acquire().await.map_err(|_| UpstreamError::Busy)?;
        inner.pace.wait().await;
        self.send_off();
        let outcome = read(&*inner.upstream, &self.path, inner.bounds.length).await;
        let label = match &outcome {
            Ok(Neutral::Found { .. }) => "found",
            Ok(Neutral::Missing) => "missing",
            Ok(Neutral::Refused(_)) => "refused",
            Ok(Neutral::Unverifiable(_)) => "unverifiable",
            Err(_) => "error",
        };
        inner.metrics.neutral_reads_total.with_label_values(&[label]).inc();
        // Before the turn passes on: whoever has it next must find a lane that is its own.
        drop(self);
        outcome
    }

    /// From here on nobody may join.
    fn send_off(&mut self) {
        if !std::mem::replace(&mut self.sent, true) {
            let mut queue = self.inner.queue();
            queue.waiting = queue.waiting.saturating_sub(1);
            self.inner.metrics.neutral_queue.dec();
            if let Some(lane) = queue.paths.get_mut(&self.path) {
                lane.waiting = None;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.send_off();
        let mut queue = self.inner.queue();
        if queue.paths.get(&self.path).is_some_and(|lane| lane.waiting.is_none()) {
            queue.paths.remove(&self.path);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::upstream::memory::{MemoryUpstream, Script};

    fn stage(bounds: Bounds) -> (Arc<MemoryUpstream>, Reader, Arc<Semaphore>, Metrics) {
        let (upstream, metrics) = (Arc::new(MemoryUpstream::default()), Metrics::new().unwrap());
        let reader = Reader::bounded(Arc::clone(&upstream) as Arc<dyn Upstream>, bounds, metrics.clone());
        let gate = Arc::new(Semaphore::new(0));
        for path in ["/a", "/b", "/c"] {
            upstream.serve(path, Script::file("x").held(&gate));
        }
        (upstream, reader, gate, metrics)
    }

    fn start(reader: &Reader, path: &str) -> tokio::task::JoinHandle<Outcome> {
        let (reader, path) = (reader.clone(), TargetPath::new(path).unwrap());
        tokio::spawn(async move { reader.read(&path).await })
    }

    /// Lets every task run until it waits for something. The runtime has one thread and no I/O.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn callers_share_a_read_that_has_not_begun() {
        let (upstream, reader, gate, metrics) = stage(Bounds::new(8));
        let first = start(&reader, "a");
        settle().await;
        assert_eq!(upstream.asks().len(), 1);
        let later: Vec<_> = (0..50).map(|_| start(&reader, "a")).collect();
        settle().await;
        assert_eq!(
            (upstream.asks().len(), metrics.neutral_queue.get()),
            (1, 1),
            "one sent, one waits behind it"
        );
        // What is sent may be out of date for those who came later.
        upstream.serve("/a", Script::file("newer"));
        gate.add_permits(1);
        let length = |outcome: Outcome| match outcome {
            Ok(Neutral::Found { length, .. }) => length,
            other => panic!("{other:?}"),
        };
        assert_eq!(length(first.await.unwrap()), 1);
        for outcome in join_all(later).await {
            assert_eq!(length(outcome.unwrap()), 5);
        }
        assert_eq!((upstream.asks().len(), metrics.neutral_queue.get()), (2, 0));
        assert!(reader.0.queue().paths.is_empty());
        assert_eq!(metrics.neutral_reads_total.with_label_values(&["found"]).get(), 2);
    }

    #[tokio::test]
    async fn only_so_many_are_sent_and_only_so_many_wait() {
        let (upstream, reader, gate, metrics) = stage(Bounds {
            reads: 1,
            waiting: 1,
            ..Bounds::new(1)
        });
        let sent = start(&reader, "a");
        settle().await;
        let waiting = start(&reader, "b");
        settle().await;
        let refused = start(&reader, "c");
        settle().await;
        assert!(refused.is_finished(), "it waits instead of being refused at once");
        let refused = refused.await.unwrap();
        assert!(matches!(refused, Err(UpstreamError::Busy)), "{refused:?}");
        assert_eq!((upstream.asks().len(), metrics.neutral_queue.get()), (1, 1));
        gate.add_permits(3);
        sent.await.unwrap().unwrap();
        waiting.await.unwrap().unwrap();
        start(&reader, "c").await.unwrap().unwrap();
        assert_eq!(metrics.neutral_reads_total.with_label_values(&["busy"]).get(), 1);
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_leaves_nothing_behind() {
        let (upstream, reader, gate, metrics) = stage(Bounds::new(1));
        let callers = [start(&reader, "a"), start(&reader, "b")];
        settle().await;
        callers.iter().for_each(tokio::task::JoinHandle::abort);
        gate.add_permits(2);
        settle().await;
        assert_eq!((upstream.asks().len(), metrics.neutral_queue.get()), (2, 0));
        let queue = reader.0.queue();
        assert_eq!((queue.waiting, queue.paths.len()), (0, 0));
    }

    #[tokio::test]
    async fn failures_reach_every_caller() {
        let (upstream, reader, _gate, metrics) = stage(Bounds::new(1));
        upstream.fail("/a", UpstreamError::Timeout("header"));
        for outcome in join_all([start(&reader, "a"), start(&reader, "a")]).await {
            assert!(matches!(outcome.unwrap(), Err(UpstreamError::Timeout("header"))));
        }
        assert_eq!(metrics.neutral_reads_total.with_label_values(&["error"]).get(), 1);
    }
}
