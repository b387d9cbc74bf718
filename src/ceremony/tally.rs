//! Who has signed, and who has not, for each threshold that a draft must meet.

use std::fmt;

use serde_json::Value;
use tough::schema::RoleType;

use super::{
    CeremonyError, Kind,
    ring::{Label, Roles},
};
use crate::tuf::{
    schema::Root,
    verify::{self, VerifyError},
};

/// One threshold: that of the current root, of the new root, of a root's targets, or of a role that another delegates to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authority {
    /// The role that says so: `root`, or who delegates.
    pub by: String,
    /// Its version.
    pub version: u64,
    /// Signatures needed.
    pub threshold: u64,
    /// Its keys.
    pub signers: Vec<Signer>,
}

/// A key that may sign.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signer {
    /// Whose it is.
    pub key: Label,
    /// Whether it has.
    pub signed: bool,
}

impl Authority {
    /// The keys of a role, and which of them made one of `signatures`, which are good.
    pub(super) fn of(root: &Value, role: RoleType, signatures: &[(String, Vec<u8>)]) -> Self {
        Self::listed(Kind::Root, "root", root, &role.to_string(), signatures)
    }

    /// The same for a role that `by`, whose `signed` object is given, lists.
    pub(super) fn listed(kind: Kind, by: &str, signed: &Value, role: &str, signatures: &[(String, Vec<u8>)]) -> Self {
        let roles = Roles::of(kind, signed);
        let listed = roles.roles.get(role);
        let signer = |id: &&str| Signer {
            key: roles.label(id),
            signed: signatures.iter().any(|(keyid, _)| keyid == id),
        };
        Self {
            by: by.to_owned(),
            version: super::rules::version(signed),
            threshold: listed.map_or(0, |listed| listed.threshold),
            signers: listed.iter().flat_map(|listed| &listed.keyids).map(signer).collect(),
        }
    }

    /// Signatures that are there.
    pub fn valid(&self) -> u64 {
        self.signers.iter().filter(|signer| signer.signed).count() as u64
    }

    /// Whether they are enough.
    pub fn met(&self) -> bool {
        self.threshold > 0 && self.valid() >= self.threshold
    }

    /// `2 more of root 1's signers must sign: …`
    pub fn shortage(&self) -> String {
        let missing = self.signers.iter().filter(|signer| !signer.signed);
        let names: Vec<_> = missing.map(|signer| signer.key.to_string()).collect();
        let (count, by, version) = (self.missing(), &self.by, self.version);
        format!(
            "{count} more of {by} {version}'s signers must sign: {}",
            names.join(", ")
        )
    }

    /// Signatures still needed.
    pub fn missing(&self) -> u64 {
        self.threshold.saturating_sub(self.valid())
    }
}

/// `root 1 needs 2 of 3 signatures and has 1: missing …`
impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, version, threshold) = (&self.by, self.version, self.threshold);
        let (all, valid) = (self.signers.len(), self.valid());
        write!(
            f,
            "{by} {version} asks for {threshold} of {all} signatures, {valid} are there"
        )?;
        for signer in &self.signers {
            let state = if signer.signed { "signed " } else { "missing" };
            write!(f, "\n  {state} {}", signer.key)?;
        }
        Ok(())
    }
}

/// Whether a signature by a key that one of `roots` lists is good.
///
/// # Errors
/// [`CeremonyError::NotASigner`], [`CeremonyError::Altered`] for a bad one.
pub fn check_signature(
    roots: &[(&Root, RoleType)],
    signers: &str,
    signed: &Value,
    keyid: &str,
    signature: &[u8],
) -> Result<(), CeremonyError> {
    let listed = |(root, role): &(&Root, RoleType)| {
        let of_role = root.roles.get(&role.to_string())?;
        of_role
            .keyids
            .iter()
            .any(|id| id == keyid)
            .then(|| root.keys.get(keyid).cloned())?
    };
    let Some(key) = roots.iter().find_map(listed) else {
        return Err(CeremonyError::NotASigner {
            key: keyid.to_owned(),
            signers: signers.to_owned(),
        });
    };
    match verify::verifies(&key, signed, signature) {
        Some(true) => Ok(()),
        _ => Err(CeremonyError::Altered(format!(
            "the signature of key {keyid} is not one of what the draft says now"
        ))),
    }
}

/// Metadata that cannot be read or verified.
pub fn judged(error: VerifyError) -> CeremonyError {
    CeremonyError::Malformed(error.to_string())
}
