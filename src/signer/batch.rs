//! From observations to targets: pure decisions, one bin at a time. The signer has the last word on immutability,
//! quotas and names (DESIGN 3), whatever the proxy let pass.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    compat::{self, Client, Violation},
    digest::Digest,
    ledger::{
        Act, AuditLine, GUARD, Observation, Provenance, Seq, State, Target,
        rule::{self, Conflict, Verdict},
    },
    policy::{Learn, Policy, Rule},
    target::TargetPath,
    tuf::{build, canonical},
};

/// What a bin's file lists: digest and length by path, in the order of the file.
pub(super) type Rows = BTreeMap<TargetPath, (Digest, u64)>;

/// A bin while it is decided on.
#[derive(Debug, Default)]
pub(super) struct Bin {
    /// Shared with whoever writes the file; changed where it is nobody else's.
    rows: Arc<Rows>,
    bytes: u64,
}

impl Bin {
    pub(super) fn new(targets: Vec<Target>) -> Self {
        let rows: Rows = targets
            .into_iter()
            .filter(listed)
            .map(|target| (target.path, (target.digest, target.length)))
            .collect();
        let bytes = rows.iter().map(|(path, (_, length))| row_size(path, *length)).sum();
        Self {
            rows: Arc::new(rows),
            bytes,
        }
    }

    pub(super) fn rows(&self) -> Arc<Rows> {
        Arc::clone(&self.rows)
    }

    /// Targets listed.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

fn row_size(path: &TargetPath, length: u64) -> u64 {
    build::row_size(path.as_str(), length)
}

/// What bounds a bin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    pub(super) targets: u64,
    pub(super) bytes: u64,
}

/// Why the signer refuses an observation.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the bin would pass {0} bytes")]
    BinBytes(u64),
    #[error("the bin would pass {0} targets")]
    BinTargets(u64),
    #[error("{0}")]
    Client(Box<Violation>),
    #[error(transparent)]
    Conflict(Conflict),
    #[error("rule `{0}` does not learn this way")]
    NotLearned(String),
    #[error("clients disagree on which of this name and `{0}` comes first, and could not verify a file with both")]
    Order(TargetPath),
    #[error("rule `{0}` has all the targets it may have ({1})")]
    Quota(String, u64),
    #[error("no rule tracks this path")]
    Untracked,
}

impl Refusal {
    /// The metric's label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::BinBytes(_) | Self::BinTargets(_) => "bin-full",
            Self::Client(_) => "client",
            Self::Conflict(_) => "conflict",
            Self::NotLearned(_) => "not-learned",
            Self::Order(_) => "name-order",
            Self::Quota(..) => "quota",
            Self::Untracked => "untracked",
        }
    }
}

/// What became of the observations of one bin.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// Targets as they now are.
    pub(super) targets: Vec<Target>,
    /// Paths to drop whole.
    pub(super) forgotten: Vec<TargetPath>,
    /// Lines for the audit chain.
    pub(super) audit: Vec<(Seq, AuditLine)>,
    /// What was refused.
    pub(super) refused: Vec<Refusal>,
    /// Whether the bin's file must be written anew.
    pub(super) dirty: bool,
    /// Change of the number of live targets.
    pub(super) grown: i64,
}

/// Decides on the observations of one bin, in their order.
pub(super) struct Judge<'a> {
    pub(super) policy: &'a Policy,
    pub(super) caps: Caps,
    /// Whom no row may break.
    pub(super) clients: &'a [Client],
    /// Live targets by index of the rule, for rules with a limit.
    pub(super) quota: &'a mut HashMap<usize, u64>,
    /// Observations up to this one have their audit lines already: a turn that failed is done again.
    pub(super) audited: Seq,
}

