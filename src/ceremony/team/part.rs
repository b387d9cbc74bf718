//! One role of a draft: what is proposed, what it follows, who has signed.

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tough::schema::decoded::Decoded;

use super::Chain;
use crate::{
    ceremony::{
        CeremonyError, Entry, Kind, Moment, diff,
        file::{Signatures, canonical_digest, check_entry, envelope, opened},
        ring::{Label, Roles},
        rules::{self, rule},
        tally::Authority,
    },
    delegated::{Delegation, RoleFile, bins},
    digest::Digest,
    tuf::{
        build, canonical,
        verify::{self, Unverified},
    },
};

/// A role that is drafted; of a delegator of bins, the file of one view.
#[derive(Clone, Debug)]
pub struct Part {
    /// As in a submission: `NAME`, or `succinct/NAME.bins`.
    pub(super) role: String,
    delegation: Delegation,
    /// What it says, read.
    file: RoleFile,
    /// Who delegates, and what it says: there stand the names of the keys.
    by: (String, Value),
    /// The file that is listed, if there is one.
    pub(super) current: Option<Value>,
    pub(super) signed: Value,
    pub(super) fingerprint: Digest,
    pub(super) signatures: Signatures,
    pub(super) entries: Vec<Entry>,
}

impl Part {
    pub(super) fn new(chain: &Chain, role: &str, current: Option<Value>, signed: Value) -> Result<Self, CeremonyError> {
        let delegation = chain.delegation(bins::viewed(role).0)?;
        let listed = current.as_ref().map_or(0, |file| rules::version(&file["signed"]));
        // Whether it has expired is asked when it is signed and sent; the record is read for ever.
        let file = delegation.check(&json!({"signatures": [], "signed": signed}), listed, Timestamp::MIN)?;
        let (by, says) = chain.delegator();
        Ok(Self {
            role: role.to_owned(),
            delegation,
            file,
            by: (by.to_owned(), says.clone()),
            current,
            fingerprint: canonical_digest(&signed),
            signed,
            signatures: Vec::new(),
            entries: Vec::new(),
        })
    }

    /// The role, as in a submission.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The role's name.
    pub fn name(&self) -> &str {
        bins::viewed(&self.role).0
    }

    /// The version it proposes.
    pub fn version(&self) -> u64 {
        self.file.version
    }

    /// Until when what it proposes is good.
    pub fn expires(&self) -> Timestamp {
        self.file.expires
    }

    /// SHA-256 of the canonical form of what is signed.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// Who signed, and when, as they say.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How those above it delegate to it.
    pub fn delegation(&self) -> &Delegation {
        &self.delegation
    }

    /// Every change against the file that is listed, where the role's keys signed that: what others may have written shows
    /// as nothing, so that all of the proposal does.
    pub fn changes(&self) -> Vec<String> {
        changes(&self.delegation, self.current.as_ref(), &self.signed)
    }

    /// The threshold, and who has signed.
    pub fn authority(&self) -> Authority {
        Authority::listed(Kind::Targets, &self.by.0, &self.by.1, self.name(), &self.signatures)
    }

    /// The same as other files above it ask: newer ones, perhaps.
    pub fn under(&self, chain: &Chain) -> Result<Authority, CeremonyError> {
        chain.delegation(self.name())?;
        let (by, says) = chain.delegator();
        Ok(Authority::listed(
            Kind::Targets,
            by,
            says,
            self.name(),
            &self.signatures,
        ))
    }

    /// Whether it follows this file of the role's; the version of one that it does not follow.
    pub fn follows(&self, file: &[u8]) -> Result<Option<u64>, CeremonyError> {
        let theirs = &envelope(file)?["signed"];
        let ours = self.current.as_ref().map(|file| canonical_digest(&file["signed"]));
        let same = ours == Some(canonical_digest(theirs));
        Ok((!same).then(|| rules::version(theirs)))
    }

    /// Name and id of a key.
    pub fn label(&self, keyid: &str) -> Label {
        Roles::of(Kind::Targets, &self.by.1).label(keyid)
    }

    /// Whether a key may sign, and has; `None` if it may not.
    pub fn has_signed(&self, keyid: &str) -> Option<bool> {
        let authority = self.authority();
        let signer = authority.signers.iter().find(|signer| signer.key.keyid == keyid)?;
        Some(signer.signed)
    }

    /// The bytes that a key signs.
    pub fn message(&self) -> Result<Vec<u8>, CeremonyError> {
        canonical::to_vec(&self.signed).map_err(|error| rule(error.to_string()))
    }

