//! A team that signs a role of its own, with any tool: here by hand.

use std::{fs, path::PathBuf};

use ed25519_dalek::{Signer as _, SigningKey, pkcs8::DecodePrivateKey as _};
use serde_json::{Map, Value, json};
use tufgate::internals::{digest::Digest, tuf::canonical};

use super::{
    ceremony::new_key,
    gate::Gate,
    http::{self, Response},
    repository::{listing, public},
};

/// A role's `signed` object, good for years.
pub fn role(version: u64, targets: &[(&str, &[u8])]) -> Value {
    let targets: Map<_, _> = targets
        .iter()
        .map(|(path, bytes)| ((*path).to_owned(), listing(bytes)))
        .collect();
    json!({
        "_type": "targets", "spec_version": "1.0.0", "version": version, "expires": "2035-01-01T00:00:00Z",
        "targets": targets,
    })
}

/// Who signs, with an Ed25519 key in the gate's folder.
pub struct Member {
    /// The key's name: `NAME.pub` is what the operator is given.
    pub name: String,
    key: SigningKey,
}

impl Member {
    /// With a new key.
    pub fn new(gate: &Gate, name: &str) -> Self {
        new_key(&gate.dir, name);
        let pem = fs::read_to_string(gate.dir.join(format!("{name}.pem"))).unwrap();
        Self {
            name: name.to_owned(),
            key: SigningKey::from_pkcs8_pem(&pem).unwrap(),
        }
    }

    /// With a key of the gate's own, for what it signs together with a team.
    pub fn gate(gate: &Gate, file: &str) -> Self {
        let pem = fs::read_to_string(gate.dir.join(file)).unwrap();
        Self {
            name: file.to_owned(),
            key: SigningKey::from_pkcs8_pem(&pem).unwrap(),
        }
    }

    /// Adds a signature to a file.
    pub fn countersign(&self, file: &mut Value) {
        let signature = self.signature(&file["signed"]);
        file["signatures"].as_array_mut().unwrap().push(signature);
    }

    /// The key as metadata lists it.
    pub fn public(&self) -> Value {
        public(&self.key)
    }

    /// Its id.
    pub fn id(&self) -> String {
        Digest::of(canonical::to_vec(&self.public()).unwrap()).to_string()
    }

    fn signature(&self, signed: &Value) -> Value {
        let signature = self.key.sign(&canonical::to_vec(signed).unwrap());
        json!({"keyid": self.id(), "sig": hex::encode(signature.to_bytes())})
    }
}

/// A `signed` object with its signatures.
pub fn envelope(signed: &Value, by: &[&Member]) -> Value {
    let signatures: Vec<_> = by.iter().map(|member| member.signature(signed)).collect();
    json!({"signatures": signatures, "signed": signed})
}

/// What is handed in for these roles.
pub fn submission(roles: &[(&str, Value)]) -> Vec<u8> {
    let roles: Map<_, _> = roles
        .iter()
        .map(|(role, file)| ((*role).to_owned(), file.clone()))
        .collect();
    json!({ "roles": roles }).to_string().into_bytes()
}

/// Writes it where the operator finds it.
pub fn write(gate: &Gate, name: &str, roles: &[(&str, Value)]) -> PathBuf {
    let path = gate.dir.join(name);
    fs::write(&path, submission(roles)).unwrap();
    path
}

/// Hands it in; with `wait`, until it is listed.
pub fn submit(gate: &Gate, body: &[u8], wait: bool) -> Response {
    let mut headers = vec![("Content-Type", "application/json")];
    if wait {
        headers.push(("Prefer", "wait=20"));
    }
    http::request(gate.addr, "POST", "/metadata/submit", &headers, body)
}

/// Hands a role's file in and expects it to be listed.
#[track_caller]
pub fn submitted(gate: &Gate, name: &str, signed: &Value, by: &[&Member]) -> Value {
    let answer = submit(gate, &submission(&[(name, envelope(signed, by))]), true);
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200, "{body}\n{}", gate.log());
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["accepted"][name], signed["version"], "{body}");
    body
}
