//! Files of roles that others sign, on their way to the signer.

use std::collections::BTreeMap;

use super::Intake;
use crate::{
    delegated::{self, Files, Next, Refusal, Said, bins},
    digest::Digest,
    ledger::{
        Claim, Ledger, LedgerError, Provenance, State, Submission, Submitted, Target,
        rule::{self, Conflict},
    },
    policy::{Policy, Rule},
    target::TargetPath,
    tuf::schema::Delegations,
};

/// What a new set of roles lists anew, or the first path that stands otherwise in the ledger than it would have it.
pub async fn claims(
    ledger: &dyn Ledger,
    policy: &Policy,
    top: &Delegations,
    old: &Files,
    next: &Next,
) -> Result<Result<Vec<Claim>, Refusal>, LedgerError> {
    if let Some(refusal) = unobserved(ledger, policy, top, old, next).await? {
        return Ok(Err(refusal));
    }
    let mut claims = Vec::new();
    for (path, said) in delegated::changes(old, &next.files) {
        let Said::Lists(digest, length) = said else { continue };
        let Some(rule) = policy.tracked(path.as_str()) else {
            return Ok(Err(Refusal::untracked(path.as_str())));
        };
        let superseding = rule.superseding();
        let current = rule::fold(&ledger.lookup(&path).await?, superseding);
        if let Err(conflict) = rule::delegate(current.as_ref(), &digest, superseding) {
            return Ok(Err(stands(&path, conflict)));
        }
        claims.push(Claim {
            submission: 0,
            path,
            digest,
            length,
            superseding,
        });
    }
    // What stands stays. What says something new lists nothing more that an operator withdrew.
    let fresh = next.fresh.iter().filter_map(|role| next.files.get(role));
    for path in fresh.flat_map(|file| file.targets.keys()) {
        let superseding = policy.tracked(path.as_str()).is_some_and(Rule::superseding);
        let current = rule::fold(&ledger.lookup(path).await?, superseding);
        if current.is_some_and(|target| target.state == State::Retracted) {
            return Ok(Err(stands(path, Conflict::Retracted)));
        }
    }
    Ok(Ok(claims))
}

/// What a team hears of a path that it cannot list so.
pub fn stands(path: &TargetPath, conflict: Conflict) -> Refusal {
    let hint = match conflict {
        Conflict::Uploading => "submit it again once that upload has ended",
        Conflict::Retracted => "drop it from the file",
        _ => "list the bytes that are recorded, or another path",
    };
    Refusal::path(path.as_str(), conflict).hint(hint)
}

