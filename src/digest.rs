//! SHA-256 digests: the only hash the gate records, signs and compares.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest (FIPS 180-4), 32 bytes. Displays as 64 lower-case hex digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The raw 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The text was not 64 hex digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a sha256 digest is 64 hex digits")]
pub struct DigestParseError;

impl FromStr for Digest {
    type Err = DigestParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut raw = [0; 32];
        hex::decode_to_slice(text, &mut raw).map_err(|_| DigestParseError)?;
        Ok(Self(raw))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Hashes and counts a stream.
#[derive(Clone, Default)]
pub struct Hasher {
    state: Sha256,
    length: u64,
}

impl Hasher {
    /// Adds the next bytes of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Bytes seen so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Digest and length of all bytes seen.
    pub fn finish(self) -> (Digest, u64) {
        (Digest(self.state.finalize().into()), self.length)
    }
}

/// What a body must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expected {
    /// Its SHA-256.
    pub digest: Digest,
    /// Its length in bytes.
    pub length: u64,
}

impl Expected {
    /// What is expected of a body that is these bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self {
            length: bytes.as_ref().len() as u64,
            digest: Digest::of(bytes),
        }
    }

    /// Compares what came, whole.
    pub fn check(&self, digest: Digest, length: u64) -> Result<(), Mismatch> {
        if length != self.length {
            return Err(Mismatch::Length {
                found: length,
                expected: self.length,
            });
        }
        if digest != self.digest {
            return Err(Mismatch::Digest {
                found: digest,
                expected: self.digest,
            });
        }
        Ok(())
    }
}

/// A body differs from what was recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// Other bytes of the same length.
    #[error("the bytes have sha256 {found}, not {expected}")]
    Digest {
        /// What came.
        found: Digest,
        /// What is recorded.
        expected: Digest,
    },
    /// More or fewer bytes.
    #[error("{found} bytes, not {expected}")]
    Length {
        /// How many came, at least.
        found: u64,
        /// What is recorded.
        expected: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_hashes_like_the_whole() {
        let mut hasher = Hasher::default();
        hasher.update(b"ab");
        hasher.update(b"c");
        assert_eq!(hasher.finish(), (Digest::of(b"abc"), 3));
        assert_eq!(
            Digest::of(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn parsing_takes_64_hex_digits_and_nothing_else() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("".parse::<Digest>(), Err(DigestParseError));
        assert_eq!("zz".repeat(32).parse::<Digest>(), Err(DigestParseError));
        assert_eq!("ab".repeat(33).parse::<Digest>(), Err(DigestParseError));
    }
}
