//! Reading where things stand: after a start, after a failure, after another signer's publication.
//!
//! The depot's timestamp says what was published. Where the ledger does not know it (the timestamp was swapped, the
//! commit after it was lost), its counters are raised; the observations are still pending, and to publish them again
//! changes nothing but versions. Where they cannot both be right, one of them is an older copy: nothing is signed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tough::schema::{self, RoleType, Root, Signed};

use crate::{
    config::Tuf,
    depot::{self, Stored},
    digest::Digest,
    keys::SigningKey,
    ledger::{Fence, RoleRow, Target},
    tuf::{build::Meta, layout},
};

use super::{
    SINCE_LAST, Signer, SignerError,
    batch::{limited, listed},
    delegated::Custom,
    kept::Kept,
    shape::{SNAPSHOT, Shape, TARGETS, TIMESTAMP},
    state::State,
    steady::TOLERANCE,
};

/// A gate may have been off for this long without a question, however short its bins live.
const OFF: Duration = Duration::from_secs(30 * 86_400);

/// What the depot's timestamp leads to.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The timestamp's bytes.
    pub(super) bytes: Bytes,
    timestamp: u64,
    snapshot: Meta,
    pub(super) roles: BTreeMap<String, Meta>,
    /// Which of the two the newest root does not accept, or a key of ours did not sign.
    refused: Vec<&'static str>,
}

impl Signer {
    /// Without a fence, nothing is written to the ledger.
    pub(super) async fn read_state(&self, fence: Option<Fence>, now: Timestamp) -> Result<State, SignerError> {
        let (ledger, config) = (&self.parts.ledger, &self.parts.config);
        let first = Shape::first(&config.tuf)?;
        let files = self.parts.depot.list().await?;
        let online = self.parts.keys.targets.is_some();
        if versions(&files, "root").is_empty() {
            // A first root is for a gate that has not published: to make one in place of what is lost would not do.
            let ours = |file: &Stored| file.name == depot::TIMESTAMP || layout::versioned(&file.name).is_some();
            if files.iter().any(ours) {
                return Err(damaged(&layout::file("root", 1), "it is missing"));
            }
            reconcile(None, &ledger.roles().await?, online)?;
        }
        let roots = self.roots(&files).await?;
        self.check_keys(first, &roots)?;

        let publication = ledger.publication().await?;
        if let Some(last) = &publication
            && !plausible(now, last.at, config.tuf.bin_expiry)
        {
            return Err(SignerError::Clock {
                seconds: now.as_second() - last.at.as_second(),
                than: SINCE_LAST,
            });
        }
        let seen = self.seen(&roots).await?;
        let rows = ledger.roles().await?;
        for (role, version) in reconcile(seen.as_ref(), &rows, online)? {
            let Some(fence) = fence else { continue };
            tracing::warn!(
                role.name = role,
                role.version = version,
                "the depot is ahead of the ledger: catching up"
            );
            ledger.raise_version(fence, &role, version, true).await?;
        }

        let rows: HashMap<_, _> = rows.into_iter().map(|row| (row.name.clone(), row)).collect();
        let mut state = State {
            fence: fence.unwrap_or(Fence(0)),
            shape: first,
            root: roots.first().map_or(0, |root| root.version.get()),
            timestamp: None,
            stamp: 0,
            snapshot: None,
            roles: BTreeMap::new(),
            expires: HashMap::new(),
            next_due: now,
            upto: publication.map_or(0, |last| last.upto),
            quota: HashMap::new(),
            live: 0,
            growth: None,
            custom: Custom::default(),
            kept: Kept::default(),
            baseline: HashMap::new(),
            since: now,
        };
        if let Some(seen) = seen {
            state.shape = Shape::listed(&config.tuf, |role| seen.roles.contains_key(role))?;
            let listed = seen.roles.iter().map(|(role, meta)| (role.as_str(), meta.version));
            let listed = listed.chain([(SNAPSHOT, seen.snapshot.version), (TIMESTAMP, seen.timestamp)]);
            let written = ceilings(&files);
            let names: HashSet<_> = files.iter().map(|file| file.name.as_str()).collect();
            for (role, version) in listed {
                let highest = written.get(role).copied().unwrap_or(version);
                state.baseline.insert(role.to_owned(), (version, highest));
                let row = rows.get(role).filter(|row| row.published == version);
                let stands = |name: String| names.contains(name.as_str());
                // A listed file that is gone is due: only a new version can take its place.
                let whole = match role {
                    TIMESTAMP => true,
                    twofold if layout::is_twofold(twofold) => {
                        stands(layout::file(role, version)) && stands(layout::succinct(role, version))
                    }
                    _ => stands(layout::file(role, version)),
                };
                if let (true, Some(expires)) = (whole, row.and_then(|row| row.expires)) {
                    state.expires.insert(role.to_owned(), expires);
                }
            }
            for role in seen.refused {
                state.expires.remove(role);
            }
            state.timestamp = Some(seen.bytes);
            state.stamp = seen.timestamp;
            state.snapshot = Some(seen.snapshot);
            state.roles = seen.roles;
            self.parts.published.send_replace(seen.snapshot.version);
        }
        self.read_custom(&mut state, &files, &roots).await?;
        if let Some(root) = roots.first() {
            self.check_delegations(&mut state, root).await?;
        }
        if let Some(expires) = state.expires.get(TIMESTAMP) {
            self.parts.metrics.timestamp_expires.set(expires.as_second());
        }
        self.count(&mut state).await?;
        Ok(state)
    }

