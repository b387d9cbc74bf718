//! A draft of a team's: its roles, what they stand on, and what became of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Chain, Part};
use crate::{
    ceremony::{
        CeremonyError, Moment,
        file::{Signatures, canonical_digest, envelope, enveloped, opened},
        rules::rule,
    },
    delegated::bins,
    digest::Digest,
};

/// A file as it was sent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SentFile {
    /// Its version.
    pub version: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// The end of a draft: the gate took it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// When.
    pub at: Timestamp,
    /// The user of the machine.
    pub by: String,
    /// Where to.
    pub to: String,
    /// By role.
    pub files: BTreeMap<String, SentFile>,
    /// The snapshot that lists them, where the gate said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<u64>,
}

/// A draft that holds together: its chain, its rules, its changes, every signature.
#[derive(Clone, Debug)]
pub struct TeamDraft {
    pub(super) drafted: Moment,
    pub(super) chain: Chain,
    /// Roles, each after those that lead to it.
    pub(super) parts: Vec<Part>,
    pub(super) sent: Option<Sent>,
}

impl TeamDraft {
    /// A draft of one role, after `current`, a whole file, if there is one.
    ///
    /// # Errors
    /// What [`TeamDraft::parse`] would refuse.
    pub fn new(
        chain: Chain,
        role: &str,
        current: Option<&[u8]>,
        signed: Value,
        drafted: Moment,
    ) -> Result<Self, CeremonyError> {
        let part = Part::new(&chain, role, current.map(envelope).transpose()?, signed)?;
        Ok(Self {
            drafted,
            chain,
            parts: vec![part],
            sent: None,
        })
    }

    /// A draft of roles that a gate prepared and signed: by role, the file that waits and the one that is listed.
    ///
    /// # Errors
    /// What [`TeamDraft::parse`] would refuse; nothing waits.
    pub fn prepared(
        chain: Chain,
        waiting: &BTreeMap<String, (Vec<u8>, Option<Vec<u8>>)>,
        drafted: Moment,
    ) -> Result<Self, CeremonyError> {
        let mut parts = Vec::new();
        let gate = chain.bins();
        for (role, (file, current)) in bins::in_order(waiting) {
            let (signed, signatures) = opened(&envelope(file)?)?;
            let current = current.as_deref().map(envelope).transpose()?;
            let mut part = Part::new(&down(&chain, &parts, role)?, role, current, signed)?;
            part.take(signatures, Vec::new())?;
            if !part.signatures.iter().any(|(keyid, _)| gate.contains(keyid)) {
                return Err(CeremonyError::Missing(format!("`{role}` is not signed by the gate")));
            }
            parts.push(part);
        }
        match parts.is_empty() {
            true => Err(rule("nothing waits for a signature")),
            false => Ok(Self {
                drafted,
                chain,
                parts,
                sent: None,
            }),
        }
    }

    /// Whether what leads to a role is drafted together with it.
    pub fn leads_to(&self, part: &Part) -> bool {
        self.parts.iter().any(|above| leads(above, part.name()))
    }

    /// What it stands on.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Its roles.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Who made it, and when.
    pub fn drafted(&self) -> &Moment {
        &self.drafted
    }

    /// How it ended, if it did.
    pub fn sent(&self) -> Option<&Sent> {
        self.sent.as_ref()
    }

    /// Whether all it proposes is still good.
    pub fn check_expiry(&self, now: Timestamp) -> Result<(), CeremonyError> {
        match self.parts.iter().find(|part| part.expires() <= now) {
            Some(part) => Err(CeremonyError::Expired(part.expires())),
            None => Ok(()),
        }
    }

    /// The roles that a key may still sign, each with the bytes to sign.
    ///
    /// # Errors
    /// [`CeremonyError::NotASigner`] where it may sign none.
    pub fn unsigned_by(&self, keyid: &str) -> Result<Vec<(String, Vec<u8>)>, CeremonyError> {
        if let Some(stranger) = self.parts.iter().find(|part| part.has_signed(keyid).is_none()) {
            return Err(stranger.not_a_signer(keyid));
        }
        let open = self.parts.iter().filter(|part| part.has_signed(keyid) == Some(false));
        open.map(|part| Ok((part.role.clone(), part.message()?))).collect()
    }

