//! Encoding and signing one file, off the async loop.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{
    keys::SigningKey,
    tuf::{build, canonical::CanonicalError},
};

use super::SignerError;

/// Runs `encode` on a thread that may block, signs what it made there with every key, and wraps all into the file. A key
/// that waits for the network waits on that thread.
pub(super) async fn seal(
    keys: Vec<Arc<dyn SigningKey>>,
    encode: impl FnOnce() -> Result<Vec<u8>, CanonicalError> + Send + 'static,
) -> Result<Bytes, SignerError> {
    let runtime = Handle::current();
    let sealed = spawn_blocking(move || {
        let signed = encode()?;
        let mut signatures = Vec::with_capacity(keys.len());
        for key in &keys {
            signatures.push((key.key_id(), runtime.block_on(key.sign(&signed))?));
        }
        Ok(build::envelope(&signed, &signatures))
    });
    sealed
        .await
        .unwrap_or_else(|error| Err(SignerError::Task(error.to_string())))
}
