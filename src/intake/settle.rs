//! Settling what is open by neutral reads: doubtful reservations, intents, suspected drift, names to learn.
//!
//! Only a request that the gate wrote itself teaches or accuses; this file makes those requests.

use std::{sync::atomic::Ordering, time::Duration};

use futures_util::{TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{Intake, Learned, queue::WORKERS, who};
use crate::{
    digest::Digest,
    ledger::{Act, AuditLine, Drift, Intent, LedgerError, Provenance, Reservation, State, Target},
    policy::{Learn, Rule},
    target::TargetPath,
    upstream::{
        UpstreamError,
        neutral::{self, Neutral, ProbeOutcome},
    },
};

/// How often the wildcard probe is repeated.
const PROBE_EVERY: Duration = Duration::from_secs(3600);

/// Longest wait for the first probe before the gate serves without it.
const FIRST_PROBE: Duration = Duration::from_secs(2);

/// Longest a path may take to be settled before the others of its pass go on without it.
const SETTLE_WITHIN: Duration = Duration::from_secs(600);

/// How soon open doubts are tried again when the upstream gave no verdict.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How long the upstream may show nothing at a path it has just accepted: some answer before they have stored.
const MISSING_FOR: SignedDuration = SignedDuration::from_secs(60);

/// How long the upstream may refuse to show what changed before it is given up, audited.
const UNSURE_FOR: SignedDuration = SignedDuration::from_hours(1);

/// What a neutral read made of something open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Settled {
    /// It is settled.
    Done,
    /// The upstream could not be asked, or the path changed meanwhile.
    Later,
    /// There is nothing at the path.
    Missing,
    /// The upstream answered, and its answer proves nothing.
    Unsure,
}

impl Intake {
    /// After a start: every reservation that is still open belongs to a process that died, so it is in doubt.
    pub async fn recover(&self) -> Result<(), LedgerError> {
        for open in self.parts.ledger.reservations().await? {
            if !open.doubtful {
                self.parts.ledger.doubt(open.id).await?;
            }
        }
        self.doubts.notify_one();
        // A gate that starts beside its upstream should learn from its first request on; a later one tries again.
        let _ = tokio::time::timeout(FIRST_PROBE, self.probe()).await;
        Ok(())
    }

