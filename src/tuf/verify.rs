//! Who signed metadata, and how many had to (TUF spec 4.2.1, 5.3.4), for top-level and delegated roles alike.
//!
//! What is checked is the raw `signed` object, so that fields unknown to us are covered, and what is read afterwards is
//! that very object.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
    sync::Arc,
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tough::schema::{RoleType, key::Key};

use super::{
    json,
    key::PublicKey,
    schema::{DelegatedRole, Delegations, RoleKeys, Root, SuccinctRoles},
    signature,
};

/// The four roles of every root.
const TOP_LEVEL: [RoleType; 4] = [
    RoleType::Root,
    RoleType::Timestamp,
    RoleType::Snapshot,
    RoleType::Targets,
];

/// Metadata that cannot be trusted or read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Not signed JSON, or not the kind of metadata expected.
    #[error("it is not {expected} metadata: {detail}")]
    Malformed {
        /// Kind: `root`, `targets` …
        expected: String,
        /// What is wrong.
        detail: String,
    },
    /// Fewer good signatures than needed.
    #[error("{valid} of {threshold} needed signatures are good")]
    Threshold {
        /// Good signatures by distinct keys.
        valid: u64,
        /// Needed.
        threshold: u64,
    },
    /// The signatures cannot be judged: a key id twice, a value without canonical form.
    #[error("its signatures cannot be judged: {0}")]
    Unjudged(String),
    /// The keys that are to verify it are unusable: a key id twice, a threshold of 0.
    #[error("the keys that should sign it are unusable: {0}")]
    Keys(String),
}

/// Who may sign a role, and how many must.
#[derive(Clone, Debug)]
pub struct Keys {
    threshold: NonZeroU64,
    /// By the id that signatures name. Listed ids without a usable key are left out: they can be nobody's.
    usable: BTreeMap<String, Arc<Key>>,
}

impl Keys {
    /// The keys of a top-level role.
    pub fn of_root(root: &Root, role: RoleType) -> Result<Self, VerifyError> {
        let Some(RoleKeys { keyids, threshold, .. }) = root.roles.get(&role.to_string()) else {
            return Err(VerifyError::Keys(format!("root does not list `{role}`")));
        };
        Self::of(&root.keys, keyids, *threshold)
    }

    /// The keys of a named delegated role.
    pub fn of_role(delegations: &Delegations, role: &DelegatedRole) -> Result<Self, VerifyError> {
        Self::of(&delegations.keys, &role.keyids, role.threshold)
    }

    /// The keys of succinct bins.
    pub fn of_bins(delegations: &Delegations, bins: &SuccinctRoles) -> Result<Self, VerifyError> {
        Self::of(&delegations.keys, &bins.keyids, bins.threshold)
    }

    fn of(listed: &BTreeMap<String, PublicKey>, keyids: &[String], threshold: u64) -> Result<Self, VerifyError> {
        let Some(threshold) = NonZeroU64::new(threshold) else {
            return Err(VerifyError::Keys("a threshold of 0 would let anybody sign".to_owned()));
        };
        if let Some(twice) = repeated(keyids) {
            return Err(VerifyError::Keys(format!(
                "the key id `{}` stands twice",
                json::shown(twice)
            )));
        }
        let usable = |id: &String| Some((id.clone(), listed.get(id)?.usable()?.clone()));
        Ok(Self {
            threshold,
            usable: keyids.iter().filter_map(usable).collect(),
        })
    }
}

/// The first text that stands twice.
fn repeated<'a>(texts: impl IntoIterator<Item = &'a String>) -> Option<&'a String> {
    let mut seen = BTreeSet::new();
    texts.into_iter().find(|text| !seen.insert(*text))
}

/// Signed metadata as it came, trusted by nobody yet.
#[derive(Clone, Debug)]
pub struct Unverified {
    signed: Value,
    signatures: Vec<Signature>,
}

/// A line of `signatures`.
#[derive(Clone, Debug)]
struct Signature {
    keyid: String,
    /// Hex.
    sig: String,
}

impl Signature {
    fn read(line: &Value) -> Option<Self> {
        let text = |field| Some(line.get(field)?.as_str()?.to_owned());
        Some(Self {
            keyid: text("keyid")?,
            sig: text("sig")?,
        })
    }
}

