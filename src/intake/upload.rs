//! Uploads: reserved before the last byte goes upstream, confirmed before the client hears of success. Uploads to one
//! path are serialised from reserve to confirm.

use std::{
    net::IpAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use super::{Intake, settle::Settled, who};
use crate::{
    digest::Digest,
    ledger::{Intent, LedgerError, Provenance, Reservation, ReservationId, Reserved, Seq, rule::Conflict},
    policy::Rule,
    target::TargetPath,
};

/// Longest wait for another upload to the same path.
const TURN: Duration = Duration::from_secs(30);

/// One lock a path, alive while somebody holds or awaits it.
#[derive(Default)]
pub(super) struct Locks(std::sync::Mutex<std::collections::HashMap<TargetPath, Weak<Mutex<()>>>>);

impl Locks {
    fn of(&self, path: &TargetPath) -> Arc<Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(lock) = locks.get(path).and_then(Weak::upgrade) {
            return lock;
        }
        // Dead entries are swept when the map doubles past what is alive; uploads are rare enough for a full sweep.
        if locks.len() >= 1024 {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::new(Mutex::new(()));
        locks.insert(path.clone(), Arc::downgrade(&lock));
        lock
    }
}

/// A granted reservation, and the path's turn with it. One that is dropped unresolved is in doubt: its request may end
/// with its task, by a panic or with the runtime, and the path must not stay held.
pub struct Upload {
    id: ReservationId,
    path: TargetPath,
    resolved: bool,
    doubts: Arc<Notify>,
    unmarked: Arc<std::sync::Mutex<Vec<ReservationId>>>,
    _turn: OwnedMutexGuard<()>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.resolved {
            let mut unmarked = self.unmarked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            unmarked.push(self.id);
            self.doubts.notify_one();
        }
    }
}

/// Why an upload's last byte must not go upstream.
#[derive(Debug, thiserror::Error)]
pub enum UploadRefused {
    /// Other uploads to this path, or one in doubt, did not end in time.
    #[error("another upload to this path is not settled yet")]
    Busy,
    /// The conflict rule.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The record cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Intake {
    /// Takes the path's turn and commits a reservation.
    pub async fn reserve(
        &self,
        path: &TargetPath,
        rule: &Rule,
        (digest, length): (Digest, u64),
        client: Option<IpAddr>,
    ) -> Result<Upload, UploadRefused> {
        let turn = self.turn(path).await.ok_or(UploadRefused::Busy)?;
        let reservation = Reservation {
            id: 0,
            path: path.clone(),
            digest,
            length,
            who: who(client),
            at: self.now(),
            doubtful: false,
        };
        for last in [false, true] {
            let answer = self
                .parts
                .ledger
                .reserve(reservation.clone(), rule.superseding())
                .await?;
            match answer {
                Reserved::Granted(id) => {
                    return Ok(Upload {
                        id,
                        path: path.clone(),
                        resolved: false,
                        doubts: Arc::clone(&self.doubts),
                        unmarked: Arc::clone(&self.unmarked),
                        _turn: turn,
                    });
                }
                Reserved::Conflict(conflict) => {
                    self.parts.metrics.conflicts_total.inc();
                    return Err(conflict.into());
                }
                Reserved::Held(held) if held.doubtful && !last => {
                    // Nobody was told that it succeeded. Where the gate may not read, an aborted upload would otherwise
                    // keep the path from everybody else's bytes for ever.
                    if self.settle_reservation(&held).await == Settled::Unsure {
                        tracing::warn!(target.path = %path, "an upload of `{path}` in doubt makes room for another");
                        self.parts.ledger.release(held.id).await?;
                    }
                }
                Reserved::Held(_) => break,
            }
        }
        Err(UploadRefused::Busy)
    }

    /// The path's turn, for a change that needs no reservation (DELETE).
    pub async fn turn(&self, path: &TargetPath) -> Option<OwnedMutexGuard<()>> {
        self.turn_within(TURN, path).await
    }

    pub(super) async fn turn_within(&self, limit: Duration, path: &TargetPath) -> Option<OwnedMutexGuard<()>> {
        tokio::time::timeout(limit, self.locks.of(path).lock_owned()).await.ok()
    }

