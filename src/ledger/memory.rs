//! A ledger in memory, for tests and trials: forgets all when it is dropped.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{digest::Digest, target::TargetPath};

use super::{
    Act, AuditLine, Batch, Claim, Drift, Entry, Fence, Intent, Ledger, LedgerError, Observation, Offer, Publication,
    Reservation, ReservationId, Reserved, RoleRow, Row, Seq, State, Submission, Submitted, Survey, Target, drift,
    lease::Lease, range, rule, submission,
};

/// The ledger in memory.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    targets: BTreeMap<Digest, Target>,
    observations: BTreeMap<Seq, Observation>,
    last_seq: Seq,
    /// Observations so far that are more than a record.
    turned: u64,
    reservations: BTreeMap<ReservationId, Reservation>,
    last_reservation: ReservationId,
    intents: BTreeMap<u64, Intent>,
    last_intent: u64,
    submissions: BTreeMap<u64, Submission>,
    last_submission: u64,
    claims: Vec<Claim>,
    offers: BTreeMap<String, Offer>,
    drifts: BTreeMap<TargetPath, Drift>,
    roles: BTreeMap<String, RoleRow>,
    lease: Option<Lease>,
    publication: Option<Publication>,
    audit: Vec<AuditLine>,
}

impl MemoryLedger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables, for the holder of the newest fence.
    fn fenced(&self, fence: Fence) -> Result<MutexGuard<'_, Tables>, LedgerError> {
        let tables = self.tables();
        Lease::admit(tables.lease.as_ref(), fence)?;
        Ok(tables)
    }
}

impl Tables {
    fn entry(&self, path: &TargetPath) -> Entry {
        let target = self.targets.get(&path.id()).cloned();
        let applied = target.as_ref().map_or(0, |target| target.seq);
        let pending = self.observations.range(applied + 1..).map(|(_, seen)| seen);
        let reservations = self.reservations.values();
        Entry {
            pending: pending.filter(|seen| seen.path == *path).cloned().collect(),
            reservations: reservations.filter(|open| open.path == *path).cloned().collect(),
            claims: self
                .claims
                .iter()
                .filter(|claim| claim.path == *path)
                .cloned()
                .collect(),
            drift: self.drifts.get(path).cloned(),
            target,
        }
    }

    fn observe(&mut self, observation: Observation) -> Seq {
        let seq = next(&mut self.last_seq);
        self.turned += u64::from(!matches!(observation.act, Act::Record { .. }));
        self.observations.insert(seq, Observation { seq, ..observation });
        seq
    }

    fn role(&mut self, name: &str) -> &mut RoleRow {
        self.roles
            .entry(name.to_owned())
            .or_insert_with_key(|name| RoleRow::new(name))
    }

    fn live(&self, bits: u8, bin: u32) -> impl Iterator<Item = &Target> {
        let ids = range::of_bin(bits, bin);
        let targets = ids.into_iter().flat_map(|ids| self.targets.range(ids));
        targets
            .map(|(_, target)| target)
            .filter(|target| target.state == State::Live)
    }
}

