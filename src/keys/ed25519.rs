//! An Ed25519 key pair in memory: what every local key signs with.

use std::collections::HashMap;

use ed25519_dalek::{Signer as _, SigningKey};
use tough::schema::{
    decoded::{Decoded, Hex},
    key::{Ed25519Key, Ed25519Scheme, Key},
};

use super::KeyError;

/// The pair with its public half as metadata lists it. The secret is zeroised on drop (by ed25519-dalek).
pub(super) struct Pair {
    pub(super) secret: SigningKey,
    pub(super) public: Key,
    pub(super) id: Decoded<Hex>,
}

impl Pair {
    pub(super) fn new(secret: SigningKey) -> Result<Self, KeyError> {
        let public = Key::Ed25519 {
            keyval: Ed25519Key {
                public: secret.verifying_key().to_bytes().to_vec().into(),
                _extra: HashMap::new(),
            },
            scheme: Ed25519Scheme::Ed25519,
            _extra: HashMap::new(),
        };
        let id = public.key_id().map_err(|error| KeyError::Sign(error.to_string()))?;
        Ok(Self { secret, public, id })
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.secret.try_sign(message);
        signature
            .map(|signature| signature.to_vec())
            .map_err(|error| KeyError::Sign(error.to_string()))
    }
}