impl Judge<'_> {
    /// `current` holds what the ledger has of the paths observed; `bin` is changed into what its file must list. `delegated`:
    /// what the files of roles say that are listed with it, after all observations.
    pub(super) fn decide(
        &mut self,
        bin: &mut Bin,
        current: &mut HashMap<TargetPath, Target>,
        observations: &[Observation],
        delegated: &[Observation],
    ) -> Decided {
        let mut decided = Decided::default();
        let mut touched = BTreeSet::new();
        let observed = observations.iter().map(|seen| (seen, false));
        for (seen, delegated) in observed.chain(delegated.iter().map(|seen| (seen, true))) {
            let old = current.get(&seen.path);
            let (action, detail) = match self.judge(bin, old, seen, delegated) {
                Ok(Verdict::Same) => {
                    decided.dirty |= delegated || applied_before(old, seen);
                    continue;
                }
                Ok(Verdict::Changed(target)) => {
                    let described = describe(&seen.act, old, &target);
                    decided.grown += self.list(bin, &mut decided.dirty, &target);
                    current.insert(seen.path.clone(), target);
                    touched.insert(seen.path.clone());
                    described
                }
                Ok(Verdict::Forgotten) => {
                    let (listed, grown) = self.unlist(bin, &seen.path);
                    decided.dirty |= listed;
                    decided.grown += grown;
                    current.remove(&seen.path);
                    touched.insert(seen.path.clone());
                    ("forget", String::new())
                }
                Ok(Verdict::Refused(conflict)) => refuse(&mut decided, seen, Refusal::Conflict(conflict)),
                Err(refusal) => refuse(&mut decided, seen, refusal),
            };
            if delegated || seen.seq > self.audited {
                let line = AuditLine {
                    at: seen.at,
                    who: seen.who.clone(),
                    action: action.to_owned(),
                    path: seen.path.as_str().to_owned(),
                    detail,
                };
                decided.audit.push((seen.seq, line));
            }
        }
        for path in touched {
            match current.get(&path) {
                Some(target) => decided.targets.push(target.clone()),
                None => decided.forgotten.push(path),
            }
        }
        decided
    }

    fn judge(&self, bin: &Bin, old: Option<&Target>, seen: &Observation, delegated: bool) -> Result<Verdict, Refusal> {
        let rule = self.policy.tracked(seen.path.as_str());
        let decide = if delegated { rule::apply } else { rule::decide };
        let verdict = decide(old, seen, rule.is_some_and(Rule::superseding));
        let Verdict::Changed(target) = &verdict else {
            return Ok(verdict);
        };
        if let Act::Record { provenance, .. } = seen.act {
            let rule = rule.ok_or(Refusal::Untracked)?;
            let taught = match provenance {
                Provenance::Fetched => rule.learn == Learn::Fetch,
                Provenance::Published => rule.learn != Learn::None,
                Provenance::Reported | Provenance::Declared | Provenance::Delegated => true,
            };
            // A recorded path is learned anew by whatever noticed the change.
            if old.is_none() && !taught {
                return Err(Refusal::NotLearned(rule.path.clone()));
            }
        }
        if listed(target) {
            self.room(bin, rule, target)?;
        }
        Ok(verdict)
    }

    /// Whether a live target fits.
    fn room(&self, bin: &Bin, rule: Option<&Rule>, target: &Target) -> Result<(), Refusal> {
        if let Some(violation) = compat::target(target.path.as_str(), target.length, self.clients).pop() {
            return Err(Refusal::Client(violation.into()));
        }
        let listed = bin.rows.get(&target.path);
        if listed.is_none() {
            if bin.rows.len() as u64 >= self.caps.targets {
                return Err(Refusal::BinTargets(self.caps.targets));
            }
            if let Some((index, max, rule)) = rule.and_then(|rule| self.limit(rule))
                && self.quota.get(&index).copied().unwrap_or(0) >= max
            {
                return Err(Refusal::Quota(rule.to_owned(), max));
            }
            neighbours(&bin.rows, &target.path)?;
        }
        let before = bin.bytes - listed.map_or(0, |(_, length)| row_size(&target.path, *length));
        let bytes = before + row_size(&target.path, target.length);
        if bytes > bin.bytes && build::bin_size(bytes) > self.caps.bytes {
            return Err(Refusal::BinBytes(self.caps.bytes));
        }
        Ok(())
    }

    /// Makes the bin list a target, or not when it is not live. The change of the number of live targets.
    fn list(&mut self, bin: &mut Bin, dirty: &mut bool, target: &Target) -> i64 {
        if !listed(target) {
            let (listed, grown) = self.unlist(bin, &target.path);
            *dirty |= listed;
            return grown;
        }
        let row = (target.digest, target.length);
        bin.bytes += row_size(&target.path, target.length);
        match Arc::make_mut(&mut bin.rows).insert(target.path.clone(), row) {
            Some(old) => {
                bin.bytes -= row_size(&target.path, old.1);
                *dirty |= old != row;
                0
            }
            None => {
                *dirty = true;
                self.count(&target.path, 1);
                1
            }
        }
    }

    fn unlist(&mut self, bin: &mut Bin, path: &TargetPath) -> (bool, i64) {
        if !bin.rows.contains_key(path) {
            return (false, 0);
        }
        let Some((_, length)) = Arc::make_mut(&mut bin.rows).remove(path) else {
            return (false, 0);
        };
        bin.bytes -= row_size(path, length);
        self.count(path, -1);
        (true, -1)
    }

    fn count(&mut self, path: &TargetPath, by: i64) {
        if let Some((index, ..)) = self.policy.tracked(path.as_str()).and_then(|rule| self.limit(rule)) {
            let count = self.quota.entry(index).or_default();
            *count = count.saturating_add_signed(by);
        }
    }

    fn limit<'r>(&self, rule: &'r Rule) -> Option<(usize, u64, &'r str)> {
        limited(self.policy, rule)
    }
}