fn next(last: &mut u64) -> u64 {
    *last += 1;
    *last
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn changes(&self) -> Result<u64, LedgerError> {
        let tables = self.tables();
        let turning = |line: &&AuditLine| !AuditLine::QUIET.contains(&line.action.as_str());
        Ok(tables.turned + tables.audit.iter().filter(turning).count() as u64)
    }

    async fn lookup(&self, path: &TargetPath) -> Result<Entry, LedgerError> {
        Ok(self.tables().entry(path))
    }

    async fn reserve(&self, reservation: Reservation, superseding: bool) -> Result<Reserved, LedgerError> {
        let mut tables = self.tables();
        if let Some(refused) = rule::admit(&tables.entry(&reservation.path), &reservation.digest, superseding) {
            return Ok(refused);
        }
        let id = next(&mut tables.last_reservation);
        let open = Reservation {
            id,
            doubtful: false,
            ..reservation
        };
        tables.reservations.insert(id, open);
        Ok(Reserved::Granted(id))
    }

    async fn confirm(&self, id: ReservationId, at: Timestamp) -> Result<Seq, LedgerError> {
        let mut tables = self.tables();
        let Some(open) = tables.reservations.remove(&id) else {
            return Err(LedgerError::Store {
                place: "memory".to_owned(),
                detail: format!("no reservation {id} is open"),
            });
        };
        Ok(tables.observe(rule::confirmed(open, at)))
    }

    async fn release(&self, id: ReservationId) -> Result<(), LedgerError> {
        self.tables().reservations.remove(&id);
        Ok(())
    }

    async fn doubt(&self, id: ReservationId) -> Result<(), LedgerError> {
        if let Some(open) = self.tables().reservations.get_mut(&id) {
            open.doubtful = true;
        }
        Ok(())
    }

    async fn reservations(&self) -> Result<Vec<Reservation>, LedgerError> {
        Ok(self.tables().reservations.values().cloned().collect())
    }

    async fn observe(&self, observation: Observation) -> Result<Seq, LedgerError> {
        Ok(self.tables().observe(observation))
    }

    async fn intend(&self, intent: Intent) -> Result<u64, LedgerError> {
        let mut tables = self.tables();
        let id = next(&mut tables.last_intent);
        tables.intents.insert(id, Intent { id, ..intent });
        Ok(id)
    }

    async fn intents(&self) -> Result<Vec<Intent>, LedgerError> {
        Ok(self.tables().intents.values().cloned().collect())
    }

    async fn settle_intent(&self, id: u64) -> Result<(), LedgerError> {
        self.tables().intents.remove(&id);
        Ok(())
    }

    async fn set_drift(
        &self,
        path: &TargetPath,
        drift: Option<Drift>,
        who: &str,
        at: Timestamp,
    ) -> Result<(), LedgerError> {
        let mut tables = self.tables();
        let line = drift::line(path, tables.drifts.get(path), drift.as_ref(), who, at);
        tables.audit.extend(line);
        match drift {
            Some(drift) => tables.drifts.insert(path.clone(), drift),
            None => tables.drifts.remove(path),
        };
        Ok(())
    }

    async fn drifts(&self) -> Result<Vec<Drift>, LedgerError> {
        Ok(self.tables().drifts.values().cloned().collect())
    }

    async fn submit(&self, new: Submission, claims: Vec<Claim>) -> Result<Submitted, LedgerError> {
        let mut tables = self.tables();
        let waiting: Vec<_> = tables.submissions.values().cloned().collect();
        let reserved = tables
            .roles
            .values()
            .map(|row| (row.name.clone(), row.reserved))
            .collect();
        if let Some(refused) = submission::admit(&waiting, &new, &reserved) {
            return Ok(refused);
        }
        let conflict = |claim: &Claim| submission::admit_claim(&tables.entry(&claim.path), claim);
        if let Some(refused) = claims.iter().find_map(conflict) {
            return Ok(refused);
        }
        let id = next(&mut tables.last_submission);
        let claims = claims.into_iter().map(|claim| Claim {
            submission: id,
            ..claim
        });
        tables.claims.extend(claims);
        tables.submissions.insert(id, Submission { id, ..new });
        Ok(Submitted::Waits(id))
    }

    async fn submissions(&self) -> Result<Vec<Submission>, LedgerError> {
        Ok(self.tables().submissions.values().cloned().collect())
    }

    async fn end_submissions(&self, fence: Fence, ids: &[u64], audit: Vec<AuditLine>) -> Result<(), LedgerError> {
        let mut tables = self.fenced(fence)?;
        tables.submissions.retain(|id, _| !ids.contains(id));
        tables.claims.retain(|claim| !ids.contains(&claim.submission));
        tables.audit.extend(audit);
        Ok(())
    }

    async fn offer(&self, fence: Fence, offer: Offer) -> Result<(), LedgerError> {
        let mut tables = self.fenced(fence)?;
        match offer.body.is_empty() {
            true => tables.offers.remove(&offer.role),
            false => tables.offers.insert(offer.role.clone(), offer),
        };
        Ok(())
    }

    async fn offered(&self, role: &str) -> Result<Option<Offer>, LedgerError> {
        Ok(self.tables().offers.get(role).cloned())
    }

    async fn offers(&self) -> Result<Vec<Offer>, LedgerError> {
        Ok(self.tables().offers.values().cloned().collect())
    }

    async fn lease(&self, holder: &str, ttl_secs: u32, now: Timestamp) -> Result<Option<Fence>, LedgerError> {
        let mut tables = self.tables();
        let Some(lease) = Lease::granted(tables.lease.as_ref(), holder, ttl_secs, now) else {
            return Ok(None);
        };
        let fence = lease.fence;
        tables.lease = Some(lease);
        Ok(Some(fence))
    }

    async fn end_lease(&self, fence: Fence) -> Result<(), LedgerError> {
        if let Some(lease) = self.tables().lease.as_mut().filter(|lease| lease.fence == fence) {
            lease.until = None;
        }
        Ok(())
    }

    async fn pending(&self, limit: usize) -> Result<Vec<Observation>, LedgerError> {
        Ok(self.tables().observations.values().take(limit).cloned().collect())
    }

    async fn targets(&self, paths: &[TargetPath]) -> Result<Vec<Target>, LedgerError> {
        let tables = self.tables();
        let recorded = paths.iter().filter_map(|path| tables.targets.get(&path.id()));
        Ok(recorded.cloned().collect())
    }

    async fn apply(&self, fence: Fence, batch: Batch) -> Result<Vec<u64>, LedgerError> {
        let mut tables = self.fenced(fence)?;
        for path in &batch.forgotten {
            tables.targets.remove(&path.id());
        }
        for target in batch.targets {
            tables.targets.insert(target.path.id(), target);
        }
        tables.audit.extend(batch.audit);
        Ok(batch.versions.iter().map(|name| tables.role(name).reserve()).collect())
    }

    async fn raise_version(&self, fence: Fence, role: &str, version: u64, published: bool) -> Result<(), LedgerError> {
        self.fenced(fence)?.role(role).raise(version, published);
        Ok(())
    }

    async fn publish(&self, fence: Fence, publication: Publication) -> Result<(), LedgerError> {
        let mut tables = self.fenced(fence)?;
        tables.observations.retain(|seq, _| *seq > publication.upto);
        for (name, version, expires) in &publication.roles {
            tables.role(name).list(*version, *expires);
        }
        tables.audit.extend(publication.line());
        tables.publication = Some(publication);
        Ok(())
    }

    async fn publication(&self) -> Result<Option<Publication>, LedgerError> {
        Ok(self.tables().publication.clone())
    }

    async fn roles(&self) -> Result<Vec<RoleRow>, LedgerError> {
        Ok(self.tables().roles.values().cloned().collect())
    }

    async fn bin(&self, bits: u8, bin: u32) -> Result<Vec<Target>, LedgerError> {
        let mut targets: Vec<_> = self.tables().live(bits, bin).cloned().collect();
        targets.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(targets)
    }

    async fn bin_names(&self, bits: u8, bin: u32) -> Result<Vec<String>, LedgerError> {
        let tables = self.tables();
        Ok(tables.live(bits, bin).map(|target| target.path.to_string()).collect())
    }

    async fn each_target(&self, each: &mut (dyn for<'a> FnMut(&'a Target) + Send)) -> Result<(), LedgerError> {
        self.tables().live(0, 0).for_each(each);
        Ok(())
    }

    async fn counts(&self) -> Result<(u64, u64), LedgerError> {
        let tables = self.tables();
        Ok((tables.live(0, 0).count() as u64, tables.observations.len() as u64))
    }

    async fn audit(&self, line: AuditLine) -> Result<(), LedgerError> {
        self.tables().audit.push(line);
        Ok(())
    }

    async fn audit_lines(&self, limit: usize) -> Result<Vec<AuditLine>, LedgerError> {
        Ok(self.tables().audit.iter().rev().take(limit).cloned().collect())
    }

    async fn check(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn survey(&self) -> Result<Survey, LedgerError> {
        let tables = self.tables();
        let mut rows: Vec<Row> = tables.publication.iter().cloned().map(Row::Publication).collect();
        let lease = tables.lease.clone();
        rows.extend(lease.map(|Lease { holder, fence, until }| Row::Lease { holder, fence, until }));
        rows.extend(tables.roles.values().cloned().map(Row::Role));
        rows.extend(tables.observations.values().cloned().map(Row::Observation));
        rows.extend(tables.reservations.values().cloned().map(Row::Reservation));
        rows.extend(tables.intents.values().cloned().map(Row::Intent));
        rows.extend(tables.submissions.values().cloned().map(Row::Submission));
        rows.extend(tables.drifts.values().cloned().map(Row::Drift));
        rows.extend(tables.audit.iter().cloned().map(Row::Audit));
        rows.extend(tables.targets.values().cloned().map(Row::Target));
        Ok(Survey::of(rows))
    }
}
