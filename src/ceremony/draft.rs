//! A draft: what is proposed, what it follows, and who has signed so far.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tough::schema::RoleType;

use super::{
    CeremonyError, diff,
    file::{Signatures, canonical_digest, envelope},
    rules::{self, rule},
    tally,
};
use crate::{
    delegated,
    digest::Digest,
    tuf::{
        canonical,
        schema::{Delegations, Root, Targets},
        verify::{self, Keys, Unverified},
    },
};

/// Most bytes of the metadata: what python-tuf, go-tuf and tuf-js take of a root.
const MAX_METADATA: usize = 512_000;

/// What is drafted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The next root: signed by thresholds of the current root's keys and of its own (TUF spec 5.3.4).
    Root,
    /// The next top-level targets, signed offline by the root's keys for them.
    Targets,
}

impl Kind {
    /// The role's name.
    pub fn role(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
        }
    }
}

/// When something was done and who says to have done it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// The user of the machine.
    pub by: String,
}

/// A line of the record: who signed what, when.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The key's name.
    pub name: String,
    /// Its id.
    pub keyid: String,
    /// When.
    pub at: Timestamp,
    /// The user of the machine.
    pub by: String,
    /// SHA-256 of the canonical form of what was signed.
    pub fingerprint: Digest,
}

/// The end of a ceremony.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// When.
    pub at: Timestamp,
    /// The user of the machine.
    pub by: String,
    /// The file's name in the depot.
    pub file: String,
    /// The file's SHA-256.
    pub sha256: Digest,
}

/// A draft that holds together: its chain, its rules, its changes, every signature.
#[derive(Clone, Debug)]
pub struct Draft {
    pub(super) kind: Kind,
    pub(super) drafted: Moment,
    /// What is proposed.
    pub(super) signed: Value,
    pub(super) fingerprint: Digest,
    /// By key id.
    pub(super) signatures: Signatures,
    pub(super) entries: Vec<Entry>,
    pub(super) published: Option<Published>,
    /// The envelope of what it follows.
    pub(super) current: Value,
    /// The envelope of the root whose keys sign it; for a root, the one it follows.
    pub(super) root: Value,
    pub(super) trusted: Root,
    /// The proposed root.
    pub(super) next: Option<Root>,
}

impl Draft {
    /// A draft of `signed`, after `current`, under `root`: both whole files.
    ///
    /// # Errors
    /// What [`Draft::parse`] would refuse.
    pub fn new(kind: Kind, root: &[u8], current: &[u8], signed: Value, drafted: Moment) -> Result<Self, CeremonyError> {
        let (root, current) = (envelope(root)?, envelope(current)?);
        Self::checked(kind, root, current, signed, drafted)
    }

    pub(super) fn checked(
        kind: Kind,
        root: Value,
        current: Value,
        signed: Value,
        drafted: Moment,
    ) -> Result<Self, CeremonyError> {
        let unverified = |file: &Value| Unverified::parse(file.to_string().as_bytes());
        let trusted = unverified(&root).and_then(Unverified::self_signed_root);
        let trusted = trusted.map_err(|error| CeremonyError::Malformed(format!("the root it carries: {error}")))?;
        if kind == Kind::Targets {
            let keys = Keys::of_root(&trusted, RoleType::Targets).map_err(tally::judged)?;
            let current = unverified(&current).and_then(|file| file.verify::<Targets>(&keys, "targets"));
            current.map_err(|error| CeremonyError::Malformed(format!("the targets it follows: {error}")))?;
        }
        rules::check(kind, &current["signed"], &signed)?;
        let next = match kind {
            Kind::Root => Some(verify::root(signed.clone()).map_err(tally::judged)?),
            Kind::Targets => None,
        };
        let canonical = canonical::to_vec(&signed).map_err(|error| rule(error.to_string()))?;
        if canonical.len() > MAX_METADATA {
            return Err(rule(format!(
                "it has more than {MAX_METADATA} bytes, which clients refuse"
            )));
        }
        Ok(Self {
            kind,
            drafted,
            fingerprint: Digest::of(canonical),
            signed,
            signatures: Vec::new(),
            entries: Vec::new(),
            published: None,
            current,
            root,
            trusted,
            next,
        })
    }

    /// What is drafted.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The version it proposes.
    pub fn version(&self) -> u64 {
        rules::version(&self.signed)
    }

    /// Until when what it proposes is good.
    pub fn expires(&self) -> Timestamp {
        let text = self.signed["expires"].as_str().unwrap_or_default();
        text.parse().unwrap_or(Timestamp::MAX)
    }

    /// Whether what it proposes is still good.
    pub fn check_expiry(&self, now: Timestamp) -> Result<(), CeremonyError> {
        match self.expires() > now {
            true => Ok(()),
            false => Err(CeremonyError::Expired(self.expires())),
        }
    }

    /// SHA-256 of the canonical form of what is signed.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// Who made it, and when.
    pub fn drafted(&self) -> &Moment {
        &self.drafted
    }

    /// Every change, one a line.
    pub fn changes(&self) -> Vec<String> {
        diff::lines(self.kind, &self.current["signed"], &self.signed)
    }

    /// Who signed, and when, as they say.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How it ended, if it did.
    pub fn published(&self) -> Option<&Published> {
        self.published.as_ref()
    }

    /// The `signed` object it proposes, for tools that verify with it.
    pub fn next_root(&self) -> Option<&Root> {
        self.next.as_ref()
    }

    /// What the proposed targets delegate to.
    pub fn delegations(&self) -> Option<Delegations> {
        delegated::below(&self.signed)
    }

    /// Version and SHA-256 of the root that its reviewer must trust; the digest is that of the file as the gate writes it.
    pub fn trusts(&self) -> (u64, Digest) {
        (self.trusted.version.get(), canonical_digest(&self.root))
    }

    /// Whether it stands on this root.
    ///
    /// # Errors
    /// [`CeremonyError::Stale`], [`CeremonyError::Malformed`] for a file that is no metadata.
    pub fn stands_on(&self, root: &[u8]) -> Result<(), CeremonyError> {
        let Some(version) = other(&self.root, root)? else {
            return Ok(());
        };
        let ours = self.trusted.version;
        Err(CeremonyError::Stale(match version == ours.get() {
            true => format!("it stands on another root of version {ours} than the one that is trusted"),
            false => format!("it stands on root {ours}, and the one that is trusted is version {version}"),
        }))
    }

    /// Whether it stands on this root and follows this file.
    ///
    /// # Errors
    /// [`CeremonyError::Stale`], [`CeremonyError::Malformed`] for files that are no metadata.
    pub fn follows(&self, root: &[u8], current: &[u8]) -> Result<(), CeremonyError> {
        self.stands_on(root)?;
        if let Some(version) = other(&self.current, current)? {
            let (role, ours) = (self.kind.role(), rules::version(&self.current["signed"]));
            return Err(CeremonyError::Stale(format!(
                "it follows another {role} {ours} than version {version} that is there"
            )));
        }
        Ok(())
    }

    /// The bytes that a key signs.
    pub fn message(&self) -> Result<Vec<u8>, CeremonyError> {
        canonical::to_vec(&self.signed).map_err(|error| rule(error.to_string()))
    }
}

/// The version of a file that says something else than ours.
fn other(ours: &Value, theirs: &[u8]) -> Result<Option<u64>, CeremonyError> {
    let theirs = &envelope(theirs)?["signed"];
    let same = canonical_digest(&ours["signed"]) == canonical_digest(theirs);
    Ok((!same).then(|| rules::version(theirs)))
}
