//! Going on after a restore (DESIGN 7.4): ledger, depot or both are older copies, and clients have seen versions that
//! they do not know of. One publication signs every role of the gate's own anew, above all that was ever listed: by the
//! depot, by the ledger, by what is public, or below a number that the operator names.
//!
//! What was published after the backup is learned again from what is public, and what was withdrawn after it stays
//! withdrawn. Nothing that is listed disappears: bins of older generations are written anew, and a role that others sign
//! must stand in the depot, or nothing is written.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    delegated::{self, Files, Standing},
    depot::Stored,
    digest::Digest,
    ledger::{
        Act, AuditLine, Batch, Fence, LedgerError, Observation, Provenance, RoleRow, Seq, State as Stands, Target, rule,
    },
    target::TargetPath,
    tuf::{
        build::Meta,
        layout::{self, Generation},
    },
};

use super::{
    Signer, SignerError,
    batch::{Rows, listed as listed_by_us},
    delegated::{Custom, Taken, acts},
    kept::Kept,
    recover::{Seen, ceilings, damaged, parse},
    refresh::{Due, Versions},
    shape::{BINS, SNAPSHOT, Shape, TARGETS, TIMESTAMP},
    state::State,
};

/// Why what was withdrawn after the backup is retracted.
const WITHDRAWN: &str = "withdrawn after the backup that was restored";

/// What clients may have seen, beyond what ledger and depot know.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Versions that were listed, by role; of snapshot and timestamp, too.
    pub versions: BTreeMap<String, u64>,
    /// No role of ours goes on at or below this version.
    pub at_least: u64,
    /// Digest and length of every target that was listed, and when; `None` where that is not known.
    pub targets: Option<(Rows, Timestamp)>,
    /// Who restores, for the audit chain.
    pub who: String,
}

/// What a restore did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Restored {
    /// Version of the snapshot that was published.
    pub snapshot: u64,
    /// Version of the timestamp that names it.
    pub timestamp: u64,
    /// Paths that the ledger had forgotten.
    pub learned: Vec<TargetPath>,
    /// Paths that the ledger had as listed and that were not public any more: retracted.
    pub withdrawn: Vec<TargetPath>,
}

