//! One publication: decide, reserve, write, swap, record. It costs what is dirty, one snapshot and one timestamp.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    thread::available_parallelism,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use crate::{
    keys::SigningKey,
    ledger::{Batch, Observation, Publication},
    target::TargetPath,
    tuf::{
        build::{self, Meta},
        layout,
    },
};

use super::{
    Signer, SignerError,
    batch::{Bin, Caps, Judge, Rows},
    refresh::Due,
    seal::seal,
    shape::{BINS, SNAPSHOT, Shape, TARGETS, TIMESTAMP},
    state::{State, after},
};

/// Most rows of decided bins kept in memory until they are written; further bins are read twice.
const KEPT_ROWS: usize = 100_000;
/// Files written, and made durable, at once.
const FILES_AT_ONCE: usize = 128;
/// Bins read at once.
const READS: usize = 4;

/// What a publication will do.
#[derive(Default)]
struct Plan {
    batch: Batch,
    /// Bins to write, with their rows where they were kept.
    bins: BTreeMap<u32, Option<Rows>>,
    grown: i64,
}

/// A role's new version and its end.
type Fresh = HashMap<String, (u64, Timestamp)>;

impl Signer {
    /// Publishes `pending` and what is `due`; the answer is the version of the snapshot that holds it.
    pub(super) async fn publish(
        &mut self,
        state: &mut State,
        pending: Vec<Observation>,
        due: Due,
        now: Timestamp,
    ) -> Result<u64, SignerError> {
        let upto = pending.last().map_or(state.upto, |last| last.seq);
        let mut plan = self.decide(state, pending).await?;
        for bin in &due.bins {
            plan.bins.entry(*bin).or_default();
        }
        let listed = !plan.bins.is_empty() || due.listed();
        let snapshot_due = listed || due.snapshot;
        let mut roles: Vec<String> = plan.bins.keys().map(|bin| state.shape.role(*bin)).collect();
        for (role, wanted) in [
            (TARGETS, due.targets),
            (BINS, due.delegator),
            (SNAPSHOT, snapshot_due),
            (TIMESTAMP, snapshot_due || due.timestamp),
        ] {
            roles.extend(wanted.then(|| role.to_owned()));
        }
        let fresh = self.reserve(state, &mut plan.batch, roles, upto, now).await?;

        let mut files = Vec::new();
        self.write_bins(state, plan.bins, &fresh, &mut files).await?;
        self.write_delegators(state, &due, &fresh, &mut files).await?;
        if let Some((version, expires)) = fresh.get(SNAPSHOT).copied() {
            let roles = std::mem::take(&mut state.roles);
            let (key, listed) = (self.parts.keys.snapshot.clone(), Arc::new(roles));
            let shared = listed.clone();
            let file = seal(key, move || Ok(build::snapshot(version, expires, &shared))).await?;
            state.roles = Arc::unwrap_or_clone(listed);
            state.snapshot = Some(Meta::pinned(version, &file));
            files.push((layout::file(SNAPSHOT, version), file));
        }
        if !files.is_empty() {
            self.parts.depot.put_all(files).await?;
        }
        let snapshot = state
            .snapshot
            .ok_or(SignerError::Task("there is no snapshot".to_owned()))?;
        let timestamp = self.swap(state, snapshot, &fresh).await?;

        let publication = Publication {
            snapshot: snapshot.version,
            timestamp,
            upto,
            at: now,
            roles: fresh
                .iter()
                .map(|(role, (version, expires))| (role.clone(), *version, *expires))
                .collect(),
        };
        self.parts.ledger.publish(state.fence, publication).await?;
        state.upto = upto;
        state
            .expires
            .extend(fresh.into_iter().map(|(role, (_, expires))| (role, expires)));
        let metrics = &self.parts.metrics;
        metrics.targets.add(plan.grown);
        if let Some(expires) = state.expires.get(TIMESTAMP) {
            metrics.timestamp_expires.set(expires.as_second());
        }
        Ok(snapshot.version)
    }

