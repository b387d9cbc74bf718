//! Signature checks (TUF spec 4.2.1, 5.3.4), for top-level and delegated roles alike.
//!
//! What is checked is the raw `signed` object, so that fields unknown to us are covered, and what is read afterwards is
//! that very object. tough does the cryptography; its check for single keys is private, hence the synthetic
//! [`tough::schema::Root`] in [`Keys`], whose one role is whatever is to be verified.

use std::{collections::HashMap, num::NonZeroU64};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tough::schema::{
    Error as ToughError, Role, RoleKeys, RoleType, Root, Signature, Signed,
    decoded::{Decoded, Hex},
    key::Key,
};
use unicode_normalization::is_nfc;

use super::schema::{DelegatedRole, Delegations, SuccinctRoles};

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
    /// The keys that are to verify it are unusable: an id that is not the key's, a threshold of 0.
    #[error("the keys that should sign it are unusable: {0}")]
    Keys(String),
}

/// Who may sign a role, and how many must.
#[derive(Clone, Debug)]
pub struct Keys(Root);

impl Keys {
    /// The keys of a top-level role.
    pub fn of_root(root: &Root, role: RoleType) -> Result<Self, VerifyError> {
        let Some(role_keys) = root.roles.get(&role) else {
            return Err(VerifyError::Keys(format!("root does not list `{role}`")));
        };
        Ok(Self::synthetic(root.keys.clone(), role_keys.clone()))
    }

    /// The keys of a named delegated role.
    pub fn of_role(delegations: &Delegations, role: &DelegatedRole) -> Result<Self, VerifyError> {
        Self::delegated(delegations, &role.keyids, role.threshold)
    }

    /// The keys of succinct bins.
    pub fn of_bins(delegations: &Delegations, bins: &SuccinctRoles) -> Result<Self, VerifyError> {
        Self::delegated(delegations, &bins.keyids, bins.threshold)
    }

    fn delegated(delegations: &Delegations, keyids: &[String], threshold: u64) -> Result<Self, VerifyError> {
        let bad_id = |id: &str| VerifyError::Keys(format!("`{id}` is not the id of its key"));
        let parse = |id: &String| id.parse::<Decoded<Hex>>().map_err(|_| bad_id(id));
        let mut keys = HashMap::new();
        for (id, key) in &delegations.keys {
            let parsed = parse(id)?;
            // One key under two ids would count twice (TUF spec 4.3: "Clients MUST calculate each KEYID").
            if key.key_id().ok().as_ref() != Some(&parsed) {
                return Err(bad_id(id));
            }
            keys.insert(parsed, key.clone());
        }
        let role_keys = RoleKeys {
            keyids: keyids.iter().map(parse).collect::<Result<_, _>>()?,
            threshold: NonZeroU64::new(threshold)
                .ok_or_else(|| VerifyError::Keys("a threshold of 0 would let anybody sign".to_owned()))?,
            _extra: HashMap::new(),
        };
        Ok(Self::synthetic(keys, role_keys))
    }

    fn synthetic(keys: HashMap<Decoded<Hex>, Key>, role_keys: RoleKeys) -> Self {
        Self(Root {
            spec_version: "1.0.0".to_owned(),
            consistent_snapshot: true,
            version: NonZeroU64::MIN,
            expires: Timestamp::MAX,
            keys,
            roles: HashMap::from([(Raw::TYPE, role_keys)]),
            _extra: HashMap::new(),
        })
    }
}

/// Signed metadata as it came, trusted by nobody yet.
#[derive(Clone, Debug)]
pub struct Unverified(Signed<Raw>);

