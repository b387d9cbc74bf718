//! The end of a ceremony: the file to publish, and the record.

use bytes::Bytes;
use jiff::Timestamp;
use tough::schema::{self, RoleType, Signed, decoded::Decoded};

use super::{
    CeremonyError, Draft, Kind, Moment, Published,
    rules::rule,
    tally::{self, Authority},
};
use crate::{
    digest::Digest,
    tuf::{
        build, layout,
        schema::Root,
        verify::{Keys, Unverified},
    },
};

impl Draft {
    /// Whether enough have signed.
    ///
    /// # Errors
    /// [`CeremonyError::Missing`].
    pub fn complete(&self) -> Result<(), CeremonyError> {
        let short: Vec<_> = self
            .authorities()
            .into_iter()
            .filter(|authority| !authority.met())
            .collect();
        if !short.is_empty() {
            let lines: Vec<_> = short.iter().map(Authority::shortage).collect();
            return Err(CeremonyError::Missing(lines.join("; ")));
        }
        Ok(())
    }

    /// The file to publish, once enough have signed: its name and its bytes. Verified as clients do it, by our own code and
    /// by tough.
    ///
    /// # Errors
    /// [`CeremonyError::Missing`], [`CeremonyError::Expired`].
    pub fn finished(&self, now: Timestamp) -> Result<(String, Bytes), CeremonyError> {
        self.check_expiry(now)?;
        self.file()
    }

    /// The file, expired or not.
    pub(super) fn file(&self) -> Result<(String, Bytes), CeremonyError> {
        self.complete()?;
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
        let bytes = build::envelope(&self.message()?, &by_id);
        self.check_file(&bytes)?;
        Ok((layout::file(self.kind.role(), self.version()), bytes))
    }

    /// Checks the file as clients will.
    fn check_file(&self, bytes: &[u8]) -> Result<(), CeremonyError> {
        let kind = match self.kind {
            Kind::Root => RoleType::Root,
            Kind::Targets => RoleType::Targets,
        };
        let check = |root: &Root| Unverified::parse(bytes)?.check(&Keys::of_root(root, kind)?);
        check(&self.trusted).map_err(tally::judged)?;
        if let Some(next) = &self.next {
            check(next).map_err(tally::judged)?;
        }
        let tough = |error: &dyn std::fmt::Display| rule(format!("tough refuses it: {error}"));
        let root: Signed<schema::Root> = serde_json::from_value(self.root.clone()).map_err(|error| tough(&error))?;
        match self.kind {
            Kind::Root => {
                let next: Signed<schema::Root> = serde_json::from_slice(bytes).map_err(|error| tough(&error))?;
                root.signed.verify_role(&next).map_err(|error| tough(&error))?;
                next.signed.verify_role(&next).map_err(|error| tough(&error))
            }
            Kind::Targets => {
                let next: Signed<schema::Targets> = serde_json::from_slice(bytes).map_err(|error| tough(&error))?;
                root.signed.verify_role(&next).map_err(|error| tough(&error))
            }
        }
    }

    /// Makes it the record of what was published.
    pub fn publish(&mut self, moment: Moment) -> Result<(), CeremonyError> {
        let (file, bytes) = self.file()?;
        self.published = Some(Published {
            at: moment.at,
            by: moment.by,
            file,
            sha256: Digest::of(&bytes),
        });
        Ok(())
    }
}
