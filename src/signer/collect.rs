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
        let leftover = role != TARGETS || state.expires.contains_key(TARGETS);
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
