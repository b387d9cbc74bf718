//! The tap: counts and hashes a body as it passes and withholds its last chunk until the verdict.
//!
//! Withholding is what makes a verdict bite: by the time a body's digest is known all its other bytes have left, and
//! HTTP has no way to take them back. A receiver that misses the last chunk knows that it has not the whole.

use bytes::{Bytes, BytesMut};

use crate::{
    beside::{Hashing, Lost},
    digest::Digest,
};

/// One body on its way.
#[derive(Default)]
pub struct Tap {
    hashing: Hashing,
    length: u64,
    held: Bytes,
}

impl Tap {
    /// Takes a chunk, gives back what may go on: all bytes before it. Empty chunks never displace the one withheld.
    pub async fn push(&mut self, chunk: Bytes) -> Bytes {
        if chunk.is_empty() {
            return Bytes::new();
        }
        self.length += chunk.len() as u64;
        self.hashing.push(chunk.clone()).await;
        std::mem::replace(&mut self.held, chunk)
    }

    /// Bytes seen so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The body ended: its digest and length, and the chunk that was withheld.
    pub async fn finish(self) -> Result<(Digest, u64, Bytes), Lost> {
        let (digest, length) = self.hashing.finish().await?;
        Ok((digest, length, self.held))
    }
}

/// Joins two chunks, copying only when both hold bytes.
pub fn join(first: Bytes, second: Bytes) -> Bytes {
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second,
        (_, true) => first,
        _ => {
            let mut joined = BytesMut::with_capacity(first.len() + second.len());
            joined.extend_from_slice(&first);
            joined.extend_from_slice(&second);
            joined.freeze()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_passes_plus_what_is_held_is_the_body(chunks: Vec<Vec<u8>>) {
            let body = chunks.concat();
            let (out, (digest, length, held)) = async {
                let (mut tap, mut out) = (Tap::default(), Vec::new());
                for chunk in &chunks {
                    out.extend_from_slice(&tap.push(chunk.clone().into()).await);
                }
                (out, tap.finish().await.unwrap())
            }
            .now_or_never()
            .unwrap();
            prop_assert_eq!(digest, Digest::of(&body));
            prop_assert_eq!(length, body.len() as u64);
            prop_assert!(body.is_empty() || out.len() < body.len());
            prop_assert_eq!([out, held.to_vec()].concat(), body);
        }
    }
}
