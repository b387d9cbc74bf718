//! Files of roles that others sign, on their way to the signer.

use std::collections::BTreeMap;

use super::Intake;
use crate::{
    delegated::{self, Files, Refusal, Said},
    ledger::{Ledger, LedgerError, Submission, Submitted, rule},
    policy::Policy,
};

/// The first path that stands otherwise in the ledger than a new set of roles would have it.
pub async fn conflict(
    ledger: &dyn Ledger,
    policy: &Policy,
    old: &Files,
    new: &Files,
) -> Result<Option<Refusal>, LedgerError> {
    for (path, said) in delegated::changes(old, new) {
        let Said::Lists(digest, _) = said else { continue };
        let Some(rule) = policy.tracked(path.as_str()) else {
            return Ok(Some(Refusal::untracked(path.as_str())));
        };
        let current = rule::fold(&ledger.lookup(&path).await?, rule.superseding());
        if let Err(conflict) = rule::delegate(current.as_ref(), &digest, rule.superseding()) {
            let refusal = Refusal::path(path.as_str(), conflict);
            return Ok(Some(refusal.hint("list the bytes that are recorded, or another path")));
        }
    }
    Ok(None)
}

impl Intake {
    /// The first path that stands otherwise than the roles would have it now.
    pub async fn conflict(&self, old: &Files, new: &Files) -> Result<Option<Refusal>, LedgerError> {
        conflict(&*self.parts.ledger, self.policy(), old, new).await
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
    ) -> Result<Submitted, LedgerError> {
        let at = self.now();
        let submission = Submission {
            id: 0,
            versions,
            body,
            who,
            at,
        };
        let submitted = self.parts.ledger.submit(submission).await?;
        self.parts.wake.notify_one();
        Ok(submitted)
    }
}