impl Signer {
    /// Publishes everything anew, above what was shown. The caller holds the signer's socket: no other signer runs. The
    /// clock is believed: who restores has looked at it.
    pub async fn restore(&mut self, shown: &Shown) -> Result<Restored, SignerError> {
        self.state = None;
        let now = self.parts.clock.now();
        let Some(fence) = self.leased(now).await? else {
            return Err(SignerError::Busy);
        };
        let files = self.parts.depot.list().await?;
        let roots = self.roots(&files).await?;
        let config = self.parts.config.clone();
        let first = Shape::first(&config.tuf)?;
        self.check_keys(first, &roots)?;
        let seen = self.seen(&roots).await?;
        let rows = self.parts.ledger.roles().await?;
        let listed = listed(seen.as_ref(), &rows, &shown.versions);
        let shape = newest(first, &listed);
        if let Some(seen) = &seen {
            Shape::listed(&config.tuf, |role| seen.roles.contains_key(role))?;
        }
        let publication = self.parts.ledger.publication().await?;
        let mut state = State {
            fence,
            shape,
            root: roots.first().map_or(0, |root| root.version.get()),
            stamp: 0,
            timestamp: seen.map(|seen| seen.bytes),
            snapshot: None,
            roles: self.of_others(&listed).await?,
            expires: HashMap::new(),
            next_due: now,
            upto: publication.as_ref().map_or(0, |last| last.upto),
            quota: HashMap::new(),
            live: 0,
            growth: None,
            custom: Custom::default(),
            kept: Kept::default(),
            baseline: HashMap::new(),
            since: now,
        };
        if let Some(version) = listed.get(TARGETS).copied()
            && let Some(file) = self.parts.depot.read(&layout::file(TARGETS, version)).await?
        {
            state.roles.insert(TARGETS.to_owned(), Meta::pinned(version, &file));
        }
        self.read_custom(&mut state, &files, &roots).await?;
        if let Some(root) = roots.first() {
            self.check_delegations(&mut state, root).await?;
        }
        for (role, meta) in &state.roles {
            self.parts.ledger.raise_version(fence, role, meta.version, true).await?;
        }
        self.raise(fence, shape, &listed, &files, shown).await?;

        let theirs = state.custom.files.values().flat_map(|file| file.targets.keys());
        let theirs: HashSet<_> = theirs.cloned().collect();
        let mut done = self.learn(shown, &theirs, state.upto, now).await?;
        self.count(&mut state).await?;
        let pending = self.parts.ledger.pending(usize::MAX >> 1).await?;
        let upto = pending.last().map_or(state.upto, |last| last.seq);
        let mut taken = self.take_up(&mut state, upto, now).await?.unwrap_or_else(|| Taken {
            files: state.custom.files.clone(),
            ..Taken::default()
        });
        // The ledger may have forgotten what they list.
        taken.acts.extend(acts(&Files::new(), &taken.files, upto, now));
        let written = self.write_older(&mut state, &listed, now).await?;
        let bins = matches!(shape, Shape::Bins(_));
        let due = Due {
            bins: (0..shape.count()).collect(),
            delegator: bins,
            targets: bins && self.parts.keys.targets.is_some(),
            snapshot: true,
            timestamp: true,
            written,
        };
        done.snapshot = self.publish(&mut state, pending, due, taken, now).await?;
        done.timestamp = state.stamp;
        let line = AuditLine {
            at: now,
            who: shown.who.clone(),
            action: "recover".to_owned(),
            path: String::new(),
            detail: format!(
                "goes on with snapshot {}, timestamp {}; {} targets learned again, {} withdrawn",
                done.snapshot,
                done.timestamp,
                done.learned.len(),
                done.withdrawn.len()
            ),
        };
        self.parts.ledger.audit(line).await?;
        Ok(done)
    }

    /// Roles that the gate does not sign, as the snapshot goes on listing them.
    async fn of_others(&self, listed: &BTreeMap<String, u64>) -> Result<BTreeMap<String, Meta>, SignerError> {
        let mut roles = BTreeMap::new();
        let led_to = self.led_to(listed).await?;
        for (role, version) in listed {
            if role == TARGETS || is_ours(role) {
                continue;
            }
            if !led_to.contains(role) {
                // Its name stays; nobody needs its last file, which may be lost.
                let file = self.parts.depot.read(&layout::file(role, *version)).await?;
                let pinned = file.filter(|_| !layout::is_twofold(role));
                let meta = pinned.map_or(Meta::version(*version), |file| Meta::pinned(*version, &file));
                roles.insert(role.clone(), meta);
                continue;
            }
            let file = self.file(role, *version).await?;
            let meta = match layout::is_twofold(role) {
                true => Meta::version(*version),
                false => Meta::pinned(*version, &file),
            };
            if layout::is_twofold(role) {
                let name = layout::succinct(role, *version);
                let stands = self.parts.depot.read(&name).await?.is_some();
                if !stands {
                    return Err(damaged(&name, "it is missing"));
                }
            }
            roles.insert(role.clone(), meta);
        }
        Ok(roles)
    }

    /// The names of all roles that targets.json, as it is to be listed, leads to.
    async fn led_to(&self, listed: &BTreeMap<String, u64>) -> Result<BTreeSet<String>, SignerError> {
        let file = |role: &str| layout::file(role, listed.get(role).copied().unwrap_or(0));
        let name = file(TARGETS);
        let mut top = Value::Null;
        if let Some(bytes) = self.parts.depot.read(&name).await? {
            top = parse::<Value>(&name, &bytes)?["signed"].take();
        }
        let mut standing = Standing::below(delegated::below(&top).as_ref());
        let mut names = BTreeSet::new();
        while let Some(role) = standing.next() {
            let bytes = self.parts.depot.read(&file(&role)).await?;
            names.insert(role.clone());
            // One that is damaged is told by who reads it next.
            let _ = standing.read(role, bytes);
        }
        Ok(names)
    }