/// Whether a bin lists it: what a role that others sign lists is theirs.
pub(super) fn listed(target: &Target) -> bool {
    target.state == State::Live && target.provenance != Provenance::Delegated
}

/// Index, limit and glob of a rule that has a limit.
pub(super) fn limited<'r>(policy: &Policy, rule: &'r Rule) -> Option<(usize, u64, &'r str)> {
    let max = rule.max_targets?;
    let index = policy.rules().iter().position(|other| std::ptr::eq(other, rule))?;
    Some((index, max, &rule.path))
}

/// One hostile name must not break a bin: every client has to agree on its place among the others.
fn neighbours(rows: &Rows, path: &TargetPath) -> Result<(), Refusal> {
    let before = rows.range(..path).next_back().map(|(before, _)| before);
    let after = rows.range(path..).next().map(|(after, _)| after);
    if let Some(before) = before.filter(|before| !canonical::before_for_all(before.as_str(), path.as_str())) {
        return Err(Refusal::Order(before.clone()));
    }
    match after.filter(|after| !canonical::before_for_all(path.as_str(), after.as_str())) {
        Some(after) => Err(Refusal::Order(after.clone())),
        None => Ok(()),
    }
}

/// Whether an observation that changes nothing may have changed the ledger in a turn that did not end: then its bin is
/// not published yet. Of a forgotten path nothing is left to tell by.
fn applied_before(old: Option<&Target>, seen: &Observation) -> bool {
    old.is_some_and(|old| old.seq >= seen.seq) || !matches!(seen.act, Act::Record { .. })
}

fn refuse(decided: &mut Decided, seen: &Observation, refusal: Refusal) -> (&'static str, String) {
    let what = match &seen.act {
        Act::Record { digest, .. } | Act::Replace { digest, .. } => format!("sha256 {digest}: "),
        Act::Delete | Act::Retract { .. } | Act::Forget => String::new(),
    };
    let detail = format!("{what}{refusal}");
    let action = match refusal {
        Refusal::Client(_) => GUARD,
        _ => "refuse",
    };
    decided.refused.push(refusal);
    (action, detail)
}

/// Action and detail of the audit line.
fn describe(act: &Act, old: Option<&Target>, new: &Target) -> (&'static str, String) {
    let bytes = format!("sha256 {}, {} bytes", new.digest, new.length);
    match act {
        Act::Record { .. } | Act::Replace { .. } => match old.filter(|old| old.digest != new.digest) {
            Some(old) => ("supersede", format!("{bytes}, after sha256 {}", old.digest)),
            None => ("record", format!("{bytes}, {:?}", new.provenance).to_lowercase()),
        },
        // Its role dropped what an operator had withdrawn, which it stays.
        Act::Delete if new.state == State::Retracted => ("retract", format!("no role lists it any more; {bytes}")),
        Act::Delete => ("delete", bytes),
        Act::Retract { reason } => ("retract", format!("{reason}; {bytes}")),
        Act::Forget => ("forget", String::new()),
    }
}

#[cfg(test)]
impl Bin {
    /// A bin with so many made-up rows.
    pub(super) fn of_rows(count: usize) -> Self {
        let row = |number| Some((TargetPath::new(&format!("{number}")).ok()?, (Digest::of(b""), 0)));
        Self {
            rows: Arc::new((0..count).filter_map(row).collect()),
            bytes: 0,
        }
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
