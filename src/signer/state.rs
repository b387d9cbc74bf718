//! What the signer knows between turns. Any failure drops all of it: the next turn reads it anew from depot and ledger.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    ledger::{Fence, Seq},
    tuf::build::Meta,
};

use super::{
    delegated::Custom,
    grow::Growth,
    kept::Kept,
    shape::{SNAPSHOT, Shape},
};

/// What the depot lists, and what is known of it.
pub(super) struct State {
    pub(super) fence: Fence,
    pub(super) shape: Shape,
    /// Version of the newest root.
    pub(super) root: u64,
    /// The depot's timestamp as last seen: what the next one takes the place of.
    pub(super) timestamp: Option<Bytes>,
    /// Its version.
    pub(super) stamp: u64,
    /// The snapshot it names.
    pub(super) snapshot: Option<Meta>,
    /// What that snapshot lists, by role.
    pub(super) roles: BTreeMap<String, Meta>,
    /// When the current version of a role expires; a role without entry is due.
    pub(super) expires: HashMap<String, Timestamp>,
    /// Nothing is due before this moment.
    pub(super) next_due: Timestamp,
    /// The last observation that was published.
    pub(super) upto: Seq,
    /// Live targets by index of the rule, for rules with a limit.
    pub(super) quota: HashMap<usize, u64>,
    /// Live targets.
    pub(super) live: u64,
    /// The next generation of bins, while it is written.
    pub(super) growth: Option<Growth>,
    /// Roles that others sign.
    pub(super) custom: Custom,
    /// What some bins list.
    pub(super) kept: Kept,
    /// By role, the version that was listed when this was read, and the highest one whose file stood there. What
    /// superseded the one came later than [`Self::since`] and is higher than the other.
    pub(super) baseline: HashMap<String, (u64, u64)>,
    /// When this was read.
    pub(super) since: Timestamp,
}

impl State {
    /// The listed version of a role, snapshot included.
    pub(super) fn listed(&self, role: &str) -> Option<u64> {
        match role {
            SNAPSHOT => self.snapshot.map(|meta| meta.version),
            _ => self.roles.get(role).map(|meta| meta.version),
        }
    }
}

/// `now` and a lifetime.
pub(super) fn after(now: Timestamp, lifetime: Duration) -> Timestamp {
    let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(now.as_second().saturating_add(seconds)).unwrap_or(Timestamp::MAX)
}

/// From `now` until `then`; nothing when that is past.
pub(super) fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::from_secs(then.as_second().saturating_sub(now.as_second()).max(0).unsigned_abs())
}
