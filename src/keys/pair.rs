//! A key pair in memory: what every local key signs with.

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PSS_SHA256},
};
use ed25519_dalek::{Signer as _, SigningKey, pkcs8::KeypairBytes};
use pkcs8::{EncodePrivateKey as _, SecretDocument};
use rand::{TryRng as _, rngs::SysRng};
use zeroize::Zeroizing;

use super::{
    KeyError,
    public::{self, Public},
};
use crate::tuf::key::Algorithm;

/// A private key. Secrets are zeroised on drop, by ed25519-dalek and by AWS-LC.
pub(super) enum Secret {
    Ed25519(Box<SigningKey>),
    EcdsaP256(EcdsaKeyPair),
    RsaPss(rsa::KeyPair),
}

/// The pair with its public half as metadata lists it.
pub(super) struct Pair {
    secret: Secret,
    pub(super) public: Public,
}

impl Pair {
    pub(super) fn new(secret: Secret) -> Result<Self, KeyError> {
        let key = match &secret {
            Secret::Ed25519(secret) => public::ed25519(secret.verifying_key().as_bytes()),
            Secret::EcdsaP256(pair) => public::ecdsa(pair.public_key().as_ref()),
            Secret::RsaPss(pair) => public::rsa(pair.public_key().as_ref()).map_err(KeyError::Sign)?,
        };
        Ok(Self {
            public: Public::new(key)?,
            secret,
        })
    }

    /// A fresh pair from the system's randomness. RSA gets 3072 bits, as strong as the other two (NIST SP 800-57).
    pub(super) fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let failed = |_| KeyError::Sign("no randomness for a new key".to_owned());
        Self::new(match algorithm {
            Algorithm::Ed25519 => {
                let mut seed = Zeroizing::new([0; 32]);
                SysRng
                    .try_fill_bytes(seed.as_mut())
                    .map_err(|error| KeyError::Sign(format!("no randomness: {error}")))?;
                Secret::Ed25519(Box::new(SigningKey::from_bytes(&seed)))
            }
            Algorithm::EcdsaP256 => {
                Secret::EcdsaP256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?)
            }
            Algorithm::RsaPss => Secret::RsaPss(rsa::KeyPair::generate(KeySize::Rsa3072).map_err(failed)?),
        })
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::Sign("the library refuses to sign with it".to_owned());
        match &self.secret {
            Secret::Ed25519(secret) => {
                let signature = secret.try_sign(message);
                let signature = signature.map_err(|error| KeyError::Sign(error.to_string()))?;
                Ok(signature.to_vec())
            }
            Secret::EcdsaP256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Secret::RsaPss(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
        }
    }

    /// PKCS#8, version 1 (RFC 5208): OpenSSL 3.0 does not read an ed25519 key with its public half (RFC 5958).
    pub(super) fn to_pkcs8(&self) -> Result<SecretDocument, KeyError> {
        let failed = |error: &dyn std::fmt::Display| KeyError::Sign(format!("a key cannot be written: {error}"));
        match &self.secret {
            Secret::Ed25519(secret) => {
                let bare = KeypairBytes {
                    secret_key: secret.to_bytes(),
                    public_key: None,
                };
                bare.to_pkcs8_der().map_err(|error| failed(&error))
            }
            Secret::EcdsaP256(pair) => {
                let document = pair.to_pkcs8v1().map_err(|error| failed(&error))?;
                SecretDocument::try_from(document.as_ref()).map_err(|error| failed(&error))
            }
            Secret::RsaPss(pair) => {
                let document: Pkcs8V1Der<'_> = pair.as_der().map_err(|error| failed(&error))?;
                SecretDocument::try_from(document.as_ref()).map_err(|error| failed(&error))
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
impl Pair {
    /// The same ed25519 pair for the same seed. Worth nothing as a secret.
    pub(super) fn from_seed(seed: u8) -> Self {
        Self::new(Secret::Ed25519(Box::new(SigningKey::from_bytes(&[seed; 32])))).unwrap()
    }
}
