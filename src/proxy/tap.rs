//! The tap: counts and hashes a body as it passes and withholds its last chunk until the verdict. Pure and synchronous.
//!
//! Withholding is what makes a verdict bite: by the time a body's digest is known all its other bytes have left, and
//! HTTP has no way to take them back. A receiver that misses the last chunk knows that it has not the whole.

use bytes::{Bytes, BytesMut};

use crate::digest::{Digest, Hasher};
pub use crate::digest::{Expected, Mismatch};

/// One body on its way.
#[derive(Default)]
pub struct Tap {
    hasher: Hasher,
    expected: Option<Expected>,
    held: Bytes,
}

impl Tap {
    /// A tap that learns.
    pub fn learning() -> Self {
        Self::default()
    }

    /// A tap that verifies.
    pub fn verifying(expected: Expected) -> Self {
        Self {
            expected: Some(expected),
            ..Self::default()
        }
    }

    /// Takes a chunk, gives back what may go on: all bytes before it. Empty chunks never displace the one withheld.
    pub fn push(&mut self, chunk: Bytes) -> Result<Bytes, Mismatch> {
        if chunk.is_empty() {
            return Ok(Bytes::new());
        }
        self.hasher.update(&chunk);
        match self.expected {
            Some(expected) if self.hasher.length() > expected.length => Err(Mismatch::Length {
                found: self.hasher.length(),
                expected: expected.length,
            }),
            _ => Ok(std::mem::replace(&mut self.held, chunk)),
        }
    }

    /// Bytes seen so far.
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// The body ended: its digest and length, and the chunk that was withheld.
    pub fn finish(self) -> Result<(Digest, u64, Bytes), Mismatch> {
        let (digest, length) = self.hasher.finish();
        if let Some(expected) = self.expected {
            expected.check(digest, length)?;
        }
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
    use proptest::prelude::*;

    use super::*;

    type End = Result<(Digest, u64, Bytes), Mismatch>;

    fn run(mut tap: Tap, chunks: &[Vec<u8>]) -> (Vec<u8>, End) {
        let mut out = Vec::new();
        for chunk in chunks {
            match tap.push(chunk.clone().into()) {
                Ok(bytes) => out.extend_from_slice(&bytes),
                Err(mismatch) => return (out, Err(mismatch)),
            }
        }
        (out, tap.finish())
    }

    proptest! {
        #[test]
        fn what_passes_plus_what_is_held_is_the_body(chunks: Vec<Vec<u8>>) {
            let body = chunks.concat();
            let (out, end) = run(Tap::learning(), &chunks);
            let (digest, length, held) = end.unwrap();
            prop_assert_eq!(digest, Digest::of(&body));
            prop_assert_eq!(length, body.len() as u64);
            prop_assert_eq!([out, held.to_vec()].concat(), body);
        }

        #[test]
        fn other_bytes_never_pass_whole(chunks: Vec<Vec<u8>>, recorded: Vec<u8>) {
            let body = chunks.concat();
            prop_assume!(body != recorded);
            let expected = Expected { digest: Digest::of(&recorded), length: recorded.len() as u64 };
            let (out, end) = run(Tap::verifying(expected), &chunks);
            prop_assert!(end.is_err());
            prop_assert!(body.is_empty() || out.len() < body.len());
            prop_assert!(recorded.is_empty() || out.len() < recorded.len());
        }
    }
}