    /// Decides on what is pending. Nothing is written yet.
    async fn decide(&self, state: &mut State, pending: Vec<Observation>) -> Result<Plan, SignerError> {
        let ledger = &self.parts.ledger;
        let config = &self.parts.config;
        let mut plan = Plan::default();
        if pending.is_empty() {
            return Ok(plan);
        }
        let paths: BTreeSet<TargetPath> = pending.iter().map(|seen| seen.path.clone()).collect();
        let paths: Vec<_> = paths.into_iter().collect();
        let known = ledger.targets(&paths).await?;
        let mut current: HashMap<_, _> = known.into_iter().map(|target| (target.path.clone(), target)).collect();
        let bits = state.shape.bits();
        let mut by_bin: BTreeMap<u32, Vec<Observation>> = BTreeMap::new();
        for seen in pending {
            by_bin.entry(seen.path.bin(bits)).or_default().push(seen);
        }
        let mut judge = Judge {
            policy: &config.policy,
            caps: Caps {
                targets: state.shape.max_targets(&config.tuf),
                bytes: config.tuf.max_bin_bytes,
            },
            quota: &mut state.quota,
            audited: self.audited,
        };
        let mut read = stream::iter(by_bin)
            .map(|(bin, seen)| async move { Ok::<_, SignerError>((bin, seen, ledger.bin(bits, bin).await?)) })
            .buffered(READS);
        let mut kept = 0;
        let mut audit = Vec::new();
        while let Some((number, seen, targets)) = read.try_next().await? {
            let mut bin = Bin::new(targets);
            let decided = judge.decide(&mut bin, &mut current, &seen);
            if decided.dirty {
                let rows = bin.rows();
                kept += rows.len();
                plan.bins.insert(number, (kept <= KEPT_ROWS).then_some(rows));
            }
            for refusal in &decided.refused {
                self.parts
                    .metrics
                    .unlearned_total
                    .with_label_values(&[refusal.label()])
                    .inc();
            }
            plan.batch.targets.extend(decided.targets);
            plan.batch.forgotten.extend(decided.forgotten);
            audit.extend(decided.audit);
            plan.grown += decided.grown;
        }
        plan.batch.targets.sort_by_key(|target| target.seq);
        audit.sort_by_key(|(seq, _)| *seq);
        plan.batch.audit = audit.into_iter().map(|(_, line)| line).collect();
        Ok(plan)
    }

    /// Commits the decision with the versions that will carry it. From here on the versions are spent, whatever
    /// happens.
    async fn reserve(
        &mut self,
        state: &State,
        batch: &mut Batch,
        roles: Vec<String>,
        upto: u64,
        now: Timestamp,
    ) -> Result<Fresh, SignerError> {
        let mut batch = std::mem::take(batch);
        if roles.is_empty() && batch.targets.is_empty() && batch.forgotten.is_empty() && batch.audit.is_empty() {
            return Ok(Fresh::new());
        }
        batch.versions = roles.clone();
        let versions = self.parts.ledger.apply(state.fence, batch).await?;
        self.audited = self.audited.max(upto);
        let tuf = &self.parts.config.tuf;
        let fresh = roles.into_iter().zip(versions).map(|(role, version)| {
            let lifetime = match role.as_str() {
                TARGETS => tuf.targets_expiry,
                BINS => tuf.delegator_expiry,
                SNAPSHOT => tuf.snapshot_expiry,
                TIMESTAMP => tuf.timestamp_expiry,
                _ => state.shape.bin_expiry(tuf),
            };
            (role, (version, after(now, lifetime)))
        });
        Ok(fresh.collect())
    }

