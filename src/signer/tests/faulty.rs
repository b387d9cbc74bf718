//! Stores that die at a chosen call, before or after it took effect, and a depot that is watched at every step.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::world::View;
use crate::{
    depot::{Depot, DepotError, Stored},
    ledger::{
        AuditLine, Batch, Claim, Drift, Entry, Fence, Intent, Ledger, LedgerError, Observation, Offer, Publication,
        Reservation, ReservationId, Reserved, RoleRow, Seq, Submission, Submitted, Survey, Target,
    },
    target::TargetPath,
};

/// Blows at the `left`-th call; from then on every call fails, as after the death of the process.
#[derive(Debug)]
pub(super) struct Fuse {
    left: AtomicUsize,
    after: bool,
    blown: AtomicBool,
}

enum Step {
    Go,
    /// Do it, but the caller never hears.
    Mute,
    Dead,
}

impl Fuse {
    pub(super) fn new(calls: usize, after: bool) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(calls),
            after,
            blown: AtomicBool::new(false),
        })
    }

    pub(super) fn blown(&self) -> bool {
        self.blown.load(Ordering::SeqCst)
    }

    fn step(&self) -> Step {
        if self.blown() {
            return Step::Dead;
        }
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match (left, self.after) {
            (Ok(_), _) => Step::Go,
            (Err(_), after) => {
                self.blown.store(true, Ordering::SeqCst);
                if after { Step::Mute } else { Step::Dead }
            }
        }
    }

    async fn through<T, E>(&self, call: impl Future<Output = Result<T, E>>, dead: E) -> Result<T, E> {
        match self.step() {
            Step::Go => call.await,
            Step::Mute => call.await.and(Err(dead)),
            Step::Dead => Err(dead),
        }
    }
}

pub(super) struct FaultyLedger<L> {
    pub(super) inner: Arc<L>,
    pub(super) fuse: Arc<Fuse>,
}

macro_rules! through {
    ($(async fn $name:ident(&self $(, $arg:ident: $type:ty)*) -> Result<$out:ty, LedgerError>;)*) => {
        #[async_trait]
        impl<L: Ledger> Ledger for FaultyLedger<L> {
            $(async fn $name(&self $(, $arg: $type)*) -> Result<$out, LedgerError> {
                let dead = LedgerError::Store { place: "test".to_owned(), detail: stringify!($name).to_owned() };
                self.fuse.through(self.inner.$name($($arg),*), dead).await
            })*
        }
    };
}