    /// The upstream accepted; durable on return. On failure the upload is in doubt and will be settled.
    pub async fn confirm(&self, mut upload: Upload) -> Result<Seq, LedgerError> {
        match self.parts.ledger.confirm(upload.id, self.now()).await {
            Ok(seq) => {
                upload.resolved = true;
                self.parts
                    .metrics
                    .observations_total
                    .with_label_values(&["published"])
                    .inc();
                self.parts.wake.notify_one();
                Ok(seq)
            }
            Err(error) => {
                self.doubt(upload).await;
                Err(error)
            }
        }
    }

    /// The upstream refused with a 4xx: nothing was stored.
    pub async fn release(&self, mut upload: Upload) {
        match self.parts.ledger.release(upload.id).await {
            Ok(()) => upload.resolved = true,
            Err(error) => {
                tracing::error!(%error, target.path = %upload.path, "could not release a reservation; it will be settled");
                self.doubt(upload).await;
            }
        }
    }

    /// Nobody knows what the upstream did: a neutral read will tell.
    pub async fn doubt(&self, mut upload: Upload) {
        match self.parts.ledger.doubt(upload.id).await {
            Ok(()) => upload.resolved = true,
            Err(error) => {
                tracing::error!(%error, target.path = %upload.path, "could not mark a reservation doubtful; will try again");
            }
        }
        self.doubts.notify_one();
    }

    /// Reservations in doubt that the ledger does not know to be.
    pub(super) fn unmarked(&self) -> std::sync::MutexGuard<'_, Vec<ReservationId>> {
        self.unmarked.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Commits that a path must be re-read: its bytes changed without crossing the gate whole.
    pub async fn intend(
        &self,
        path: &TargetPath,
        provenance: Provenance,
        client: Option<IpAddr>,
    ) -> Result<(), LedgerError> {
        self.parts
            .ledger
            .intend(Intent {
                id: 0,
                path: path.clone(),
                provenance,
                who: who(client),
                at: self.now(),
            })
            .await?;
        self.doubts.notify_one();
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{
        catalog::Catalog,
        clock::SystemClock,
        config::Config,
        depot::memory::MemoryDepot,
        intake::Parts,
        ledger::{Ledger, memory::MemoryLedger},
        telemetry::Metrics,
        upstream::{memory::MemoryUpstream, memory::Script, neutral::Reader},
    };

    /// An intake over memory, everything immutable.
    pub(in crate::intake) fn stage() -> (Arc<Intake>, Arc<MemoryLedger>, Arc<MemoryUpstream>) {
        let rules = "[upstream]\nurl = \"http://127.0.0.1:1\"\n[[rule]]\npath = \"**\"\nkind = \"immutable\"\n";
        let config = Arc::new(Config::parse(rules, "tufgate.toml").unwrap());
        let (ledger, upstream) = (Arc::new(MemoryLedger::new()), Arc::new(MemoryUpstream::default()));
        let metrics = Metrics::new().unwrap();
        let intake = Intake::new(Parts {
            catalog: Arc::new(Catalog::new(Arc::new(MemoryDepot::new()), ledger.clone())),
            reader: Arc::new(Reader::new(upstream.clone(), 8, metrics.clone())),
            clock: Arc::new(SystemClock),
            wake: Arc::default(),
            config,
            ledger: ledger.clone(),
            upstream: upstream.clone(),
            metrics,
        });
        (intake, ledger, upstream)
    }

    #[tokio::test]
    async fn an_upload_whose_task_dies_is_settled_like_one_in_doubt() {
        let (intake, ledger, upstream) = stage();
        let path = TargetPath::new("a").unwrap();
        let rule = intake.policy().tracked("a").unwrap();
        upstream.serve("/a", Script::file("bytes"));
        let bytes = (Digest::of(b"bytes"), 5);
        let upload = intake.reserve(&path, rule, bytes, None).await.unwrap();
        drop(upload);
        assert!(!intake.settle_once().await.unwrap(), "something stays open");
        assert!(ledger.reservations().await.unwrap().is_empty());
        let standing = intake.look(&path, rule).await.unwrap();
        assert_eq!(standing.live().unwrap().digest, bytes.0);
    }
}