    /// Raises the counters of every role that the gate signs, of generations to come, too, to what was listed, written or
    /// named.
    async fn raise(
        &self,
        fence: Fence,
        shape: Shape,
        listed: &BTreeMap<String, u64>,
        files: &[Stored],
        shown: &Shown,
    ) -> Result<(), SignerError> {
        let written = ceilings(files);
        let mut roles: BTreeSet<String> = listed.keys().filter(|role| is_ours(role)).cloned().collect();
        roles.extend(
            written
                .keys()
                .filter(|role| is_ours(role))
                .map(|role| (*role).to_owned()),
        );
        roles.extend([SNAPSHOT, TIMESTAMP].map(str::to_owned));
        roles.extend(self.parts.keys.targets.is_some().then(|| TARGETS.to_owned()));
        if let Shape::Bins(current) = shape {
            roles.insert(BINS.to_owned());
            let mut generation = Some(current);
            while let Some(bins) = generation {
                roles.extend((0..bins.count()).map(|bin| bins.name(bin)));
                generation = bins.next(self.parts.config.tuf.max_bins).filter(|_| shown.at_least > 0);
            }
        }
        for role in roles {
            let known = [
                listed.get(&role).copied(),
                written.get(role.as_str()).copied(),
                shown.versions.get(&role).copied(),
            ];
            let floor = known.into_iter().flatten().fold(shown.at_least, u64::max);
            self.parts.ledger.raise_version(fence, &role, floor, false).await?;
        }
        Ok(())
    }

    /// Bins of older generations, whose names stay listed: written anew, since their last files may be lost.
    async fn write_older(
        &mut self,
        state: &mut State,
        listed: &BTreeMap<String, u64>,
        now: Timestamp,
    ) -> Result<Versions, SignerError> {
        let Shape::Bins(current) = state.shape else {
            return Ok(Versions::new());
        };
        let mut written = Versions::new();
        for bits in 1..current.bits() {
            let Some(older) = Generation::of(1 << bits) else {
                continue;
            };
            let bins: BTreeMap<_, _> = (0..older.count())
                .filter(|bin| listed.contains_key(&older.name(*bin)))
                .map(|bin| (bin, None))
                .collect();
            if bins.is_empty() {
                continue;
            }
            let roles = bins.keys().map(|bin| older.name(*bin)).collect();
            let fresh = self
                .reserve(state, &mut Batch::default(), roles, state.upto, now)
                .await?;
            let (mut metas, mut files) = (BTreeMap::new(), Vec::new());
            self.write_bins(Shape::Bins(older), bins, &fresh, &mut metas, &mut files)
                .await?;
            self.parts.depot.put_all(files).await?;
            written.extend(fresh);
        }
        Ok(written)
    }

