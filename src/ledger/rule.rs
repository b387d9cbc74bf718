//! What may follow what at one path: pure decisions, shared by intake (which answers early) and the signer (which has
//! the last word).

use jiff::Timestamp;

use crate::digest::Digest;

use super::{Act, Claim, Entry, Observation, Provenance, Reservation, Reserved, State, Superseded, Target};

#[cfg(test)]
mod tests;

/// Why bytes are refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Conflict {
    /// Other bytes are recorded on an immutable path.
    #[error("other bytes are recorded here (sha256 {recorded})")]
    Recorded {
        /// What is recorded.
        recorded: Digest,
    },
    /// A deleted path takes only its old bytes.
    #[error("this path was deleted; only its old bytes may return (sha256 {deleted})")]
    Deleted {
        /// What was recorded.
        deleted: Digest,
    },
    /// An operator withdrew the path.
    #[error("this path was retracted by an operator")]
    Retracted,
    /// Other bytes are on their way to the upstream.
    #[error("an upload of other bytes to this path has not ended")]
    Uploading,
    /// A tracked path may move on, never back.
    #[error("these bytes were superseded here; a return to them is drift")]
    Superseded,
}

/// What an observation makes of a path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The target as it now is.
    Changed(Target),
    /// All is dropped.
    Forgotten,
    /// Nothing changes.
    Same,
    /// The observation is refused.
    Refused(Conflict),
}

/// Whether bytes with this digest may take the place of `current`. `superseding`: the policy lets bytes change (`track`).
fn reserve(current: Option<&Target>, digest: &Digest, superseding: bool) -> Result<(), Conflict> {
    let Some(current) = current else { return Ok(()) };
    match current.state {
        State::Retracted => Err(Conflict::Retracted),
        _ if current.digest == *digest => Ok(()),
        State::Deleted => Err(Conflict::Deleted {
            deleted: current.digest,
        }),
        // What a role lists changes with that role's file alone.
        State::Live if !superseding || current.provenance == Provenance::Delegated => Err(Conflict::Recorded {
            recorded: current.digest,
        }),
        State::Live if current.superseded.iter().any(|old| old.digest == *digest) => Err(Conflict::Superseded),
        State::Live => Ok(()),
    }
}

/// Whether an upload of `digest` may go upstream. Nobody can squat a name by asking for it: an upload takes the place of
/// what a fetch taught.
pub fn upload(current: Option<&Target>, digest: &Digest, superseding: bool) -> Result<(), Conflict> {
    let fetched = current.is_some_and(|old| old.provenance == Provenance::Fetched);
    reserve(current, digest, superseding || fetched)
}

/// Whether a role that others sign may list `digest` at a path: as an upload might, and what it listed itself may move on
/// where the policy lets bytes change.
pub fn delegate(current: Option<&Target>, digest: &Digest, superseding: bool) -> Result<(), Conflict> {
    let current = current.map(|old| match delegated(old) {
        true => Target {
            provenance: Provenance::Published,
            ..old.clone()
        },
        false => old.clone(),
    });
    upload(current.as_ref(), digest, superseding)
}

/// What stands in the way of a reservation for these bytes; `None` grants it. A record in the way outweighs another
/// upload in the way, since that one would meet it too.
pub fn admit(entry: &Entry, digest: &Digest, superseding: bool) -> Option<Reserved> {
    let current = claimed(entry, superseding);
    if let Err(conflict) = upload(current.as_ref(), digest, superseding) {
        return Some(Reserved::Conflict(conflict));
    }
    let other = entry.reservations.iter().find(|open| open.digest != *digest)?;
    Some(Reserved::Held(other.clone()))
}

/// Whether a role that others sign may list what it claims, and what is acknowledged stays what is listed: after all that is
/// pending, what others claimed before and the uploads under way.
pub fn claim(entry: &Entry, claim: &Claim) -> Result<(), Conflict> {
    let current = claimed(entry, claim.superseding);
    delegate(current.as_ref(), &claim.digest, claim.superseding)?;
    match entry.reservations.iter().any(|open| open.digest != claim.digest) {
        true => Err(Conflict::Uploading),
        false => Ok(()),
    }
}

/// The observation that a reservation becomes once the upstream accepted the upload; `seq` is still to be assigned.
pub fn confirmed(reservation: Reservation, at: Timestamp) -> Observation {
    Observation {
        seq: 0,
        path: reservation.path,
        act: Act::Record {
            digest: reservation.digest,
            length: reservation.length,
            provenance: Provenance::Published,
        },
        who: reservation.who,
        at,
    }
}

/// Applies one observation. Deciding the same observation twice changes nothing the second time.
pub fn decide(current: Option<&Target>, seen: &Observation, superseding: bool) -> Verdict {
    if current.is_some_and(|current| current.seq >= seen.seq) {
        return Verdict::Same;
    }
    apply(current, seen, superseding)
}

