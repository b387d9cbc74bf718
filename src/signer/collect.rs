//! Clearing away superseded metadata. What any client could still be led to stays: roots, the timestamp, all that is
//! listed now, and whatever was listed within the grace.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use jiff::Timestamp;

use crate::{depot::Stored, tuf::layout};

use super::{
    Signer, SignerError,
    shape::{BINS, SNAPSHOT, TARGETS},
    state::{State, after},
};

/// Shortest grace, before a timestamp's own age is added (DESIGN 6).
const LEAST: Duration = Duration::from_secs(3_600);
/// Most files deleted in one go.
const AT_ONCE: usize = 2_000;

impl Signer {
    /// Deletes superseded files whose grace is over, and leftovers of crashes; the answer is their number. Does nothing
    /// before the first turn, or while another holds the lease.
    pub async fn collect(&mut self) -> Result<usize, SignerError> {
        let now = self.now()?;
        let Some(state) = &self.state else { return Ok(0) };
        let config = &self.parts.config;
        let age = Duration::from_secs(u64::from(config.gate.timestamp_max_age));
        let grace = config.signer.retain.max(LEAST + age);
        let files = self.parts.depot.list().await?;
        let mut gone = expired(&files, state, grace, now);
        gone.truncate(AT_ONCE);
        for name in &gone {
            self.parts.depot.delete(name).await?;
        }
        if !gone.is_empty() {
            tracing::info!(depot.deleted = gone.len(), "deleted superseded metadata");
        }
        Ok(gone.len())
    }
}

/// Names of files nobody needs any more.
fn expired(files: &[Stored], state: &State, grace: Duration, now: Timestamp) -> Vec<String> {
    let mut roles: HashMap<&str, BTreeMap<u64, Timestamp>> = HashMap::new();
    for file in files {
        if let Some((version, role)) = layout::versioned(&file.name).filter(|(_, role)| ours(role, state)) {
            roles.entry(role).or_default().insert(version, file.modified);
        }
    }
    let over = |file: &&Stored| {
        let Some((version, role)) = layout::versioned(&file.name) else {
            return false;
        };
        let written = roles.get(role);
        let superseded = written.and_then(|written| superseded(version, role, written, state));
        superseded.is_some_and(|at| after(at, grace) <= now)
    };
    files.iter().filter(over).map(|file| file.name.clone()).collect()
}

/// Whether the signer writes this role: what others put into the depot is not ours to delete.
fn ours(role: &str, state: &State) -> bool {
    role == SNAPSHOT || role == TARGETS || role.starts_with(BINS) || state.roles.contains_key(role)
}

/// The latest moment at which a version can have been listed last; `None` for the one that is listed now.
///
/// The next higher file may be older than that moment: a crash leaves files that were never listed. So what was listed
/// when the state was read is succeeded by the first file that did not stand there then, and what is older than that
/// by what was listed.
fn superseded(version: u64, role: &str, written: &BTreeMap<u64, Timestamp>, state: &State) -> Option<Timestamp> {
    let listed = state.listed(role).unwrap_or(0);
    let (baseline, ceiling) = state.baseline.get(role).copied().unwrap_or_default();
    if version == listed {
        return None;
    }
    if version > listed {
        // Never listed. Versions of targets that somebody else hands out may be about to be.
        let proposed = state.custom.proposed.as_ref().map(|proposed| proposed.version);
        let leftover = role != TARGETS || (state.expires.contains_key(TARGETS) && proposed != Some(version));
        return leftover.then(|| written.get(&version).map_or(state.since, |at| (*at).max(state.since)));
    }
    if version < baseline {
        return written.get(&baseline).copied();
    }
    if baseline < version && version <= ceiling {
        return written.get(&version).map(|at| (*at).max(state.since));
    }
    let (_, successor) = written.range(version.max(ceiling) + 1..).next()?;
    Some((*successor).max(state.since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::Fence,
        signer::{kept::Kept, shape::Shape},
        tuf::{build::Meta, layout::Generation},
    };

    const GRACE: Duration = Duration::from_secs(86_400);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap_or_default()
    }

    /// What is deleted at `now` of `bins4-0` with these versions and the times they were written. The state was read at
    /// 1,000 when `baseline` was listed and `ceiling` the highest file; now `listed` is.
    fn deleted(written: &[(u64, i64)], (baseline, ceiling): (u64, u64), listed: u64, now: i64) -> Vec<u64> {
        let role = "bins4-0".to_owned();
        let state = State {
            fence: Fence(1),
            root: 1,
            shape: Generation::of(16).map_or(Shape::Flat, Shape::Bins),
            timestamp: None,
            stamp: 1,
            snapshot: None,
            roles: BTreeMap::from([(role.clone(), Meta::version(listed))]),
            expires: HashMap::new(),
            next_due: at(0),
            upto: 0,
            quota: HashMap::new(),
            live: 0,
            growth: None,
            custom: crate::signer::delegated::Custom::default(),
            kept: Kept::default(),
            baseline: HashMap::from([(role.clone(), (baseline, ceiling))]),
            since: at(1_000),
        };
        let files: Vec<_> = written
            .iter()
            .map(|(version, second)| Stored {
                name: layout::file(&role, *version),
                length: 1,
                modified: at(*second),
            })
            .collect();
        let gone = expired(&files, &state, GRACE, at(now));
        gone.iter()
            .filter_map(|name| layout::versioned(name))
            .map(|(version, _)| version)
            .collect()
    }

    #[test]
    fn the_grace_counts_from_what_took_its_place() {
        let written = [(1, 0), (2, 500), (3, 5_000), (4, 90_000)];
        assert!(deleted(&written, (2, 2), 4, 86_000).is_empty());
        assert_eq!(
            deleted(&written, (2, 2), 4, 87_000),
            [1],
            "superseded by what was listed at the start"
        );
        assert_eq!(deleted(&written, (2, 2), 4, 91_400), [1, 2]);
        assert_eq!(deleted(&written, (2, 2), 4, 176_400), [1, 2, 3]);
        assert_eq!(
            deleted(&written, (2, 2), 4, i64::from(i32::MAX)),
            [1, 2, 3],
            "the listed one stays"
        );
    }

    #[test]
    fn a_leftover_does_not_shorten_the_grace_of_what_was_listed() {
        // 6 was written before a crash; 7 took the place of 5 a day and more after the state was read.
        let written = [(5, 0), (6, 10), (7, 100_000)];
        assert_eq!(deleted(&written, (5, 6), 7, 100_001), [6]);
        assert_eq!(deleted(&written, (5, 6), 7, 100_000 + 86_400), [5, 6]);
    }

    #[test]
    fn leftovers_ahead_of_the_list_go_too() {
        let written = [(5, 0), (6, 2_000)];
        assert!(deleted(&written, (5, 5), 5, 88_399).is_empty());
        assert_eq!(deleted(&written, (5, 5), 5, 88_400), [6]);
    }
}
