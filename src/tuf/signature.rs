//! How many distinct keys signed a value. The only place where signatures are computed on.
//!
//! tough checks them, where it encodes a value as TUF spec 4.1 says. It does not where text is not in Unicode
//! normalisation form C, since it normalises before it verifies: a key in another form could then be slipped in beside
//! its twin without touching what it takes for the signed bytes. And it sorts keys by their escaped text with the closing
//! quote, so that `"a b"` comes before `"a"`. Other people's repositories may hold such text; there our own canonical
//! bytes are verified with aws-lc-rs, as tough does it.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU64,
};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tough::schema::{
    Error as ToughError, Role, RoleKeys, RoleType, Root, Signature, Signed,
    decoded::{Decoded, Hex},
    key::Key,
};
use unicode_normalization::is_nfc;

use super::{
    canonical,
    key::{Algorithm, identity, material},
    verify::VerifyError,
};

/// Checks that at least `threshold` distinct keys signed `signed`. `lines` are signatures with the keys that should have
/// made them; a key that stands in several counts once.
pub(super) fn check(signed: &Value, lines: &[(&Key, &[u8])], threshold: NonZeroU64) -> Result<(), VerifyError> {
    let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (key, signature) in lines {
        by_key.entry(identity(key)).or_default().push((*key, *signature));
    }
    // tough would refuse a file that one key signs under two ids.
    let single: Option<Vec<_>> = by_key
        .values()
        .map(|lines| <[_; 1]>::try_from(&lines[..]).ok())
        .collect();
    match single {
        Some(single) if encoded_alike(signed) => by_tough(signed, single.as_flattened(), threshold),
        _ => directly(signed, by_key.values(), threshold),
    }
}

/// Lets tough judge. Its check for single keys is private, hence a synthetic root whose one role is whatever is to be
/// verified; its keys have their places as ids, since ids in metadata are any text.
fn by_tough(signed: &Value, lines: &[(&Key, &[u8])], threshold: NonZeroU64) -> Result<(), VerifyError> {
    let ids = || (0_u64..).map(|place| Decoded::<Hex>::from(place.to_be_bytes().to_vec()));
    let root = Root {
        spec_version: "1.0.0".to_owned(),
        consistent_snapshot: true,
        version: NonZeroU64::MIN,
        expires: Timestamp::MAX,
        keys: ids().zip(lines.iter().map(|(key, _)| (*key).clone())).collect(),
        roles: HashMap::from([(
            Raw::TYPE,
            RoleKeys {
                keyids: ids().take(lines.len()).collect(),
                threshold,
                _extra: HashMap::new(),
            },
        )]),
        _extra: HashMap::new(),
    };
    let signature = |(keyid, (_, signature)): (_, &(&Key, &[u8]))| Signature {
        keyid,
        sig: signature.to_vec().into(),
    };
    let envelope = Signed {
        signed: Raw(signed),
        signatures: ids().zip(lines).map(signature).collect(),
    };
    root.verify_role(&envelope).map_err(|error| match error {
        ToughError::SignatureThreshold { threshold, valid, .. } => VerifyError::Threshold { valid, threshold },
        other => VerifyError::Unjudged(other.to_string()),
    })
}

/// Verifies our own canonical bytes.
fn directly<'a>(
    signed: &Value,
    by_key: impl Iterator<Item = &'a Vec<(&'a Key, &'a [u8])>>,
    threshold: NonZeroU64,
) -> Result<(), VerifyError> {
    let message = canonical::to_vec(signed).map_err(|error| VerifyError::Unjudged(error.to_string()))?;
    let good = |(key, signature): &(&Key, &[u8])| good(key, &message, signature);
    let valid = by_key.filter(|lines| lines.iter().any(good)).count() as u64;
    if valid < threshold.get() {
        let threshold = threshold.get();
        return Err(VerifyError::Threshold { valid, threshold });
    }
    Ok(())
}

/// Whether a key made this signature of a message.
pub(super) fn good(key: &Key, message: &[u8], signature: &[u8]) -> bool {
    let (algorithm, public) = material(key);
    let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
        Algorithm::Ed25519 => &ED25519,
        Algorithm::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
        Algorithm::RsaPss => &RSA_PSS_2048_8192_SHA256,
    };
    UnparsedPublicKey::new(algorithm, public)
        .verify(message, signature)
        .is_ok()
}

/// Whether tough's canonical form of the value is ours. Recursion is bounded by [`super::json::MAX_DEPTH`].
fn encoded_alike(value: &Value) -> bool {
    // What stands above `"` and is neither `"` nor `\` keeps its place when it is escaped and quoted.
    let sorted_alike = |key: &str| key.bytes().all(|byte| byte > b'"' && byte != b'\\');
    match value {
        Value::String(text) => is_nfc(text),
        Value::Array(items) => items.iter().all(encoded_alike),
        Value::Object(fields) => fields
            .iter()
            .all(|(key, value)| is_nfc(key) && sorted_alike(key) && encoded_alike(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// A `signed` object of any kind, for tough.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Raw<'a>(&'a Value);

impl Role for Raw<'_> {
    const TYPE: RoleType = RoleType::DelegatedTargets;

    // tough asks none of these to verify.
    fn expires(&self) -> Timestamp {
        Timestamp::MIN
    }

    fn version(&self) -> NonZeroU64 {
        NonZeroU64::MIN
    }

    fn filename(&self, _consistent_snapshot: bool) -> String {
        String::new()
    }
}

#[cfg(test)]
mod tests;