impl Unverified {
    /// Reads the envelope.
    ///
    /// # Errors
    /// Not an envelope in strict JSON, or one key id in several signatures, which TUF spec 4.2.1 forbids.
    pub fn parse(bytes: &[u8]) -> Result<Self, VerifyError> {
        let malformed = |detail: &str| VerifyError::Malformed {
            expected: "signed".to_owned(),
            detail: detail.to_owned(),
        };
        let mut value = json::parse(bytes).map_err(|error| malformed(&error.to_string()))?;
        // By hand: serde also reads a struct from an array.
        let mut field = |name| value.get_mut(name).map(Value::take);
        let (Some(signed @ Value::Object(_)), Some(Value::Array(lines))) = (field("signed"), field("signatures"))
        else {
            return Err(malformed("it has no object `signed` or no list `signatures`"));
        };
        let signatures: Option<Vec<_>> = lines.iter().map(Signature::read).collect();
        let signatures = signatures.ok_or_else(|| malformed("a signature lacks `keyid` or `sig`"))?;
        if let Some(twice) = repeated(signatures.iter().map(|line| &line.keyid)) {
            return Err(VerifyError::Unjudged(format!(
                "the key id `{}` signs twice",
                json::shown(twice)
            )));
        }
        Ok(Self { signed, signatures })
    }

    /// What is signed; nobody has looked at its signatures.
    pub fn signed(&self) -> &Value {
        &self.signed
    }

    /// Checks the signatures against a threshold of keys. A key counts once, however often it is listed; signatures by
    /// other keys, bad ones and such that are no hex do no harm.
    pub fn check(&self, keys: &Keys) -> Result<(), VerifyError> {
        let known = |line: &Signature| Some((keys.usable.get(&line.keyid)?, hex::decode(&line.sig).ok()?));
        let lines: Vec<_> = self.signatures.iter().filter_map(known).collect();
        let lines: Vec<_> = lines.iter().map(|(key, signature)| (&***key, &signature[..])).collect();
        signature::check(&self.signed, &lines, keys.threshold)
    }

    /// Checks the signatures, then reads the metadata as `kind` (its `_type`).
    pub fn verify<T: DeserializeOwned>(self, keys: &Keys, kind: &str) -> Result<T, VerifyError> {
        self.check(keys)?;
        read(self.signed, kind)
    }

    /// Reads root metadata that is signed by its own keys, as every root must be; whether they are to be trusted is the
    /// caller's to know.
    pub fn self_signed_root(self) -> Result<Root, VerifyError> {
        let root = root(self.signed.clone())?;
        self.check(&Keys::of_root(&root, RoleType::Root)?)?;
        Ok(root)
    }
}

/// Whether one signature by one key is good, for those who must know which are not; `None` for a key that cannot be
/// used.
pub fn verifies(key: &PublicKey, signed: &Value, signature: &[u8]) -> Option<bool> {
    let line = (&**key.usable()?, signature);
    Some(signature::check(signed, &[line], NonZeroU64::MIN).is_ok())
}

/// Whether a key made this signature of these bytes: for those who sign.
pub fn signed_by(key: &Key, message: &[u8], signature: &[u8]) -> bool {
    signature::good(key, message, signature)
}

/// Reads a `signed` object as a root; nobody has looked at its signatures.
pub fn root(signed: Value) -> Result<Root, VerifyError> {
    let root: Root = read(signed, "root")?;
    for role in TOP_LEVEL {
        Keys::of_root(&root, role)?;
    }
    Ok(root)
}

/// Reads a `signed` object as `kind`; nobody has looked at its signatures.
pub fn read<T: DeserializeOwned>(signed: Value, kind: &str) -> Result<T, VerifyError> {
    let malformed = |detail: String| VerifyError::Malformed {
        expected: kind.to_owned(),
        detail,
    };
    let text = |field: &str| signed.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("_type") != kind {
        return Err(malformed(format!("its `_type` is `{}`", text("_type"))));
    }
    if !is_version_1(text("spec_version")) {
        return Err(malformed(format!("its spec_version is `{}`", text("spec_version"))));
    }
    serde_json::from_value(signed).map_err(|error| malformed(error.to_string()))
}

/// `1.MINOR` or `1.MINOR.PATCH` (TUF spec 4.3, `spec_version`; old repositories leave the patch out).
pub fn is_version_1(text: &str) -> bool {
    let parts: Vec<_> = text.split('.').collect();
    let numeric = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts.len(), 2 | 3) && parts[0] == "1" && parts.iter().all(numeric)
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