    /// Adds a signature of a role and its line of the record; `false` if the key had signed.
    pub fn add_signature(
        &mut self,
        role: &str,
        keyid: &str,
        signature: Vec<u8>,
        moment: Moment,
    ) -> Result<bool, CeremonyError> {
        if self.sent.is_some() {
            return Err(rule("it was submitted already"));
        }
        match self.parts.iter_mut().find(|part| part.role == role) {
            Some(part) => part.sign(keyid, signature, moment),
            None => Err(rule(format!("it is no draft of `{role}`"))),
        }
    }

    /// The role and the signatures of a metadata file, made by any tool over what this draft proposes.
    ///
    /// # Errors
    /// [`CeremonyError::Altered`] where the file says something else.
    pub fn signatures_in(&self, file: &[u8]) -> Result<(String, Signatures), CeremonyError> {
        let file = envelope(file)?;
        let digest = canonical_digest(&file["signed"]);
        let same = self.parts.iter().find(|part| part.fingerprint == digest);
        match same.or(self.parts.first()) {
            Some(part) => Ok((part.role.clone(), part.signatures_in(&file)?)),
            None => Err(rule("it drafts nothing")),
        }
    }

    /// Takes over the signatures of another copy of the same draft.
    pub fn unite(&mut self, other: Self) -> Result<(), CeremonyError> {
        let what = |draft: &Self| -> BTreeMap<_, _> {
            let part = |part: &Part| (part.role.clone(), part.fingerprint);
            draft.parts.iter().map(part).collect()
        };
        let same =
            what(self) == what(&other) && canonical_digest(&self.chain.root) == canonical_digest(&other.chain.root);
        if !same {
            let print = |draft: &Self| draft.parts.first().map_or(draft.chain.trusts().1, Part::fingerprint);
            return Err(CeremonyError::Different(print(self), print(&other)));
        }
        for part in other.parts {
            if let Some(ours) = self.parts.iter_mut().find(|ours| ours.role == part.role) {
                ours.unite(part);
            }
        }
        self.sent = self.sent.take().or(other.sent);
        Ok(())
    }

    /// Whether these are drafts of the same roles: copies of one, perhaps.
    pub fn is_of_the_roles_of(&self, other: &Self) -> bool {
        let roles = |draft: &Self| -> Vec<_> { draft.parts.iter().map(|part| part.role.clone()).collect() };
        roles(self) == roles(other)
    }

    /// The files to submit, by role, once enough have signed.
    ///
    /// # Errors
    /// [`CeremonyError::Missing`], [`CeremonyError::Expired`], [`CeremonyError::Refused`].
    pub fn finished(&self, now: Timestamp) -> Result<BTreeMap<String, Bytes>, CeremonyError> {
        let file = |part: &Part| Ok((part.role.clone(), part.finished(now)?));
        self.parts.iter().map(file).collect()
    }

    /// Makes it the record of what was sent.
    pub fn record(&mut self, moment: Moment, to: &str, snapshot: Option<u64>) -> Result<(), CeremonyError> {
        self.sent = Some(Sent {
            at: moment.at,
            by: moment.by,
            to: to.to_owned(),
            files: self.sent_files()?,
            snapshot,
        });
        Ok(())
    }

    pub(super) fn sent_files(&self) -> Result<BTreeMap<String, SentFile>, CeremonyError> {
        let file = |part: &Part| {
            let sent = SentFile {
                version: part.version(),
                sha256: Digest::of(part.file()?),
            };
            Ok((part.role.clone(), sent))
        };
        self.parts.iter().map(file).collect()
    }
}

/// The chain that leads to a role, through those of the draft that lead there: `parts`, in the order of their names.
pub(super) fn down(chain: &Chain, parts: &[Part], key: &str) -> Result<Chain, CeremonyError> {
    let (name, _) = bins::viewed(key);
    let mut chain = chain.clone();
    for part in parts.iter().filter(|part| leads(part, name)) {
        chain.push(part.name(), enveloped(&part.signed, &part.signatures), true)?;
    }
    Ok(chain)
}

/// Whether a role of a draft stands on the way to another one.
fn leads(above: &Part, name: &str) -> bool {
    let rest = name.strip_prefix(above.role());
    rest.is_some_and(|rest| rest.starts_with('.'))
}