    /// All roots, newest first.
    pub(super) async fn roots(&self, files: &[Stored]) -> Result<Vec<Root>, SignerError> {
        let versions = versions(files, "root");
        if versions.is_empty() {
            return Err(SignerError::NoRoot);
        }
        let mut roots = Vec::new();
        for version in versions.into_iter().rev() {
            let root: Signed<Root> = parse(&layout::file("root", version), &self.file("root", version).await?)?;
            roots.push(root.signed);
        }
        Ok(roots)
    }

    /// A key the newest root does not list would sign what no client accepts.
    pub(super) fn check_keys(&self, shape: Shape, roots: &[Root]) -> Result<(), SignerError> {
        let keys = &self.parts.keys;
        if shape == Shape::Flat && keys.targets.is_none() {
            return Err(SignerError::NoTargets);
        }
        for (kind, role, keys) in [
            (RoleType::Timestamp, TIMESTAMP, keys.of_timestamp()),
            (RoleType::Snapshot, SNAPSHOT, keys.of_snapshot()),
            (RoleType::Targets, TARGETS, keys.of_targets()),
        ] {
            let Some(key) = keys.first() else { continue };
            let listed = roots.first().and_then(|root| root.roles.get(&kind));
            let listed = |key: &Arc<dyn SigningKey>| listed.is_some_and(|listed| listed.keyids.contains(key.key_id()));
            // While a rotation lasts, the root lists the new key, or the old one, or both.
            if !keys.iter().any(listed) {
                return Err(SignerError::KeyNotListed {
                    by: "the root",
                    role,
                    key: hex::encode(key.key_id()),
                });
            }
        }
        Ok(())
    }

    /// Follows the depot's timestamp. Its signature is checked, and by its digest the snapshot: the depot may be a
    /// store that others can write to, and what stands there is about to be signed again.
    pub(super) async fn seen(&self, roots: &[Root]) -> Result<Option<Seen>, SignerError> {
        let Some(bytes) = self.parts.depot.read(depot::TIMESTAMP).await? else {
            return Ok(None);
        };
        let stamp: Signed<schema::Timestamp> = parse(depot::TIMESTAMP, &bytes)?;
        // An older root, too: its timestamp key may have signed the last one before a rotation.
        if !roots.iter().any(|root| root.verify_role(&stamp).is_ok()) {
            return Err(damaged(depot::TIMESTAMP, "no root's timestamp key signed it"));
        }
        let named = stamp.signed.meta.get("snapshot.json");
        let named = named.ok_or_else(|| damaged(depot::TIMESTAMP, "it names no snapshot"))?;
        let version = named.version.get();
        let name = layout::file(SNAPSHOT, version);
        let file = self.file(SNAPSHOT, version).await?;
        let digest = named.hashes.as_ref().map(|hashes| &*hashes.sha256);
        if digest != Some(Digest::of(&file).as_bytes().as_slice()) {
            return Err(damaged(&name, "its digest is not the one timestamp.json names"));
        }
        let snapshot: Signed<schema::Snapshot> = parse(&name, &file)?;
        let mut refused = Vec::new();
        if let Some(root) = roots.first() {
            let keys = &self.parts.keys;
            let good = root.verify_role(&stamp).is_ok() && bears(&stamp, &keys.of_timestamp());
            refused.extend((!good).then_some(TIMESTAMP));
            let good = root.verify_role(&snapshot).is_ok() && bears(&snapshot, &keys.of_snapshot());
            refused.extend((!good).then_some(SNAPSHOT));
        }
        let mut roles = BTreeMap::new();
        for (file, meta) in &snapshot.signed.meta {
            let role = file
                .strip_suffix(".json")
                .ok_or_else(|| damaged(&name, "it lists what is no metadata file"))?;
            roles.insert(role.to_owned(), pins(meta));
        }
        Ok(Some(Seen {
            bytes,
            timestamp: stamp.signed.version.get(),
            snapshot: Meta::pinned(version, &file),
            roles,
            refused,
        }))
    }

