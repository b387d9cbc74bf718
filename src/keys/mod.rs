//! Signing keys. Only the signer process and ceremonies open them; secrets are zeroised and never formatted.
//!
//! [`open`] makes a [`SigningKey`] of what a configuration says, wherever the key is. What another program or machine
//! signs is verified before it is used.

mod command;
mod der;
mod error;
pub mod file;
pub mod kms;
pub mod memory;
mod pair;
mod parse;
mod pkcs11;
pub mod public;
pub mod secret;

#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod conformance;

use std::sync::Arc;

use async_trait::async_trait;
use tough::schema::{
    decoded::{Decoded, Hex},
    key::Key,
};

use crate::config::{KeyPlace, KeySource};

pub use self::error::KeyError;
use self::public::Public;

/// Something that signs: a file, a token, a key service, a program.
#[async_trait]
pub trait SigningKey: Send + Sync {
    /// What people call it.
    fn name(&self) -> &str;

    /// The public half.
    fn public_key(&self) -> &Public;

    /// Signs a message.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;

    /// The public half, as root metadata lists it (TUF spec 4.2).
    fn public(&self) -> &Key {
        self.public_key().key()
    }

    /// SHA-256 of the canonical form of {keytype, scheme, keyval}.
    fn key_id(&self) -> &Decoded<Hex> {
        self.public_key().id()
    }
}

/// Opens a configured key; a token or service is asked for its public half.
///
/// # Errors
/// [`KeyError::transient`] ones may be gone later: the service does not answer, the token is not plugged in.
pub async fn open(source: &KeySource) -> Result<Arc<dyn SigningKey>, KeyError> {
    let name = source.name.clone();
    Ok(match &source.place {
        KeyPlace::File(file) => Arc::new(file::FileKey::open(file)?),
        KeyPlace::Command(command) => Arc::new(command::CommandKey::open(name, command)?),
        KeyPlace::Pkcs11(token) => Arc::new(pkcs11::TokenKey::open(name, token).await?),
        KeyPlace::AwsKms(kms) => Arc::new(kms::KmsKey::open(name, kms).await?),
    })
}

/// Signs a message that is no metadata and verifies the signature: whether the key works, here and now.
pub async fn check(key: &dyn SigningKey) -> Result<(), KeyError> {
    let message = b"tufgate: a test of this key, no metadata";
    let signature = key.sign(message).await?;
    verified(key.name(), key.public_key(), message, signature).map(drop)
}

/// The signature, if it is one: a wrong one must not get into metadata.
fn verified(name: &str, public: &Public, message: &[u8], signature: Vec<u8>) -> Result<Vec<u8>, KeyError> {
    match public.verifies(message, &signature) {
        true => Ok(signature),
        false => Err(KeyError::Unavailable {
            key: name.to_owned(),
            detail: format!("what it signs does not verify with its public key ({public})"),
        }),
    }
}
