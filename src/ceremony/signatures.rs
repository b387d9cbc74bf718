//! The signatures on a draft: who may sign, who has, and copies that were signed apart.

use std::collections::BTreeSet;

use tough::schema::RoleType;

use super::{
    CeremonyError, Draft, Entry, Kind, Moment, diff,
    file::{Signatures, canonical_digest, envelope, opened},
    ring::{Label, Roles},
    rules::rule,
    tally::{self, Authority},
};

impl Draft {
    /// The thresholds it must meet, and who has signed for each.
    pub fn authorities(&self) -> Vec<Authority> {
        let current = &self.root["signed"];
        match self.kind {
            Kind::Root => [current, &self.signed]
                .map(|root| Authority::of(root, RoleType::Root, &self.signatures))
                .into(),
            Kind::Targets => vec![Authority::of(current, RoleType::Targets, &self.signatures)],
        }
    }

    /// Name and id of a key that may sign.
    pub fn label(&self, keyid: &str) -> Label {
        let new = Roles::of(Kind::Root, &self.signed).label(keyid);
        match (self.kind, &new.name) {
            (Kind::Root, Some(_)) => new,
            _ => Roles::of(Kind::Root, &self.root["signed"]).label(keyid),
        }
    }

    /// Whether a key may sign, and has.
    ///
    /// # Errors
    /// [`CeremonyError::NotASigner`].
    pub fn has_signed(&self, keyid: &str) -> Result<bool, CeremonyError> {
        let authorities = self.authorities();
        let mut signers = authorities.iter().flat_map(|authority| &authority.signers);
        if !signers.clone().any(|signer| signer.key.keyid == keyid) {
            return Err(CeremonyError::NotASigner {
                key: keyid.to_owned(),
                signers: self.signers(),
            });
        }
        Ok(signers.any(|signer| signer.key.keyid == keyid && signer.signed))
    }

    /// Adds a signature and its line of the record; `false` if the key had signed.
    pub fn add_signature(&mut self, keyid: &str, signature: Vec<u8>, moment: Moment) -> Result<bool, CeremonyError> {
        if self.published.is_some() {
            return Err(rule("it is published already"));
        }
        if self.has_signed(keyid)? {
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

    /// The signatures of a metadata file, made by any tool, over what this draft proposes.
    ///
    /// # Errors
    /// [`CeremonyError::Altered`] where the file says something else.
    pub fn signatures_in(&self, file: &[u8]) -> Result<Signatures, CeremonyError> {
        let (signed, signatures) = opened(&envelope(file)?)?;
        if canonical_digest(&signed) != self.fingerprint {
            let changed = diff::lines(self.kind, &self.signed, &signed).join("; ");
            return Err(CeremonyError::Altered(format!(
                "what was signed is something else: {changed}"
            )));
        }
        Ok(signatures)
    }

    /// Takes over the signatures of another copy of the same draft.
    pub fn unite(&mut self, other: Self) -> Result<(), CeremonyError> {
        if other.fingerprint != self.fingerprint || canonical_digest(&other.root) != canonical_digest(&self.root) {
            return Err(CeremonyError::Different(self.fingerprint, other.fingerprint));
        }
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
        self.published = self.published.take().or(other.published);
        Ok(())
    }

    fn signers(&self) -> String {
        let authorities = self.authorities();
        let all: BTreeSet<_> = authorities
            .iter()
            .flat_map(|authority| authority.signers.iter().map(|signer| signer.key.clone()))
            .collect();
        all.iter().map(Label::to_string).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn check_signature(&self, keyid: &str, signature: &[u8]) -> Result<(), CeremonyError> {
        let role = match self.kind {
            Kind::Root => RoleType::Root,
            Kind::Targets => RoleType::Targets,
        };
        let mut roots = vec![(&self.trusted, role)];
        roots.extend(self.next.iter().map(|next| (next, role)));
        tally::check_signature(&roots, &self.signers(), &self.signed, keyid, signature).map_err(|error| match error {
            CeremonyError::Altered(_) => CeremonyError::Altered(format!(
                "the signature of {} was not made over what it says now",
                self.label(keyid)
            )),
            error => error,
        })
    }
}