    /// Sets the record right by what was public: observations, which the publication takes up. What roles that others sign
    /// list is `theirs`.
    async fn learn(
        &self,
        shown: &Shown,
        theirs: &HashSet<TargetPath>,
        upto: Seq,
        now: Timestamp,
    ) -> Result<Restored, SignerError> {
        let mut done = Restored::default();
        let Some((public, at)) = &shown.targets else {
            return Ok(done);
        };
        let ledger = &self.parts.ledger;
        let mut live: HashMap<TargetPath, (Digest, u64)> = HashMap::new();
        let mut gone: BTreeSet<TargetPath> = BTreeSet::new();
        // Of roles that ended after the backup: dropped, as they were then.
        let mut orphans: BTreeSet<TargetPath> = BTreeSet::new();
        let mut each = |target: &Target| {
            let public = public.contains_key(&target.path) || theirs.contains(&target.path);
            let delegated = target.provenance == Provenance::Delegated && target.state == Stands::Live;
            if delegated && !theirs.contains(&target.path) && target.seq <= upto && target.at < *at {
                orphans.insert(target.path.clone());
                return;
            }
            if listed_by_us(target) && !public && target.seq <= upto && target.at < *at {
                gone.insert(target.path.clone());
            }
            live.insert(target.path.clone(), (target.digest, target.length));
        };
        ledger.each_target(&mut each).await?;
        for seen in ledger.pending(usize::MAX >> 1).await? {
            // What waits to be signed is newer than the record: it is looked at below, and never withdrawn.
            live.remove(&seen.path);
            gone.remove(&seen.path);
            orphans.remove(&seen.path);
        }
        for path in &orphans {
            self.set_right(shown, path, Act::Delete, now).await?;
            if !public.contains_key(path) {
                done.withdrawn.push(path.clone());
            }
        }
        for (path, bytes) in public {
            if live.get(path) == Some(bytes) {
                continue;
            }
            match rule::fold(&ledger.lookup(path).await?, true) {
                // An operator's word outlives what a mirror still shows.
                Some(old) if old.state == Stands::Retracted => continue,
                Some(old) if old.state == Stands::Live && (old.digest, old.length) == *bytes => continue,
                _ => {}
            }
            let (digest, length) = *bytes;
            self.set_right(shown, path, Act::Replace { digest, length }, now)
                .await?;
            done.learned.push(path.clone());
        }
        for path in gone {
            let reason = WITHDRAWN.to_owned();
            self.set_right(shown, &path, Act::Retract { reason }, now).await?;
            done.withdrawn.push(path);
        }
        Ok(done)
    }

    async fn set_right(&self, shown: &Shown, path: &TargetPath, act: Act, at: Timestamp) -> Result<Seq, LedgerError> {
        let observation = Observation {
            seq: 0,
            path: path.clone(),
            act,
            who: shown.who.clone(),
            at,
        };
        self.parts.ledger.observe(observation).await
    }
}

/// The highest version of each role that depot, ledger or public ever listed; not of snapshot and timestamp.
fn listed(seen: Option<&Seen>, rows: &[RoleRow], shown: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut listed: BTreeMap<String, u64> = BTreeMap::new();
    let depot = seen.into_iter().flat_map(|seen| &seen.roles);
    let depot = depot.map(|(role, meta)| (role.as_str(), meta.version));
    let rows = rows.iter().map(|row| (row.name.as_str(), row.published));
    let shown = shown.iter().map(|(role, version)| (role.as_str(), *version));
    for (role, version) in depot.chain(rows).chain(shown) {
        if version > 0 && ![SNAPSHOT, TIMESTAMP].contains(&role) {
            let known = listed.entry(role.to_owned()).or_default();
            *known = version.max(*known);
        }
    }
    listed
}

/// The layout to go on with: what is configured, or the newest generation that was listed.
fn newest(first: Shape, listed: &BTreeMap<String, u64>) -> Shape {
    match (first, Generation::listed(|role| listed.contains_key(role))) {
        (Shape::Bins(begin), Some(grown)) if grown.bits() > begin.bits() => Shape::Bins(grown),
        _ => first,
    }
}

/// Whether a delegated role is one of those that the gate signs: the delegator, or a bin of any generation.
pub fn is_ours(role: &str) -> bool {
    let bin = |generation: Generation| {
        let bins = role.strip_prefix(&generation.prefix())?.strip_prefix('-')?;
        let bin = u32::from_str_radix(bins, 16).ok()?;
        (bin < generation.count() && generation.name(bin) == role).then_some(bin)
    };
    role == BINS
        || (1..=14)
            .filter_map(|bits| Generation::of(1 << bits))
            .any(|generation| bin(generation).is_some())
}
