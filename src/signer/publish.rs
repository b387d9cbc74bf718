//! One publication: decide, reserve, write, swap, record. It costs what is dirty, one snapshot and one timestamp.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    thread::available_parallelism,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    compat, delegated,
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
    batch::{Bin, Caps, Judge, Refusal, Rows},
    delegated::Taken,
    guard::{TARGET, refuse},
    kept,
    observed::Observed,
    recover,
    refresh::{Due, Versions},
    seal::seal,
    shape::{BINS, SNAPSHOT, Shape, TARGETS, TIMESTAMP},
    state::{State, after},
};

/// Files written, and made durable, at once.
const PORTION: usize = 64;
/// Portions written while the next one is signed.
const PORTIONS: usize = 2;
/// Bins read at once.
const READS: usize = 4;

/// What a publication will do.
#[derive(Default)]
struct Plan {
    batch: Batch,
    /// Bins to write, with what they list; beyond [`kept::ROWS`] rows without: those are read again.
    bins: BTreeMap<u32, Option<Arc<Rows>>>,
    grown: i64,
}

impl Signer {
    /// Publishes `pending` and what is `due`; the answer is the version of the snapshot that holds it.
    pub(super) async fn publish(
        &mut self,
        state: &mut State,
        pending: Vec<Observation>,
        due: Due,
        taken: Taken,
        now: Timestamp,
    ) -> Result<u64, SignerError> {
        let upto = pending.last().map_or(state.upto, |last| last.seq);
        let mut plan = self.decide(state, pending, &taken.acts).await?;
        for bin in &due.bins {
            plan.bins.entry(*bin).or_default();
        }
        let listed = !plan.bins.is_empty() || due.listed() || taken.lists();
        for role in state.custom.observed.iter_mut().flat_map(BTreeMap::values_mut) {
            plan.batch.forgotten.iter().for_each(|path| role.forget(path));
            plan.batch.targets.iter().for_each(|target| role.see(target));
        }
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
        let mut files = Vec::new();
        let theirs = self.enter(state, &taken, &mut files).await?;
        let mut fresh = self.reserve(state, &mut plan.batch, roles, upto, now).await?;

        for (role, (version, _)) in &due.written {
            state.roles.insert(role.clone(), Meta::version(*version));
        }
        self.write_bins(state.shape, plan.bins, &fresh, &mut state.roles, &mut files)
            .await?;
        self.write_delegators(state, &due, &mut fresh, now, &mut files).await?;
        if let Some((version, expires)) = fresh.get(SNAPSHOT).copied() {
            let roles = std::mem::take(&mut state.roles);
            let (keys, listed) = (self.parts.keys.of_snapshot(), Arc::new(roles));
            let shared = listed.clone();
            let file = seal(keys, move || Ok(build::snapshot(version, expires, &shared))).await?;
            self.may_list(&file)?;
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

        for (role, written) in due.written.into_iter().chain(theirs) {
            fresh.entry(role).or_insert(written);
        }
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
        if !taken.ended.is_empty() {
            self.parts
                .ledger
                .end_submissions(state.fence, &taken.ended, taken.audit)
                .await?;
        }
        state.upto = upto;
        state
            .expires
            .extend(fresh.into_iter().map(|(role, (_, expires))| (role, expires)));
        let metrics = &self.parts.metrics;
        metrics.targets.add(plan.grown);
        state.live = state.live.saturating_add_signed(plan.grown);
        if let Some(expires) = state.expires.get(TIMESTAMP) {
            metrics.timestamp_expires.set(expires.as_second());
        }
        Ok(snapshot.version)
    }

    /// Has the files of roles that others sign ready to be written and listed; their versions and expiries.
    async fn enter(
        &self,
        state: &mut State,
        taken: &Taken,
        files: &mut Vec<(String, Bytes)>,
    ) -> Result<Versions, SignerError> {
        let mut entered = Versions::new();
        let mut enter = |role: &str, version, expires, bytes: &Bytes, meta| {
            state.roles.insert(role.to_owned(), meta);
            files.push((layout::file(role, version), bytes.clone()));
            entered.insert(role.to_owned(), (version, expires));
        };
        let mut views = Vec::new();
        for (role, file) in taken
            .fresh
            .iter()
            .filter_map(|role| Some((role, taken.files.get(role)?)))
        {
            // By version alone: the file differs between the views, the snapshot does not.
            let meta = match &file.succinct {
                Some(_) => Meta::version(file.version),
                None => Meta::pinned(file.version, &file.bytes),
            };
            enter(role, file.version, file.expires, &file.bytes, meta);
            let succinct = file.succinct.iter();
            views.extend(succinct.map(|succinct| (layout::succinct(role, file.version), succinct.bytes.clone())));
        }
        if let Some(targets) = &taken.targets {
            let meta = Meta::pinned(targets.version, &targets.bytes);
            enter(TARGETS, targets.version, targets.expires, &targets.bytes, meta);
            if self.parts.keys.targets.is_none() {
                // Its versions are handed out elsewhere.
                entered.remove(TARGETS);
            }
            state.custom.top = Some(targets.signed.clone());
            state.custom.proposed = None;
            state.custom.observed = None;
        }
        files.extend(views);
        if taken.lists() {
            state.custom.files = taken.files.clone();
            state
                .custom
                .observed
                .iter_mut()
                .flat_map(BTreeMap::values_mut)
                .for_each(Observed::touch);
        }
        // Before they are written, like every version.
        for (role, (version, _)) in &entered {
            self.parts
                .ledger
                .raise_version(state.fence, role, *version, false)
                .await?;
        }
        Ok(entered)
    }

    /// Decides on what is pending. Nothing is written yet.
    async fn decide(
        &self,
        state: &mut State,
        pending: Vec<Observation>,
        delegated: &[Observation],
    ) -> Result<Plan, SignerError> {
        let ledger = &self.parts.ledger;
        let config = &self.parts.config;
        let mut plan = Plan::default();
        if pending.is_empty() && delegated.is_empty() {
            return Ok(plan);
        }
        let paths: BTreeSet<TargetPath> = pending.iter().chain(delegated).map(|seen| seen.path.clone()).collect();
        let paths: Vec<_> = paths.into_iter().collect();
        let known = ledger.targets(&paths).await?;
        let mut current: HashMap<_, _> = known.into_iter().map(|target| (target.path.clone(), target)).collect();
        let bits = state.shape.bits();
        let mut by_bin: BTreeMap<u32, (Vec<Observation>, Vec<Observation>)> = BTreeMap::new();
        for seen in pending {
            by_bin.entry(seen.path.bin(bits)).or_default().0.push(seen);
        }
        for said in delegated {
            by_bin.entry(said.path.bin(bits)).or_default().1.push(said.clone());
        }
        let mut judge = Judge {
            policy: &config.policy,
            caps: Caps {
                targets: state.shape.max_targets(&config.tuf),
                bytes: config.tuf.max_bin_bytes,
            },
            clients: &config.tuf.clients,
            quota: &mut state.quota,
            audited: self.audited,
        };
        let by_bin: Vec<_> = by_bin
            .into_iter()
            .map(|(number, seen)| (number, seen, state.kept.take(number)))
            .collect();
        let mut read = stream::iter(by_bin)
            .map(|(number, seen, kept)| async move {
                let bin = match kept {
                    Some(bin) => bin,
                    None => Bin::new(ledger.bin(bits, number).await?),
                };
                Ok::<_, SignerError>((number, seen, bin))
            })
            .buffered(READS);
        let mut rows = 0;
        let mut audit = Vec::new();
        while let Some((number, seen, mut bin)) = read.try_next().await? {
            let (seen, said) = seen;
            let decided = judge.decide(&mut bin, &mut current, &seen, &said);
            if decided.dirty {
                rows += bin.len();
                plan.bins.insert(number, (rows <= kept::ROWS).then(|| bin.rows()));
            }
            state.kept.keep(number, bin);
            for refusal in &decided.refused {
                self.parts
                    .metrics
                    .unlearned_total
                    .with_label_values(&[refusal.label()])
                    .inc();
                if let Refusal::Client(violation) = refusal {
                    self.tell(TARGET, violation);
                }
            }
            if let Some(growth) = &mut state.growth {
                let paths = decided.targets.iter().map(|target| &target.path);
                paths.chain(&decided.forgotten).for_each(|path| growth.touch(path));
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
    pub(super) async fn reserve(
        &mut self,
        state: &State,
        batch: &mut Batch,
        roles: Vec<String>,
        upto: u64,
        now: Timestamp,
    ) -> Result<Versions, SignerError> {
        let mut batch = std::mem::take(batch);
        if roles.is_empty() && batch.targets.is_empty() && batch.forgotten.is_empty() && batch.audit.is_empty() {
            return Ok(Versions::new());
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

    /// Encodes and signs bins side by side and writes them in portions; the last portion is left in `files`. What a snapshot
    /// says of them goes into `roles`.
    pub(super) async fn write_bins(
        &self,
        shape: Shape,
        bins: BTreeMap<u32, Option<Arc<Rows>>>,
        fresh: &Versions,
        roles: &mut BTreeMap<String, Meta>,
        files: &mut Vec<(String, Bytes)>,
    ) -> Result<(), SignerError> {
        let keys = self.bin_keys(shape)?;
        let cores = available_parallelism().map_or(1, usize::from);
        let jobs = bins.into_iter().filter_map(|(bin, rows)| {
            let role = shape.role(bin);
            let (version, expires) = fresh.get(&role).copied()?;
            Some((bin, role, rows, version, expires))
        });
        let sealed = stream::iter(jobs)
            .map(|(bin, role, rows, version, expires)| {
                let keys = keys.clone();
                async move {
                    let rows = match rows {
                        Some(rows) => rows,
                        None => Bin::new(self.parts.ledger.bin(shape.bits(), bin).await?).rows(),
                    };
                    let file = seal(keys, move || {
                        let rows = rows
                            .iter()
                            .map(|(path, (digest, length))| (path.as_str(), digest, *length));
                        build::targets(version, expires, None, rows)
                    });
                    Ok::<_, SignerError>((role, version, file.await?))
                }
            })
            .buffered(cores * 2)
            .map_ok(|(role, version, file)| {
                let name = layout::file(&role, version);
                let meta = match shape {
                    Shape::Bins(_) => Meta::version(version),
                    Shape::Flat => Meta::pinned(version, &file),
                };
                roles.insert(role, meta);
                (name, file)
            });
        let mut written = sealed
            .try_chunks(PORTION)
            .map_err(|error| error.1)
            .map_ok(|portion| async {
                if portion.len() < PORTION {
                    return Ok(portion);
                }
                self.parts.depot.put_all(portion).await?;
                Ok(Vec::new())
            })
            .try_buffer_unordered(PORTIONS);
        while let Some(left) = written.try_next().await? {
            files.extend(left);
        }
        Ok(())
    }

    fn bin_keys(&self, shape: Shape) -> Result<Vec<Arc<dyn SigningKey>>, SignerError> {
        let keys = match shape {
            Shape::Bins(_) => vec![self.parts.keys.bins.clone()],
            Shape::Flat => self.parts.keys.of_targets(),
        };
        if keys.is_empty() {
            Err(SignerError::NoTargets)
        } else {
            Ok(keys)
        }
    }

    /// `targets` and both forms of `bins`, where they are due.
    async fn write_delegators(
        &self,
        state: &mut State,
        due: &Due,
        fresh: &mut Versions,
        now: Timestamp,
        files: &mut Vec<(String, Bytes)>,
    ) -> Result<(), SignerError> {
        let keys = &self.parts.keys;
        let Shape::Bins(generation) = state.shape else {
            return Ok(());
        };
        let online = keys.of_targets();
        if let (true, Some((version, expires)), false) = (due.targets, fresh.get(TARGETS).copied(), online.is_empty()) {
            let (bins, top) = (keys.bins.clone(), state.custom.top.clone());
            let file = seal(online, move || match top {
                Some(top) => delegated::retarget(&top, version, expires, bins.key_id(), bins.public()),
                None => {
                    let below = build::to_bins(bins.key_id(), bins.public());
                    build::targets(version, expires, Some(&below), [])
                }
            });
            let file = file.await?;
            if self.may_replace(TARGETS, self.targets_break(&file), state, now).await? {
                let mut envelope: Value = recover::parse(TARGETS, &file)?;
                state.custom.top = envelope.get_mut("signed").map(Value::take);
                state.roles.insert(TARGETS.to_owned(), Meta::pinned(version, &file));
                files.push((layout::file(TARGETS, version), file));
            } else {
                fresh.remove(TARGETS);
            }
        }
        if let (true, Some((version, expires))) = (due.delegator, fresh.get(BINS).copied()) {
            let (id, public) = (keys.bins.key_id(), keys.bins.public());
            let mut views = Vec::new();
            for (name, below) in [
                (layout::file(BINS, version), build::by_prefixes(generation, id, public)),
                (
                    layout::succinct("bins", version),
                    build::succinct(generation, id, public),
                ),
            ] {
                let key = keys.bins.clone();
                let file = seal(vec![key], move || build::targets(version, expires, Some(&below), [])).await?;
                views.push((name, file));
            }
            let [prefixes, succinct] = [0, 1].map(|view| views.get(view).map_or(0, |(_, file)| file.len() as u64));
            let found = compat::bins(prefixes, succinct, &self.parts.config.tuf.clients);
            // What points nowhere else than the last may wait; what leads to new bins was looked at before these were written.
            if !due.written.is_empty() {
                refuse(found)?;
            } else if !self.may_replace(BINS, found, state, now).await? {
                fresh.remove(BINS);
                return Ok(());
            }
            files.extend(views);
            // By version alone: the file differs between the views, the snapshot does not.
            state.roles.insert(BINS.to_owned(), Meta::version(version));
        }
        Ok(())
    }

    /// Swaps the timestamp in, if there is a new one: the commit point. Its version.
    async fn swap(&self, state: &mut State, snapshot: Meta, fresh: &Versions) -> Result<u64, SignerError> {
        let Some((version, expires)) = fresh.get(TIMESTAMP).copied() else {
            return Ok(state.stamp);
        };
        let file = seal(self.parts.keys.of_timestamp(), move || {
            Ok(build::timestamp(version, expires, &snapshot))
        })
        .await?;
        let expected = state.timestamp.take();
        self.parts.depot.swap_timestamp(expected, file.clone()).await?;
        state.timestamp = Some(file);
        state.stamp = version;
        Ok(version)
    }
}