impl Unverified {
    /// Reads the envelope. Signatures that are not hex are dropped: they can be nobody's.
    ///
    /// # Errors
    /// Not an envelope, or text in it is not in Unicode normalisation form C. tough canonicalises text to NFC before it
    /// verifies, so that a key in another form could be slipped beside its twin without touching the signed bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, VerifyError> {
        #[derive(Deserialize)]
        struct Envelope {
            signed: Value,
            signatures: Vec<Line>,
        }
        #[derive(Deserialize)]
        struct Line {
            keyid: String,
            sig: String,
        }
        let malformed = |detail: String| VerifyError::Malformed {
            expected: "signed".to_owned(),
            detail,
        };
        let envelope: Envelope = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if !all_nfc(&envelope.signed) {
            return Err(malformed("it holds text that is not NFC".to_owned()));
        }
        let decode = |line: Line| {
            Some(Signature {
                keyid: line.keyid.parse().ok()?,
                sig: line.sig.parse().ok()?,
            })
        };
        Ok(Self(Signed {
            signed: Raw(envelope.signed),
            signatures: envelope.signatures.into_iter().filter_map(decode).collect(),
        }))
    }

    /// Checks the signatures against a threshold of keys; a key counts once.
    pub fn check(&self, keys: &Keys) -> Result<(), VerifyError> {
        keys.0.verify_role(&self.0).map_err(|error| match error {
            ToughError::SignatureThreshold { threshold, valid, .. } => VerifyError::Threshold { valid, threshold },
            other => VerifyError::Unjudged(other.to_string()),
        })
    }

    /// Checks the signatures, then reads the metadata as `kind` (its `_type`).
    pub fn verify<T: DeserializeOwned>(self, keys: &Keys, kind: &str) -> Result<T, VerifyError> {
        self.check(keys)?;
        self.0.signed.read(kind)
    }

    /// Reads root metadata that is signed by its own keys, as every root must be; whether they are to be trusted is the
    /// caller's to know.
    pub fn self_signed_root(self) -> Result<Root, VerifyError> {
        let root: Root = self.0.signed.clone().read("root")?;
        for role in [
            RoleType::Root,
            RoleType::Timestamp,
            RoleType::Snapshot,
            RoleType::Targets,
        ] {
            Keys::of_root(&root, role)?;
        }
        self.check(&Keys::of_root(&root, RoleType::Root)?)?;
        Ok(root)
    }
}

/// Whether one signature by one key is good, for those who must know which are not.
pub fn verifies(key: &Key, signed: Value, signature: &[u8]) -> bool {
    let id: Decoded<Hex> = vec![0].into();
    let role_keys = RoleKeys {
        keyids: vec![id.clone()],
        threshold: NonZeroU64::MIN,
        _extra: HashMap::new(),
    };
    let keys = Keys::synthetic(HashMap::from([(id.clone(), key.clone())]), role_keys);
    let signature = Signature {
        keyid: id,
        sig: signature.to_vec().into(),
    };
    let file = Unverified(Signed {
        signed: Raw(signed),
        signatures: vec![signature],
    });
    file.check(&keys).is_ok()
}

/// The `signed` object, any kind.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct Raw(Value);

impl Raw {
    fn read<T: DeserializeOwned>(self, kind: &str) -> Result<T, VerifyError> {
        let malformed = |detail: String| VerifyError::Malformed {
            expected: kind.to_owned(),
            detail,
        };
        let text = |field: &str| self.0.get(field).and_then(Value::as_str).unwrap_or_default();
        if text("_type") != kind {
            return Err(malformed(format!("its `_type` is `{}`", text("_type"))));
        }
        if !text("spec_version").starts_with("1.") {
            return Err(malformed(format!("its spec_version is `{}`", text("spec_version"))));
        }
        serde_json::from_value(self.0).map_err(|error| malformed(error.to_string()))
    }
}

impl Role for Raw {
    const TYPE: RoleType = RoleType::DelegatedTargets;

    fn expires(&self) -> Timestamp {
        let written = self.0.get("expires").and_then(Value::as_str);
        written.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::MIN)
    }

    fn version(&self) -> NonZeroU64 {
        let written = self.0.get("version").and_then(Value::as_u64);
        written.and_then(NonZeroU64::new).unwrap_or(NonZeroU64::MIN)
    }

    fn filename(&self, _consistent_snapshot: bool) -> String {
        String::new()
    }
}

/// Recursion is bounded by serde_json's depth limit of 128.
fn all_nfc(value: &Value) -> bool {
    match value {
        Value::String(text) => is_nfc(text),
        Value::Array(items) => items.iter().all(all_nfc),
        Value::Object(fields) => fields.iter().all(|(name, value)| is_nfc(name) && all_nfc(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
