//! Encoding and signing one file, off the async loop.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{
    keys::SigningKey,
    tuf::{build, canonical::CanonicalError},
};

use super::SignerError;

/// Runs `encode` on a thread that may block, signs what it made there, and wraps both into the file. A key that waits
/// for the network waits on that thread.
pub(super) async fn seal(
    key: Arc<dyn SigningKey>,
    encode: impl FnOnce() -> Result<Vec<u8>, CanonicalError> + Send + 'static,
) -> Result<Bytes, SignerError> {
    let runtime = Handle::current();
    let sealed = spawn_blocking(move || {
        let signed = encode()?;
        let signature = runtime.block_on(key.sign(&signed))?;
        Ok(build::envelope(&signed, &[(key.key_id(), signature)]))
    });
    sealed
        .await
        .unwrap_or_else(|error| Err(SignerError::Task(error.to_string())))
}