/// What an observed role would say that the gate has not seen. Two keys of the team are not enough; and what the bins' key
/// signed may have been made for a bin, or be an offer of long ago, so every row is held against the ledger.
async fn unobserved(
    ledger: &dyn Ledger,
    policy: &Policy,
    top: &Delegations,
    old: &Files,
    next: &Next,
) -> Result<Option<Refusal>, LedgerError> {
    let bins = top.roles.iter().flatten().find(|role| role.name == "bins");
    for id in bins.iter().flat_map(|bins| &bins.keyids) {
        for role in delegated::observed(top, id) {
            let hint = "fetch what the gate offers: `tufgate delegation draft --observed`";
            let own = |name: &&String| bins::belongs(name, &role.name);
            let fresh: Vec<_> = next
                .fresh
                .iter()
                .filter(own)
                .filter_map(|name| next.files.get(name))
                .collect();
            if fresh.is_empty() {
                continue;
            }
            let views = fresh.iter().flat_map(|file| file.succinct.as_deref());
            if !fresh
                .iter()
                .map(|file| &***file)
                .chain(views)
                .all(|file| file.bears(id))
            {
                let refusal = Refusal::unsigned(&role.name, "the gate has not signed it");
                return Ok(Some(refusal.hint(hint)));
            }
            let whole = next.files.get(&role.name);
            let leads = whole
                .iter()
                .flat_map(|file| &file.delegations)
                .flat_map(delegated::custom);
            if let Some(other) = leads
                .map(|below| &below.name)
                .find(|name| **name != bins::delegator(&role.name))
            {
                let refusal = Refusal::unsigned(
                    &role.name,
                    format!("it delegates to `{other}`, and may to its bins alone"),
                );
                return Ok(Some(refusal.hint(hint)));
            }
            // Under other keys than the role's they say nothing new: a key that was taken from the role ends here.
            let below = next.files.get(&role.name).and_then(|file| file.delegations.as_ref());
            let bins = next.fresh.iter().filter(own).find(|name| **name != role.name);
            if let Some(name) = bins.filter(|_| !bins::alike(below, Some(&bins::way(top, role).1))) {
                let refusal = Refusal::unsigned(name, "it is led to under keys that are not the role's any more");
                return Ok(Some(refusal.hint(hint)));
            }
            // The role and its bins together: a target may go from one file to another.
            let rows = |files: &Files| -> BTreeMap<TargetPath, (Digest, u64)> {
                let own = files.iter().filter(|(name, _)| own(name));
                let rows = own.flat_map(|(_, file)| &file.targets);
                rows.map(|(path, row)| (path.clone(), *row)).collect()
            };
            let (said, stood) = (rows(&next.files), rows(old));
            let new = fresh.iter().flat_map(|file| file.targets.keys());
            let gone = stood.keys().filter(|path| !said.contains_key(*path));
            let mut live = BTreeMap::new();
            for path in new.chain(gone) {
                let superseding = policy.tracked(path.as_str()).is_some_and(Rule::superseding);
                let current = rule::fold(&ledger.lookup(path).await?, superseding);
                // What another role lists nobody need have observed.
                let seen = |target: &Target| target.provenance != Provenance::Delegated || stood.contains_key(path);
                let current = current.filter(|target| target.state == State::Live && seen(target));
                live.extend(current.map(|target| (path, (target.digest, target.length))));
            }
            let unseen = |(path, row): &(&TargetPath, &(Digest, u64))| live.get(path) != Some(*row);
            if let Some((path, _)) = fresh.iter().flat_map(|file| &file.targets).find(unseen) {
                let refusal = Refusal::path(path.as_str(), "the gate has not observed these bytes here");
                return Ok(Some(refusal.hint(hint)));
            }
            if let Some(path) = live.keys().find(|path| !said.contains_key(**path)) {
                let refusal = Refusal::path(path.as_str(), "it would be listed no more, and is still there");
                return Ok(Some(refusal.hint(hint)));
            }
        }
    }
    Ok(None)
}

impl Intake {
    /// What the roles would list anew, or the first path that stands otherwise than they would have it now.
    pub async fn claims(
        &self,
        top: &Delegations,
        old: &Files,
        next: &Next,
    ) -> Result<Result<Vec<Claim>, Refusal>, LedgerError> {
        claims(&*self.parts.ledger, self.policy(), top, old, next).await
    }

    /// The highest version of each role that was listed or written.
    pub async fn role_versions(&self) -> Result<BTreeMap<String, u64>, LedgerError> {
        let rows = self.parts.ledger.roles().await?;
        Ok(rows.into_iter().map(|row| (row.name, row.reserved)).collect())
    }

    /// What waits for the signer.
    pub async fn submissions(&self) -> Result<Vec<Submission>, LedgerError> {
        self.parts.ledger.submissions().await
    }

    /// What waits for those who countersign a role.
    pub async fn offered(&self, role: &str) -> Result<Option<String>, LedgerError> {
        let offer = self.parts.ledger.offered(role).await?;
        Ok(offer.map(|offer| offer.body))
    }

    /// Queues files for the signer, durably, and wakes it.
    pub async fn submit(
        &self,
        versions: BTreeMap<String, u64>,
        body: String,
        who: String,
        claims: Vec<Claim>,
    ) -> Result<Submitted, LedgerError> {
        let at = self.now();
        let submission = Submission {
            id: 0,
            versions,
            body,
            who,
            at,
        };
        let submitted = self.parts.ledger.submit(submission, claims).await?;
        self.parts.wake.notify_one();
        Ok(submitted)
    }
}
