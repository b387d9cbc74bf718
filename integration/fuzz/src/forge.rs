//! Metadata signed here: keys from seeds, and a canonical form written as the specification's grammar reads, without a
//! line of the gate's.

use std::sync::OnceLock;

use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// How many keys there are.
pub const KEYS: usize = 12;

/// A key pair.
pub fn key(seed: usize) -> &'static SigningKey {
    static PAIRS: OnceLock<Vec<SigningKey>> = OnceLock::new();
    let pairs = PAIRS.get_or_init(|| {
        (1..=KEYS)
            .map(|seed| SigningKey::from_bytes(&[seed as u8; 32]))
            .collect()
    });
    &pairs[seed]
}

/// A key as metadata lists it.
pub fn public(seed: usize) -> Value {
    let public = hex::encode(key(seed).verifying_key().as_bytes());
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}})
}

/// A `signed` object with these further fields.
pub fn metadata(kind: &str, version: u64, rest: &Value) -> Value {
    let mut signed = json!({
        "_type": kind, "spec_version": "1.0.31", "version": version, "expires": "2099-01-01T00:00:00Z",
    });
    for (name, value) in rest.as_object().into_iter().flatten() {
        signed[name] = value.clone();
    }
    signed
}

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A key's id, computed.
pub fn id(seed: usize) -> String {
    static IDS: OnceLock<Vec<String>> = OnceLock::new();
    IDS.get_or_init(|| (0..KEYS).map(|seed| sha256(&canonical(&public(seed)))).collect())[seed].clone()
}

/// A `keys` object.
pub fn keys(seeds: &[usize]) -> Value {
    let listed: Map<_, _> = seeds.iter().map(|seed| (id(*seed), public(*seed))).collect();
    listed.into()
}

/// `{keyids, threshold}`.
pub fn role(seeds: &[usize], threshold: u64) -> Value {
    json!({"keyids": seeds.iter().map(|seed| id(*seed)).collect::<Vec<_>>(), "threshold": threshold})
}

/// The canonical form (<http://wiki.laptop.org/go/Canonical_JSON>).
pub fn canonical(value: &Value) -> Vec<u8> {
    fn quoted(text: &str) -> String {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    }
    fn form(value: &Value) -> String {
        match value {
            Value::Null => "null".to_owned(),
            Value::Bool(truth) => truth.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => quoted(text),
            Value::Array(items) => format!("[{}]", items.iter().map(form).collect::<Vec<_>>().join(",")),
            Value::Object(fields) => {
                let mut fields: Vec<(Vec<char>, String)> = fields
                    .iter()
                    .map(|(name, value)| (name.chars().collect(), format!("{}:{}", quoted(name), form(value))))
                    .collect();
                fields.sort();
                let fields: Vec<_> = fields.into_iter().map(|(_, field)| field).collect();
                format!("{{{}}}", fields.join(","))
            }
        }
    }
    form(value).into_bytes()
}

/// A signature in hex.
pub fn signature(signed: &Value, by: usize) -> String {
    hex::encode(key(by).sign(&canonical(signed)).to_bytes())
}

/// Signed metadata.
pub fn sign(signed: &Value, by: &[usize]) -> Vec<u8> {
    let signatures: Vec<_> = by
        .iter()
        .map(|seed| json!({"keyid": id(*seed), "sig": signature(signed, *seed)}))
        .collect();
    envelope(signed, &signatures.into())
}

/// Signatures around `signed`.
pub fn envelope(signed: &Value, signatures: &Value) -> Vec<u8> {
    json!({"signed": signed, "signatures": signatures})
        .to_string()
        .into_bytes()
}
