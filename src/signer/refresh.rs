//! What must be signed anew although nothing was published: roles past half of their life, and roles that were never
//! written.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use crate::config::Tuf;

use super::{
    shape::{BINS, SNAPSHOT, Shape, TARGETS, TIMESTAMP},
    state::{State, after},
};

/// Most bins that are refreshed in one turn, unless a sixty-fourth of them is more.
const BINS_A_TURN: usize = 64;

/// Version and expiry by role.
pub(super) type Versions = HashMap<String, (u64, Timestamp)>;

/// Roles to sign anew.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Due {
    pub(super) bins: Vec<u32>,
    pub(super) delegator: bool,
    pub(super) targets: bool,
    pub(super) snapshot: bool,
    pub(super) timestamp: bool,
    /// Files that stand in the depot and are to be listed for the first time: version and expiry by role.
    pub(super) written: Versions,
}

impl Due {
    pub(super) fn nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a file that snapshot lists changes.
    pub(super) fn listed(&self) -> bool {
        !self.bins.is_empty() || self.delegator || self.targets
    }
}

/// What is due at `now`, and when something will be next. Bins that exist are rolled a few a turn; those that do not
/// are all due, since the delegator names them all.
pub(super) fn due(state: &State, tuf: &Tuf, targets_online: bool, now: Timestamp) -> (Due, Timestamp) {
    let mut next = Timestamp::MAX;
    let mut look = |role: &str, lifetime: Duration| {
        let half = lifetime / 2;
        let renewed = after(now, half);
        let at = state
            .expires
            .get(role)
            .map(|expires| expires.as_second().saturating_sub(half.as_secs() as i64))
            .and_then(|second| Timestamp::from_second(second).ok())
            .filter(|at| *at > now);
        next = next.min(at.unwrap_or(renewed));
        at.is_none()
    };
    let mut due = Due {
        timestamp: look(TIMESTAMP, tuf.timestamp_expiry),
        snapshot: look(SNAPSHOT, tuf.snapshot_expiry),
        ..Due::default()
    };
    if matches!(state.shape, Shape::Bins(_)) {
        due.delegator = look(BINS, tuf.delegator_expiry);
        due.targets = targets_online && look(TARGETS, tuf.targets_expiry);
    }
    let lifetime = state.shape.bin_expiry(tuf);
    let mut rolled = BINS_A_TURN.max(state.shape.count() as usize / 64);
    let mut left = false;
    for bin in 0..state.shape.count() {
        let role = state.shape.role(bin);
        if !look(&role, lifetime) {
            continue;
        }
        if state.roles.contains_key(&role) {
            if rolled == 0 {
                left = true;
                continue;
            }
            rolled -= 1;
        }
        due.bins.push(bin);
    }
    (due, if left { now } else { next })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        ledger::Fence,
        signer::{kept::Kept, tests::tuf},
        tuf::{build::Meta, layout::Generation},
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A state whose roles all expire `life` seconds after their own lifetime began at `born`.
    fn state(bins: u32, tuf: &Tuf, born: Timestamp) -> State {
        let shape = Shape::Bins(Generation::of(bins).unwrap());
        let mut expires = HashMap::from([
            (TIMESTAMP.to_owned(), after(born, tuf.timestamp_expiry)),
            (SNAPSHOT.to_owned(), after(born, tuf.snapshot_expiry)),
            (BINS.to_owned(), after(born, tuf.delegator_expiry)),
            (TARGETS.to_owned(), after(born, tuf.targets_expiry)),
        ]);
        let mut roles = BTreeMap::new();
        for bin in 0..bins {
            expires.insert(shape.role(bin), after(born, tuf.bin_expiry));
            roles.insert(shape.role(bin), Meta::version(1));
        }
        State {
            fence: Fence(1),
            root: 1,
            shape,
            timestamp: None,
            stamp: 0,
            snapshot: None,
            roles,
            expires,
            next_due: born,
            upto: 0,
            quota: HashMap::new(),
            live: 0,
            growth: None,
            custom: crate::signer::delegated::Custom::default(),
            kept: Kept::default(),
            baseline: HashMap::new(),
            since: born,
        }
    }

    #[test]
    fn roles_are_due_at_half_their_life() {
        let tuf = tuf();
        let day = 86_400;
        let state = state(16, &tuf, at(0));
        let (nothing, next) = due(&state, &tuf, true, at(day / 2 - 1));
        assert!(nothing.nothing());
        assert_eq!(next, at(day / 2));
        let (stamp, next) = due(&state, &tuf, true, at(day / 2));
        assert_eq!(
            stamp,
            Due {
                timestamp: true,
                ..Due::default()
            }
        );
        assert_eq!(
            next,
            at(day),
            "the renewed timestamp is due again before the snapshot is"
        );
        let (all, _) = due(&state, &tuf, true, at(200 * day));
        assert!(all.timestamp && all.snapshot && all.delegator && all.targets);
        assert_eq!(all.bins.len(), 16);
        assert!(!due(&state, &tuf, false, at(200 * day)).0.targets, "signed offline");
    }

    #[test]
    fn bins_roll_a_few_at_a_time_but_missing_ones_all_at_once() {
        let tuf = tuf();
        let now = at(50 * 86_400);
        let mut state = state(256, &tuf, at(0));
        let (some, next) = due(&state, &tuf, true, now);
        assert_eq!(some.bins.len(), BINS_A_TURN);
        assert_eq!(next, now, "the rest is due at once");
        state.roles.clear();
        state.expires.clear();
        let (all, next) = due(&state, &tuf, true, now);
        assert_eq!(all.bins.len(), 256);
        assert_eq!(next, at(50 * 86_400 + 43_200));
    }
}
