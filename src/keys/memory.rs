//! A key that lives and dies with the process: for tests and embedding.

use std::fmt;

use async_trait::async_trait;

use super::{KeyError, SigningKey, pair::Pair, public::Public};
use crate::tuf::key::Algorithm;

/// A key in memory.
pub struct MemoryKey(Pair);

impl MemoryKey {
    /// A fresh ed25519 key from the system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self(Pair::generate(Algorithm::Ed25519)?))
    }

    /// The same key for the same seed. Worth nothing as a secret.
    #[cfg(test)]
    pub fn from_seed(seed: u8) -> Self {
        Self(Pair::from_seed(seed))
    }
}

impl fmt::Debug for MemoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryKey({})", self.0.public)
    }
}

#[async_trait]
impl SigningKey for MemoryKey {
    fn name(&self) -> &str {
        "memory"
    }

    fn public_key(&self) -> &Public {
        &self.0.public
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
        for algorithm in [Algorithm::EcdsaP256, Algorithm::RsaPss] {
            let key = || MemoryKey(Pair::generate(algorithm).unwrap());
            conformance::suite(&key(), &key()).await;
        }
    }

    #[test]
    fn formatting_shows_the_public_id_only() {
        let shown = format!("{:?}", MemoryKey::from_seed(7));
        assert!(!shown.contains(&"07".repeat(8)) && !shown.contains("7, 7"), "{shown}");
    }
}