    /// Runs until `shutdown`: queued reads, doubts and intents, the hourly probe, a look at what others write.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut queues = self.queues.lock().await;
        let [learns, suspects] = &mut *queues;
        let reads = async { tokio::join!(self.drain(learns), self.drain(suspects)) };
        let work = async { tokio::join!(reads, self.settle_open(), self.probe_hourly(), self.watch()) };
        tokio::select! {
            _ = work => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Reads a path neutrally and records it if the rule lets fetches teach.
    pub async fn read_and_learn(&self, path: &TargetPath, rule: &Rule) -> Result<Option<Learned>, SettleError> {
        if !self.learns_fetch(rule) {
            return Ok(None);
        }
        if self.look(path, rule).await?.target.is_some() {
            return Ok(None);
        }
        match self.parts.reader.read(path).await? {
            Neutral::Found {
                digest,
                length,
                learnable: Ok(()),
            } => Ok(Some(self.learn(path, rule, (digest, length), None).await?)),
            Neutral::Found {
                learnable: Err(reason), ..
            }
            | Neutral::Unverifiable(reason) => {
                self.parts.metrics.unlearned_total.with_label_values(&[reason]).inc();
                Ok(None)
            }
            Neutral::Missing | Neutral::Refused(_) => Ok(None),
        }
    }

    /// Confirms or ends drift of a recorded path.
    pub(super) async fn judge(&self, path: &TargetPath, rule: &Rule) -> Result<(), SettleError> {
        // A publication or upload between look and read would accuse wrongly: the record must be the same after as before.
        for _ in 0..3 {
            let before = self.look(path, rule).await?;
            let Some(target) = before.live() else { return Ok(()) };
            let seen = self.parts.reader.read(path).await?;
            let Some(_turn) = self.turn(path).await else { continue };
            let after = self.look(path, rule).await?;
            if after.target != before.target {
                continue;
            }
            let Neutral::Found {
                digest,
                length,
                learnable,
            } = seen
            else {
                return Ok(());
            };
            if digest == target.digest {
                if after.drift.is_some() {
                    self.parts.ledger.set_drift(path, None, "gate", self.now()).await?;
                    tracing::info!(target.path = %path, "`{path}` has its recorded bytes again; drift ended");
                }
                return Ok(());
            }
            if after.uploading.contains(&digest) {
                return Ok(());
            }
            return self
                .differs(path, rule, target, (digest, length), learnable.is_ok())
                .await;
        }
        Ok(())
    }

    /// A neutral read showed other bytes: a tracked path moves on, an immutable one has drifted.
    async fn differs(
        &self,
        path: &TargetPath,
        rule: &Rule,
        target: &Target,
        (digest, length): (Digest, u64),
        learnable: bool,
    ) -> Result<(), SettleError> {
        let returned = target.superseded.iter().any(|old| old.digest == digest);
        if rule.superseding() && self.learns_fetch(rule) && learnable && !returned {
            let act = Act::Record {
                digest,
                length,
                provenance: Provenance::Fetched,
            };
            self.observe(path, act, "gate").await?;
            return Ok(());
        }
        // Known already: each reader of a drifted path asks again.
        let known = self.parts.ledger.lookup(path).await?.drift;
        if known.is_some_and(|known| known.observed == digest && known.recorded == target.digest) {
            return Ok(());
        }
        self.parts.metrics.drifts_total.inc();
        tracing::error!(
            target.path = %path, recorded = %target.digest, observed = %digest,
            "`{path}` has drifted: the upstream's bytes are not those recorded"
        );
        let drift = Drift {
            path: path.clone(),
            recorded: target.digest,
            observed: digest,
            observed_length: length,
            at: self.now(),
        };
        Ok(self
            .parts
            .ledger
            .set_drift(path, Some(drift), "gate", self.now())
            .await?)
    }

    /// Works through doubtful reservations and intents, now and whenever one is added.
    async fn settle_open(&self) {
        loop {
            let open = match self.settle_once().await {
                Ok(open) => open,
                Err(error) => {
                    tracing::error!(%error, "could not work through open reservations and intents");
                    true
                }
            };
            if open {
                let _ = tokio::time::timeout(RETRY_AFTER, self.doubts.notified()).await;
            } else {
                self.doubts.notified().await;
            }
        }
    }

    /// One pass; tells whether anything stays open.
    pub(super) async fn settle_once(&self) -> Result<bool, LedgerError> {
        loop {
            // Popped in a statement of its own: the guard must not live across the await.
            let next = self.unmarked().pop();
            let Some(id) = next else { break };
            if let Err(error) = self.parts.ledger.doubt(id).await {
                self.unmarked().push(id);
                return Err(error);
            }
        }
        // Side by side: one path that the upstream lets drip must not keep the others in doubt.
        let doubtful = self.parts.ledger.reservations().await?.into_iter();
        let doubtful = stream::iter(doubtful.filter(|held| held.doubtful).map(Ok));
        doubtful
            .try_for_each_concurrent(WORKERS, |held| self.settle_held(held))
            .await?;
        let intents = stream::iter(self.parts.ledger.intents().await?.into_iter().map(Ok));
        intents
            .try_for_each_concurrent(WORKERS, |intent| self.settle_intended(intent))
            .await?;
        let reservations = self.parts.ledger.reservations().await?;
        Ok(reservations.iter().any(|r| r.doubtful) || !self.parts.ledger.intents().await?.is_empty())
    }

    async fn settle_held(&self, held: Reservation) -> Result<(), LedgerError> {
        // An upload that holds the path's turn may be settling it already.
        let Some(_turn) = self.turn(&held.path).await else {
            return Ok(());
        };
        let settled = tokio::time::timeout(SETTLE_WITHIN, self.settle_reservation(&held)).await;
        if settled == Ok(Settled::Unsure) && self.older(held.at, UNSURE_FOR) {
            self.give_up(&held.path, &held.who).await?;
            self.parts.ledger.release(held.id).await?;
        }
        Ok(())
    }

    async fn settle_intended(&self, intent: Intent) -> Result<(), LedgerError> {
        let settled = tokio::time::timeout(SETTLE_WITHIN, self.settle_intent(&intent)).await;
        // By age, not by tries: other uploads make this loop turn as fast as they like.
        match settled.unwrap_or(Ok(Settled::Later)) {
            Ok(Settled::Done) => {}
            Ok(Settled::Missing) if self.older(intent.at, MISSING_FOR) => {}
            Ok(Settled::Unsure) if self.older(intent.at, UNSURE_FOR) => {
                self.give_up(&intent.path, &intent.who).await?;
            }
            Ok(Settled::Later | Settled::Missing | Settled::Unsure) => return Ok(()),
            Err(error) => {
                tracing::debug!(%error, target.path = %intent.path, "`{}` could not be read again yet", intent.path);
                return Ok(());
            }
        }
        self.parts.ledger.settle_intent(intent.id).await
    }

    fn older(&self, at: Timestamp, limit: SignedDuration) -> bool {
        self.now().duration_since(at) > limit
    }

    /// Settles one doubtful reservation if a neutral read gives a verdict.
    pub(super) async fn settle_reservation(&self, held: &Reservation) -> Settled {
        let verdict = match self.parts.reader.read(&held.path).await {
            Ok(Neutral::Found { digest, .. }) if digest == held.digest => self
                .parts
                .ledger
                .confirm(held.id, self.now())
                .await
                .map(|_| self.parts.wake.notify_one()),
            Ok(Neutral::Found { .. } | Neutral::Missing) => self.parts.ledger.release(held.id).await,
            Ok(Neutral::Refused(status)) => return refused(status),
            Ok(Neutral::Unverifiable(_)) => return Settled::Unsure,
            Err(_) => return Settled::Later,
        };
        if let Err(error) = verdict {
            tracing::error!(%error, target.path = %held.path, "could not settle the upload of `{}`", held.path);
            return Settled::Later;
        }
        Settled::Done
    }

    /// Settles one intent if a neutral read gives a verdict.
    async fn settle_intent(&self, intent: &Intent) -> Result<Settled, SettleError> {
        let Some(rule) = self.policy().tracked(intent.path.as_str()) else {
            return Ok(Settled::Done);
        };
        let before = self.look(&intent.path, rule).await?;
        let (digest, length) = match self.parts.reader.read(&intent.path).await? {
            Neutral::Found { digest, length, .. } => (digest, length),
            Neutral::Missing => return Ok(Settled::Missing),
            Neutral::Refused(status) => return Ok(refused(status)),
            Neutral::Unverifiable(_) => return Ok(Settled::Unsure),
        };
        // An observation between an upload's reserve and its confirm would make the signer refuse what was acknowledged.
        let Some(_turn) = self.turn(&intent.path).await else {
            return Ok(Settled::Later);
        };
        let standing = self.look(&intent.path, rule).await?;
        // What was read before an upload was confirmed accuses nobody and succeeds nothing.
        if standing.target != before.target {
            return Ok(Settled::Later);
        }
        match &standing.target {
            Some(target) if target.digest == digest && target.state == State::Live => {}
            Some(target) if target.state == State::Live && !rule.superseding() => {
                self.differs(&intent.path, rule, target, (digest, length), false)
                    .await?;
            }
            None if rule.learn == Learn::None => {}
            _ => {
                let act = Act::Record {
                    digest,
                    length,
                    provenance: intent.provenance,
                };
                self.observe(&intent.path, act, &intent.who).await?;
            }
        }
        Ok(Settled::Done)
    }

    async fn give_up(&self, path: &TargetPath, asked_by: &str) -> Result<(), LedgerError> {
        tracing::error!(target.path = %path, "`{path}` could not be re-read after it changed; given up");
        let line = AuditLine {
            at: self.now(),
            who: who(None),
            action: "unsettled".to_owned(),
            path: path.to_string(),
            detail: format!("no verdict by neutral reads within an hour, asked by {asked_by}"),
        };
        self.parts.ledger.audit(line).await
    }

    async fn probe_hourly(&self) {
        loop {
            let wait = match self.probe().await {
                Ok(()) => PROBE_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "the wildcard probe got no answer; fetches do not teach yet");
                    RETRY_AFTER
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks the upstream for names that cannot exist; while it answers any of them, fetches do not teach.
    pub async fn probe(&self) -> Result<(), UpstreamError> {
        let taught = self
            .policy()
            .rules()
            .iter()
            .filter(|rule| rule.tracks() && rule.learn == Learn::Fetch);
        let prefixes: Vec<String> = taught.map(|rule| rule.literal_folder().to_owned()).collect();
        if prefixes.is_empty() {
            return Ok(());
        }
        let outcome = neutral::probe(self.parts.upstream.as_ref(), &prefixes).await?;
        let honest = outcome == ProbeOutcome::Honest;
        if let ProbeOutcome::Wildcard { path, status } = outcome {
            tracing::error!(
                upstream.path = %path, upstream.status = status.as_u16(),
                "the upstream answers names that cannot exist: fetches do not teach while it does"
            );
        }
        self.parts.metrics.learning_disabled.set(i64::from(!honest));
        self.learning.store(honest, Ordering::Relaxed);
        Ok(())
    }
}

/// An upstream in trouble may say more later; one that refuses will go on refusing.
fn refused(status: http::StatusCode) -> Settled {
    match status.is_server_error() {
        true => Settled::Later,
        false => Settled::Unsure,
    }
}

/// A neutral read or its recording failed.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The upstream.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}
