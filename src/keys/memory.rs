//! A key that lives and dies with the process: for tests and embedding.

use std::fmt;

use async_trait::async_trait;
use ed25519_dalek::SigningKey as Secret;
use rand::{TryRng as _, rngs::SysRng};
use tough::schema::{
    decoded::{Decoded, Hex},
    key::Key,
};
use zeroize::Zeroizing;

use super::{KeyError, SigningKey, ed25519::Pair};

/// An Ed25519 key in memory.
pub struct MemoryKey(Pair);

impl MemoryKey {
    /// A fresh key from the system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self(Pair::new(fresh()?)?))
    }

    /// The same key for the same seed. Worth nothing as a secret.
    #[cfg(test)]
    #[expect(clippy::unwrap_used, reason = "tests")]
    pub fn from_seed(seed: u8) -> Self {
        Self(Pair::new(Secret::from_bytes(&[seed; 32])).unwrap())
    }
}

/// A fresh secret from the system's randomness.
pub(super) fn fresh() -> Result<Secret, KeyError> {
    let mut seed = Zeroizing::new([0; 32]);
    SysRng
        .try_fill_bytes(seed.as_mut())
        .map_err(|error| KeyError::Sign(format!("no randomness: {error}")))?;
    Ok(Secret::from_bytes(&seed))
}

impl fmt::Debug for MemoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryKey({})", hex::encode(&self.0.id))
    }
}

#[async_trait]
impl SigningKey for MemoryKey {
    fn public(&self) -> &Key {
        &self.0.public
    }

    fn key_id(&self) -> &Decoded<Hex> {
        &self.0.id
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.0.sign(message)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::keys::conformance;

    #[tokio::test]
    async fn conforms() {
        conformance::suite(&MemoryKey::from_seed(1), &MemoryKey::generate().unwrap()).await;
    }

    #[test]
    fn formatting_shows_the_public_id_only() {
        let shown = format!("{:?}", MemoryKey::from_seed(7));
        assert!(!shown.contains(&"07".repeat(8)) && !shown.contains("7, 7"), "{shown}");
    }
}