    pub(super) fn sign(&mut self, keyid: &str, signature: Vec<u8>, moment: Moment) -> Result<bool, CeremonyError> {
        if self.has_signed(keyid) == Some(true) {
            return Ok(false);
        }
        self.check_signature(keyid, &signature)?;
        self.signatures.push((keyid.to_owned(), signature));
        self.entries.push(Entry {
            name: self.label(keyid).name.unwrap_or_default(),
            keyid: keyid.to_owned(),
            at: moment.at,
            by: moment.by,
            fingerprint: self.fingerprint,
        });
        Ok(true)
    }

    pub(super) fn check_signature(&self, keyid: &str, signature: &[u8]) -> Result<(), CeremonyError> {
        let Some(key) = self.delegation.key(keyid) else {
            return Err(self.not_a_signer(keyid));
        };
        match verify::verifies(key, &self.signed, signature) {
            Some(true) => Ok(()),
            _ => Err(CeremonyError::Altered(format!(
                "the signature of {} was not made over what it says now",
                self.label(keyid)
            ))),
        }
    }

    pub(super) fn not_a_signer(&self, keyid: &str) -> CeremonyError {
        let authority = self.authority();
        let all: BTreeSet<_> = authority.signers.iter().map(|signer| signer.key.to_string()).collect();
        CeremonyError::NotASigner {
            key: keyid.to_owned(),
            signers: all.into_iter().collect::<Vec<_>>().join(", "),
        }
    }

    pub(super) fn take(&mut self, signatures: Signatures, entries: Vec<Entry>) -> Result<(), CeremonyError> {
        for (keyid, signature) in signatures {
            self.check_signature(&keyid, &signature)?;
            self.signatures.push((keyid, signature));
        }
        for entry in entries {
            let label = self.label(&entry.keyid);
            check_entry(&entry, &label, self.fingerprint, &self.signatures, &self.entries)?;
            self.entries.push(entry);
        }
        Ok(())
    }

    pub(super) fn unite(&mut self, other: Self) {
        for signature in other.signatures {
            if self.signatures.iter().all(|(keyid, _)| *keyid != signature.0) {
                self.signatures.push(signature);
            }
        }
        for entry in other.entries {
            if self.entries.iter().all(|known| known.keyid != entry.keyid) {
                self.entries.push(entry);
            }
        }
    }

    /// The signatures of a file of any tool, if it is what this part proposes.
    pub(super) fn signatures_in(&self, file: &Value) -> Result<Signatures, CeremonyError> {
        let (signed, signatures) = opened(file)?;
        if canonical_digest(&signed) != self.fingerprint {
            let changed = diff::lines(Kind::Targets, &self.signed, &signed).join("; ");
            return Err(CeremonyError::Altered(format!(
                "what was signed is something else: {changed}"
            )));
        }
        Ok(signatures)
    }

    /// Plain metadata with the signatures so far: for other tools, and for the gate once there are enough.
    pub fn file(&self) -> Result<Bytes, CeremonyError> {
        let mut signatures = Vec::new();
        for (keyid, signature) in &self.signatures {
            let id = hex::decode(keyid).map_err(|_| rule(format!("`{keyid}` is no key id that clients read")))?;
            signatures.push((Decoded::from(id), signature.clone()));
        }
        // One file for one set of signatures, in whatever order they came.
        signatures.sort();
        let by_id: Vec<_> = signatures
            .iter()
            .map(|(id, signature)| (id, signature.clone()))
            .collect();
        Ok(build::envelope(&self.message()?, &by_id))
    }

    /// The file, if the gate will take it: judged by the rules it judges by.
    ///
    /// # Errors
    /// [`CeremonyError::Missing`], [`CeremonyError::Expired`], [`CeremonyError::Refused`].
    pub fn finished(&self, now: Timestamp) -> Result<Bytes, CeremonyError> {
        let authority = self.authority();
        if !authority.met() {
            return Err(CeremonyError::Missing(format!(
                "`{}`: {}",
                self.role,
                authority.shortage()
            )));
        }
        if self.expires() <= now {
            return Err(CeremonyError::Expired(self.expires()));
        }
        let signed = RoleFile {
            bytes: self.file()?,
            ..self.file.clone()
        };
        Ok(self.delegation.signed(&signed)?)
    }
}

/// The lines that tell what a proposal changes.
pub(super) fn changes(delegation: &Delegation, current: Option<&Value>, signed: &Value) -> Vec<String> {
    let Some(current) = current else {
        return diff::lines(Kind::Targets, &Value::Null, signed);
    };
    let verified = delegation.verifier().is_ok_and(|keys| {
        let file = Unverified::parse(current.to_string().as_bytes());
        file.is_ok_and(|file| file.check(&keys).is_ok())
    });
    match verified {
        true => diff::lines(Kind::Targets, &current["signed"], signed),
        false => {
            let version = rules::version(&current["signed"]);
            let told =
                format!("version {version}, which it follows, is not signed by the role's keys of today: all is shown");
            [vec![told], diff::lines(Kind::Targets, &Value::Null, signed)].concat()
        }
    }
}