    /// Counts live targets, by rule where a rule has a limit: a walk over everything, and only then.
    pub(super) async fn count(&self, state: &mut State) -> Result<(), SignerError> {
        let (live, _) = self.parts.ledger.counts().await?;
        let theirs: usize = state.custom.files.values().map(|file| file.targets.len()).sum();
        let live = live.saturating_sub(theirs as u64);
        self.parts.metrics.targets.set(live as i64);
        state.live = live;
        let policy = &self.parts.config.policy;
        if policy.rules().iter().all(|rule| rule.max_targets.is_none()) {
            return Ok(());
        }
        let quota = &mut state.quota;
        let mut each = |target: &Target| {
            let rule = policy.tracked(target.path.as_str()).filter(|_| listed(target));
            if let Some((index, ..)) = rule.and_then(|rule| limited(policy, rule)) {
                *quota.entry(index).or_default() += 1;
            }
        };
        Ok(self.parts.ledger.each_target(&mut each).await?)
    }

    pub(super) async fn file(&self, role: &str, version: u64) -> Result<Bytes, SignerError> {
        let name = layout::file(role, version);
        let bytes = self.parts.depot.read(&name).await?;
        bytes.ok_or_else(|| damaged(&name, "it is missing"))
    }
}

/// Holds what the depot names against the ledger's counters; the answer is what to raise them to. The ledger reserves
/// a version before it is written, and learns of a publication after it happened: hence `published ≤ depot ≤
/// reserved`, always. `online`: whether `targets` is ours; its versions are handed out elsewhere otherwise.
fn reconcile(seen: Option<&Seen>, rows: &[RoleRow], online: bool) -> Result<Vec<(String, u64)>, SignerError> {
    let mut named: BTreeMap<&str, u64> = BTreeMap::new();
    if let Some(seen) = seen {
        named.extend(seen.roles.iter().map(|(role, meta)| (role.as_str(), meta.version)));
        named.extend([(SNAPSHOT, seen.snapshot.version), (TIMESTAMP, seen.timestamp)]);
    }
    let counters: BTreeMap<_, _> = rows
        .iter()
        .map(|row| (row.name.as_str(), (row.published, row.reserved)))
        .collect();
    let mut raise = Vec::new();
    for role in named.keys().chain(counters.keys()).collect::<BTreeSet<_>>() {
        if *role == TARGETS && !online {
            continue;
        }
        let depot = named.get(role).copied().unwrap_or(0);
        let (published, reserved) = counters.get(role).copied().unwrap_or((0, 0));
        if depot < published || depot > reserved {
            return Err(SignerError::Restored {
                role: (*role).to_owned(),
                depot,
                published,
                reserved,
            });
        }
        if depot > published {
            raise.push(((*role).to_owned(), depot));
        }
    }
    Ok(raise)
}

/// Whether it may be `now`, after a publication at `last`. No gate that runs is behind it, and none leaves its bins to expire:
/// one that was off for so long is rare enough to ask its operator, who says so with `tufgate recover`.
fn plausible(now: Timestamp, last: Timestamp, bin_expiry: Duration) -> bool {
    let longest = i64::try_from(bin_expiry.max(OFF).as_secs()).unwrap_or(i64::MAX);
    (-TOLERANCE..=longest).contains(&now.as_second().saturating_sub(last.as_second()))
}

/// Whether each of these keys signed a file: while a rotation lasts, a new key signs before a root lists it.
pub(super) fn bears<T>(file: &Signed<T>, keys: &[Arc<dyn SigningKey>]) -> bool {
    let signed = |key: &Arc<dyn SigningKey>| file.signatures.iter().any(|line| line.keyid == *key.key_id());
    keys.iter().all(signed)
}

