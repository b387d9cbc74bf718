//! Keys and signatures for tests, made by ed25519-dalek and olpc-cjson, so that neither side of a check is our own.
#![allow(clippy::unwrap_used, reason = "tests")]

use ed25519_dalek::{Signer as _, SigningKey};
use olpc_cjson::CanonicalFormatter;
use serde::Serialize as _;
use serde_json::{Value, json};

use crate::digest::Digest;

/// A key pair; the same seed gives the same pair.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// The public half as metadata lists it.
pub fn public(key: &SigningKey) -> Value {
    let public = hex::encode(key.verifying_key().as_bytes());
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}})
}

/// The key's id.
pub fn id(key: &SigningKey) -> String {
    Digest::of(canonical(&public(key))).to_string()
}

/// A `keys` object.
pub fn keys(of: &[&SigningKey]) -> Value {
    of.iter()
        .map(|key| (id(key), public(key)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// `{keyids, threshold}`.
pub fn role(of: &[&SigningKey], threshold: u64) -> Value {
    json!({"keyids": of.iter().map(|key| id(key)).collect::<Vec<_>>(), "threshold": threshold})
}

/// The canonical form.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, CanonicalFormatter::new());
    value.serialize(&mut serializer).unwrap();
    bytes
}

/// A line of `signatures`.
pub fn signature(signed: &Value, by: &SigningKey) -> Value {
    json!({"keyid": id(by), "sig": hex::encode(by.sign(&canonical(signed)).to_bytes())})
}

/// Signed metadata.
pub fn sign(signed: &Value, by: &[&SigningKey]) -> Vec<u8> {
    let signatures: Vec<_> = by.iter().map(|key| signature(signed, key)).collect();
    json!({"signed": signed, "signatures": signatures})
        .to_string()
        .into_bytes()
}