    /// Encodes and signs bins side by side and writes them in portions; the last portion is left in `files`.
    async fn write_bins(
        &self,
        state: &mut State,
        bins: BTreeMap<u32, Option<Rows>>,
        fresh: &Fresh,
        files: &mut Vec<(String, Bytes)>,
    ) -> Result<(), SignerError> {
        let shape = state.shape;
        let key = self.bin_key(shape)?;
        let cores = available_parallelism().map_or(1, usize::from);
        let jobs = bins.into_iter().filter_map(|(bin, rows)| {
            let role = shape.role(bin);
            let (version, expires) = fresh.get(&role).copied()?;
            Some((bin, role, rows, version, expires))
        });
        let mut written = stream::iter(jobs)
            .map(|(bin, role, rows, version, expires)| {
                let key = key.clone();
                async move {
                    let rows = match rows {
                        Some(rows) => rows,
                        None => Bin::new(self.parts.ledger.bin(shape.bits(), bin).await?).rows(),
                    };
                    let file = seal(key, move || {
                        let rows = rows
                            .iter()
                            .map(|(path, (digest, length))| (path.as_str(), digest, *length));
                        build::targets(version, expires, None, rows)
                    });
                    Ok::<_, SignerError>((role, version, file.await?))
                }
            })
            .buffered(cores * 2);
        while let Some((role, version, file)) = written.try_next().await? {
            let meta = match shape {
                Shape::Bins(_) => Meta::version(version),
                Shape::Flat => Meta::pinned(version, &file),
            };
            files.push((layout::file(&role, version), file));
            state.roles.insert(role, meta);
            if files.len() >= FILES_AT_ONCE {
                self.parts.depot.put_all(std::mem::take(files)).await?;
            }
        }
        Ok(())
    }

    fn bin_key(&self, shape: Shape) -> Result<Arc<dyn SigningKey>, SignerError> {
        match shape {
            Shape::Bins(_) => Ok(self.parts.keys.bins.clone()),
            Shape::Flat => self.parts.keys.targets.clone().ok_or(SignerError::NoTargets),
        }
    }

    /// `targets` and both forms of `bins`, where they are due.
    async fn write_delegators(
        &self,
        state: &mut State,
        due: &Due,
        fresh: &Fresh,
        files: &mut Vec<(String, Bytes)>,
    ) -> Result<(), SignerError> {
        let keys = &self.parts.keys;
        let Shape::Bins(generation) = state.shape else {
            return Ok(());
        };
        if let (true, Some((version, expires)), Some(key)) = (due.targets, fresh.get(TARGETS).copied(), &keys.targets) {
            let below = build::to_bins(keys.bins.key_id(), keys.bins.public());
            let file = seal(key.clone(), move || build::targets(version, expires, Some(&below), [])).await?;
            state.roles.insert(TARGETS.to_owned(), Meta::pinned(version, &file));
            files.push((layout::file(TARGETS, version), file));
        }
        if let (true, Some((version, expires))) = (due.delegator, fresh.get(BINS).copied()) {
            let (id, public) = (keys.bins.key_id(), keys.bins.public());
            for (name, below) in [
                (layout::file(BINS, version), build::by_prefixes(generation, id, public)),
                (layout::succinct_bins(version), build::succinct(generation, id, public)),
            ] {
                let key = keys.bins.clone();
                let file = seal(key, move || build::targets(version, expires, Some(&below), [])).await?;
                files.push((name, file));
            }
            // By version alone: the file differs between the views, the snapshot does not.
            state.roles.insert(BINS.to_owned(), Meta::version(version));
        }
        Ok(())
    }

    /// Swaps the timestamp in, if there is a new one: the commit point. Its version.
    async fn swap(&self, state: &mut State, snapshot: Meta, fresh: &Fresh) -> Result<u64, SignerError> {
        let Some((version, expires)) = fresh.get(TIMESTAMP).copied() else {
            return Ok(state.stamp);
        };
        let key = self.parts.keys.timestamp.clone();
        let file = seal(key, move || Ok(build::timestamp(version, expires, &snapshot))).await?;
        let expected = state.timestamp.take();
        self.parts.depot.swap_timestamp(expected, file.clone()).await?;
        state.timestamp = Some(file);
        state.stamp = version;
        Ok(version)
    }
}