/// Whether the roles a snapshot lists are those of the configured layout.
pub fn check_layout(tuf: &Tuf, listed: impl Fn(&str) -> bool) -> Result<(), SignerError> {
    Shape::listed(tuf, listed).map(drop)
}

/// Versions of a role's files, ascending.
pub(super) fn versions(files: &[Stored], role: &str) -> Vec<u64> {
    let versions = files.iter().filter_map(|file| layout::versioned(&file.name));
    let mut versions: Vec<_> = versions
        .filter(|(_, name)| *name == role)
        .map(|(version, _)| version)
        .collect();
    versions.sort_unstable();
    versions
}

/// The highest version of every role that stands in the depot, listed or not.
pub(super) fn ceilings(files: &[Stored]) -> HashMap<&str, u64> {
    let mut highest = HashMap::new();
    for (version, role) in files.iter().filter_map(|file| layout::versioned(&file.name)) {
        let known: &mut u64 = highest.entry(role).or_default();
        *known = version.max(*known);
    }
    highest
}

fn pins(meta: &schema::Metafile) -> Meta {
    let digest = meta
        .hashes
        .as_ref()
        .and_then(|hashes| <[u8; 32]>::try_from(&*hashes.sha256 as &[u8]).ok());
    Meta {
        version: meta.version.get(),
        pinned: meta.length.zip(digest.map(Digest)),
    }
}

pub(super) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, SignerError> {
    serde_json::from_slice(bytes).map_err(|error| damaged(name, &error.to_string()))
}

pub(super) fn damaged(name: &str, detail: &str) -> SignerError {
    SignerError::Damaged {
        name: name.to_owned(),
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::shape::BINS, *};

    fn row(name: &str, published: u64, reserved: u64) -> RoleRow {
        RoleRow {
            name: name.to_owned(),
            reserved,
            published,
            expires: None,
        }
    }

    fn seen(bins: u64, snapshot: u64, timestamp: u64) -> Seen {
        Seen {
            timestamp,
            snapshot: Meta::version(snapshot),
            roles: BTreeMap::from([(BINS.to_owned(), Meta::version(bins))]),
            ..Seen::default()
        }
    }

    #[test]
    fn a_clock_is_asked_about_behind_the_last_publication_and_long_after_it() {
        let day = 86_400;
        let at = |second| Timestamp::from_second(1_900_000_000 + second).unwrap_or_default();
        let off = |second| plausible(at(second), at(0), Duration::from_secs(90 * day));
        let day = day.cast_signed();
        assert!(off(-TOLERANCE) && off(0) && off(90 * day));
        assert!(!off(-TOLERANCE - 1) && !off(90 * day + 1));
        assert!(plausible(at(30 * day), at(0), Duration::from_secs(3_600)));
    }

    #[test]
    fn a_lost_commit_is_caught_up_with() {
        let rows = [row(BINS, 1, 1), row(SNAPSHOT, 4, 6), row(TIMESTAMP, 9, 11)];
        let raised = reconcile(Some(&seen(1, 5, 11)), &rows, true).ok();
        assert_eq!(raised, Some(vec![(SNAPSHOT.to_owned(), 5), (TIMESTAMP.to_owned(), 11)]));
    }

    #[test]
    fn older_copies_are_refused() {
        let rows = [row(BINS, 1, 1), row(SNAPSHOT, 4, 6), row(TIMESTAMP, 9, 11)];
        for (depot, what) in [
            (Some(seen(1, 4, 8)), "an older depot"),
            (Some(seen(1, 4, 12)), "an older ledger"),
            (Some(seen(2, 4, 9)), "an older ledger, seen by one role"),
            (None, "an empty depot"),
        ] {
            let refused = reconcile(depot.as_ref(), &rows, true);
            assert!(matches!(refused, Err(SignerError::Restored { .. })), "{what}");
        }
        let refused = reconcile(Some(&seen(1, 4, 9)), &[], true);
        assert!(matches!(refused, Err(SignerError::Restored { .. })), "an empty ledger");
        let fresh = reconcile(None, &[row(SNAPSHOT, 0, 3)], true).ok();
        assert_eq!(fresh, Some(vec![]), "a first publication that did not end");
    }
}