through! {
    async fn changes(&self) -> Result<u64, LedgerError>;
    async fn lookup(&self, path: &TargetPath) -> Result<Entry, LedgerError>;
    async fn reserve(&self, reservation: Reservation, superseding: bool) -> Result<Reserved, LedgerError>;
    async fn confirm(&self, id: ReservationId, at: Timestamp) -> Result<Seq, LedgerError>;
    async fn release(&self, id: ReservationId) -> Result<(), LedgerError>;
    async fn doubt(&self, id: ReservationId) -> Result<(), LedgerError>;
    async fn reservations(&self) -> Result<Vec<Reservation>, LedgerError>;
    async fn observe(&self, observation: Observation) -> Result<Seq, LedgerError>;
    async fn intend(&self, intent: Intent) -> Result<u64, LedgerError>;
    async fn intents(&self) -> Result<Vec<Intent>, LedgerError>;
    async fn settle_intent(&self, id: u64) -> Result<(), LedgerError>;
    async fn set_drift(&self, path: &TargetPath, drift: Option<Drift>, who: &str, at: Timestamp) -> Result<(), LedgerError>;
    async fn drifts(&self) -> Result<Vec<Drift>, LedgerError>;
    async fn submit(&self, submission: Submission, claims: Vec<Claim>) -> Result<Submitted, LedgerError>;
    async fn submissions(&self) -> Result<Vec<Submission>, LedgerError>;
    async fn end_submissions(&self, fence: Fence, ids: &[u64], audit: Vec<AuditLine>) -> Result<(), LedgerError>;
    async fn offer(&self, fence: Fence, offer: Offer) -> Result<(), LedgerError>;
    async fn offered(&self, role: &str) -> Result<Option<Offer>, LedgerError>;
    async fn offers(&self) -> Result<Vec<Offer>, LedgerError>;
    async fn lease(&self, holder: &str, ttl_secs: u32, now: Timestamp) -> Result<Option<Fence>, LedgerError>;
    async fn end_lease(&self, fence: Fence) -> Result<(), LedgerError>;
    async fn pending(&self, limit: usize) -> Result<Vec<Observation>, LedgerError>;
    async fn targets(&self, paths: &[TargetPath]) -> Result<Vec<Target>, LedgerError>;
    async fn apply(&self, fence: Fence, batch: Batch) -> Result<Vec<u64>, LedgerError>;
    async fn raise_version(&self, fence: Fence, role: &str, version: u64, published: bool) -> Result<(), LedgerError>;
    async fn publish(&self, fence: Fence, publication: Publication) -> Result<(), LedgerError>;
    async fn publication(&self) -> Result<Option<Publication>, LedgerError>;
    async fn roles(&self) -> Result<Vec<RoleRow>, LedgerError>;
    async fn bin(&self, bits: u8, bin: u32) -> Result<Vec<Target>, LedgerError>;
    async fn bin_names(&self, bits: u8, bin: u32) -> Result<Vec<String>, LedgerError>;
    async fn each_target(&self, each: &mut (dyn for<'a> FnMut(&'a Target) + Send)) -> Result<(), LedgerError>;
    async fn counts(&self) -> Result<(u64, u64), LedgerError>;
    async fn audit(&self, line: AuditLine) -> Result<(), LedgerError>;
    async fn audit_lines(&self, limit: usize) -> Result<Vec<AuditLine>, LedgerError>;
    async fn check(&self) -> Result<(), LedgerError>;
    async fn survey(&self) -> Result<Survey, LedgerError>;
}

/// A depot that dies at a chosen call and lets a client look after each one that wrote.
pub(super) struct FaultyDepot<D> {
    pub(super) inner: Arc<D>,
    pub(super) fuse: Arc<Fuse>,
    pub(super) watch: Arc<Watch>,
}

/// The last view; every new one must follow it.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Option<View>>);

impl Watch {
    pub(super) async fn look(&self, depot: &dyn Depot) {
        let view = View::of(depot).await;
        let mut last = self.0.lock().unwrap();
        if let (Some(old), Some(new)) = (&*last, &view) {
            new.follows(old);
        }
        assert!(last.is_none() || view.is_some(), "the timestamp is gone");
        *last = view;
    }
}

fn dead(name: &str) -> DepotError {
    DepotError::Full { name: name.to_owned() }
}

#[async_trait]
impl<D: Depot> Depot for FaultyDepot<D> {
    async fn put_all(&self, files: Vec<(String, Bytes)>) -> Result<(), DepotError> {
        let done = match self.fuse.step() {
            Step::Go => self.inner.put_all(files).await,
            // Half of them: a batch of files is not one write.
            Step::Mute => {
                let half = files.len().div_ceil(2);
                let done = self.inner.put_all(files.into_iter().take(half).collect()).await;
                done.and(Err(dead("put")))
            }
            Step::Dead => Err(dead("put")),
        };
        self.watch.look(&*self.inner).await;
        done
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>, DepotError> {
        self.fuse.through(self.inner.read(name), dead(name)).await
    }

    async fn swap_timestamp(&self, expected: Option<Bytes>, new: Bytes) -> Result<(), DepotError> {
        let swap = self.inner.swap_timestamp(expected, new);
        let done = self.fuse.through(swap, dead("timestamp.json")).await;
        self.watch.look(&*self.inner).await;
        done
    }

    async fn list(&self) -> Result<Vec<Stored>, DepotError> {
        self.fuse.through(self.inner.list(), dead("list")).await
    }

    async fn delete(&self, name: &str) -> Result<(), DepotError> {
        let done = self.fuse.through(self.inner.delete(name), dead(name)).await;
        self.watch.look(&*self.inner).await;
        done
    }
}