/// Applies what is no observation but came with a role's file: its number tells only up to where observations were applied.
pub fn apply(current: Option<&Target>, seen: &Observation, superseding: bool) -> Verdict {
    match (&seen.act, current) {
        (
            Act::Record {
                digest,
                length,
                provenance,
            },
            current,
        ) => record(current, seen, (digest, *length, *provenance), superseding),
        (Act::Replace { digest, length }, Some(current))
            if current.state == State::Live && (current.digest, current.length) == (*digest, *length) =>
        {
            Verdict::Same
        }
        (Act::Replace { .. }, Some(current)) if current.state == State::Live && delegated(current) => {
            Verdict::Refused(Conflict::Recorded {
                recorded: current.digest,
            })
        }
        (Act::Replace { digest, length }, current) => {
            Verdict::Changed(successor(current, seen, (digest, *length, Provenance::Declared)))
        }
        (Act::Delete, Some(current)) if current.state == State::Live => Verdict::Changed(Target {
            state: State::Deleted,
            seq: seen.seq,
            who: seen.who.clone(),
            at: seen.at,
            ..current.clone()
        }),
        (Act::Retract { .. }, Some(current)) if current.state != State::Retracted => Verdict::Changed(Target {
            state: State::Retracted,
            seq: seen.seq,
            who: seen.who.clone(),
            at: seen.at,
            ..current.clone()
        }),
        // Its role has dropped it meanwhile.
        (Act::Delete, Some(current)) if current.state == State::Retracted && delegated(current) => {
            Verdict::Changed(Target {
                provenance: Provenance::Declared,
                ..current.clone()
            })
        }
        // A role goes on listing it, whatever an operator forgets: other bytes must not come to stand there.
        (Act::Forget, Some(current)) if current.state == State::Live && delegated(current) => Verdict::Same,
        (Act::Forget, Some(current)) if current.state == State::Retracted && delegated(current) => {
            Verdict::Changed(Target {
                state: State::Live,
                seq: seen.seq,
                who: seen.who.clone(),
                at: seen.at,
                ..current.clone()
            })
        }
        (Act::Forget, Some(_)) => Verdict::Forgotten,
        (Act::Delete | Act::Retract { .. } | Act::Forget, _) => Verdict::Same,
    }
}

fn delegated(target: &Target) -> bool {
    target.provenance == Provenance::Delegated
}

/// What stands at the path once the signer has applied all that is pending.
pub fn fold(entry: &Entry, superseding: bool) -> Option<Target> {
    let mut current = entry.target.clone();
    for seen in &entry.pending {
        match decide(current.as_ref(), seen, superseding) {
            Verdict::Changed(target) => current = Some(target),
            Verdict::Forgotten => current = None,
            Verdict::Same | Verdict::Refused(_) => {}
        }
    }
    current
}

/// What stands there once the signer has also listed what waits for it.
fn claimed(entry: &Entry, superseding: bool) -> Option<Target> {
    let mut current = fold(entry, superseding);
    for claim in &entry.claims {
        if delegate(current.as_ref(), &claim.digest, claim.superseding).is_ok() {
            let listed = Target {
                path: claim.path.clone(),
                digest: claim.digest,
                length: claim.length,
                provenance: Provenance::Delegated,
                state: State::Live,
                seq: 0,
                who: String::new(),
                at: Timestamp::UNIX_EPOCH,
                superseded: Vec::new(),
            };
            current = Some(listed);
        }
    }
    current
}

fn record(
    current: Option<&Target>,
    seen: &Observation,
    (digest, length, provenance): (&Digest, u64, Provenance),
    superseding: bool,
) -> Verdict {
    let next = || successor(current, seen, (digest, length, provenance));
    let Some(old) = current else {
        return Verdict::Changed(next());
    };
    let allowed = match provenance {
        Provenance::Published => upload(current, digest, superseding),
        Provenance::Delegated => delegate(current, digest, superseding),
        _ => reserve(current, digest, superseding),
    };
    match allowed {
        Err(conflict) => Verdict::Refused(conflict),
        Ok(()) if old.digest != *digest || old.state == State::Deleted => Verdict::Changed(next()),
        // A better witness of the same bytes. What is signed stays what it was, so `seq` does too: the target must not
        // read as unsigned until the next publication. Unless the earlier witness had the length wrong.
        Ok(()) if provenance > old.provenance => Verdict::Changed(Target {
            length,
            provenance,
            seq: if length == old.length { old.seq } else { seen.seq },
            who: seen.who.clone(),
            at: seen.at,
            ..old.clone()
        }),
        Ok(()) => Verdict::Same,
    }
}

fn successor(
    current: Option<&Target>,
    seen: &Observation,
    (digest, length, provenance): (&Digest, u64, Provenance),
) -> Target {
    let mut superseded = current.map(|old| old.superseded.clone()).unwrap_or_default();
    if let Some(old) = current.filter(|old| old.digest != *digest) {
        superseded.insert(
            0,
            Superseded {
                digest: old.digest,
                length: old.length,
                at: seen.at,
            },
        );
    }
    superseded.retain(|old| old.digest != *digest);
    Target {
        path: seen.path.clone(),
        digest: *digest,
        length,
        provenance,
        state: State::Live,
        seq: seen.seq,
        who: seen.who.clone(),
        at: seen.at,
        superseded,
    }
}
