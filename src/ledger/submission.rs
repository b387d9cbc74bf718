//! When a submission may wait for the signer.

use std::collections::BTreeMap;

use super::{Claim, Entry, Submission, Submitted, rule};

/// Most submissions that wait.
pub const QUEUED: usize = 64;

/// Whether a submission may join those that wait; `None` lets it. `reserved` tells the highest version of a role that was
/// handed out or written.
pub(super) fn admit(waiting: &[Submission], new: &Submission, reserved: &BTreeMap<String, u64>) -> Option<Submitted> {
    if let Some(same) = waiting.iter().find(|waits| waits.body == new.body) {
        return Some(Submitted::Waits(same.id));
    }
    for (role, version) in &new.versions {
        let queued = waiting.iter().filter_map(|waits| waits.versions.get(role)).max();
        let last = reserved.get(role).max(queued).copied().unwrap_or(0);
        if last.checked_add(1) != Some(*version) {
            return Some(Submitted::Taken {
                role: role.clone(),
                wanted: last.saturating_add(1),
            });
        }
    }
    (waiting.len() >= QUEUED).then_some(Submitted::Full)
}

/// Whether one of its claims has something in the way; `entry` is what is known of that path.
pub(super) fn admit_claim(entry: &Entry, claim: &Claim) -> Option<Submitted> {
    let conflict = rule::claim(entry, claim).err()?;
    Some(Submitted::Conflict {
        path: claim.path.clone(),
        conflict,
    })
}
