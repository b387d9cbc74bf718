//! The hashes by which metadata names bytes (TUF spec 4.4, 4.5): sha256, sha512 or both. Others are ignored, but one that
//! is known must be there, and all that are known must match.

use std::{collections::BTreeMap, fmt};

use sha2::{Digest as _, Sha256, Sha512};

use crate::digest::Digest;

/// Hashes that cannot be checked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HashesError {
    /// Neither sha256 nor sha512 is listed.
    #[error("it lists neither sha256 nor sha512")]
    Unknown,
    /// The value is not as many hex digits as the algorithm has.
    #[error("its {0} is not {1} hex digits")]
    Malformed(&'static str, usize),
}

/// Bytes that have another hash than the one listed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("its {algorithm} is {found}, but {listed} is listed")]
pub struct Mismatch {
    /// `sha256` or `sha512`.
    pub algorithm: &'static str,
    /// What the bytes have, in hex.
    pub found: String,
    /// What they should have, in hex.
    pub listed: String,
}

/// What metadata lists of some bytes; at least one hash.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Hashes {
    sha256: Option<Digest>,
    sha512: Option<[u8; 64]>,
}

impl Hashes {
    /// Reads a `hashes` object.
    pub fn parse(listed: &BTreeMap<String, String>) -> Result<Self, HashesError> {
        let sha256 = listed.get("sha256").map(|hex| hex.parse());
        let sha512 = listed.get("sha512").map(|text| {
            let mut raw = [0; 64];
            hex::decode_to_slice(text, &mut raw).map(|()| raw)
        });
        if sha256.is_none() && sha512.is_none() {
            return Err(HashesError::Unknown);
        }
        Ok(Self {
            sha256: sha256.transpose().map_err(|_| HashesError::Malformed("sha256", 64))?,
            sha512: sha512.transpose().map_err(|_| HashesError::Malformed("sha512", 128))?,
        })
    }

    /// The sha256, if it is listed.
    pub fn sha256(&self) -> Option<Digest> {
        self.sha256
    }

    /// The hex that stands in hash-prefixed names (TUF spec 6.2): sha256 if it is listed, else sha512.
    pub fn prefix(&self) -> String {
        match (&self.sha256, &self.sha512) {
            (Some(sha256), _) => sha256.to_string(),
            (None, sha512) => hex::encode(sha512.unwrap_or([0; 64])),
        }
    }

    /// Starts to hash a stream for comparison with these.
    pub fn check(&self) -> Check {
        Check {
            listed: *self,
            sha256: self.sha256.map(|_| Sha256::new()),
            sha512: self.sha512.map(|_| Sha512::new()),
            length: 0,
        }
    }

    /// Compares bytes with these.
    pub fn matches(&self, bytes: &[u8]) -> Result<(), Mismatch> {
        let mut check = self.check();
        check.update(bytes);
        check.finish()
    }
}

impl From<Digest> for Hashes {
    fn from(sha256: Digest) -> Self {
        Self {
            sha256: Some(sha256),
            sha512: None,
        }
    }
}

impl fmt::Display for Hashes {
    /// `sha256 HEX`, or `sha512 HEX` where that is all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = if self.sha256.is_some() { "sha256" } else { "sha512" };
        write!(f, "{algorithm} {}", self.prefix())
    }
}

impl fmt::Debug for Hashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hashes and counts a stream, to be compared at its end.
#[derive(Clone)]
pub struct Check {
    listed: Hashes,
    sha256: Option<Sha256>,
    sha512: Option<Sha512>,
    length: u64,
}

impl Check {
    /// Adds the next bytes of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(state) = &mut self.sha256 {
            state.update(bytes);
        }
        if let Some(state) = &mut self.sha512 {
            state.update(bytes);
        }
        self.length += bytes.len() as u64;
    }

    /// Bytes seen so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Compares every hash that is listed.
    pub fn finish(self) -> Result<(), Mismatch> {
        let sha256 = self.sha256.map(|state| Digest(state.finalize().into()));
        if let (Some(found), Some(listed)) = (sha256, self.listed.sha256)
            && found != listed
        {
            return Err(Mismatch {
                algorithm: "sha256",
                found: found.to_string(),
                listed: listed.to_string(),
            });
        }
        let sha512 = self.sha512.map(|state| -> [u8; 64] { state.finalize().into() });
        if let (Some(found), Some(listed)) = (sha512, self.listed.sha512)
            && found != listed
        {
            return Err(Mismatch {
                algorithm: "sha512",
                found: hex::encode(found),
                listed: hex::encode(listed),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn listed(of: &[(&str, String)]) -> Result<Hashes, HashesError> {
        Hashes::parse(&of.iter().map(|(name, hex)| ((*name).to_owned(), hex.clone())).collect())
    }

    fn sha256(of: &str) -> String {
        Digest::of(of).to_string()
    }

    fn sha512(of: &str) -> String {
        hex::encode(Sha512::digest(of))
    }

    #[test]
    fn every_known_hash_must_match() {
        let mine = [
            listed(&[("sha256", sha256("a"))]).unwrap(),
            listed(&[("sha512", sha512("a"))]).unwrap(),
            listed(&[
                ("sha256", sha256("a")),
                ("sha512", sha512("a")),
                ("blake2b", "?".into()),
            ])
            .unwrap(),
        ];
        for hashes in mine {
            hashes.matches(b"a").unwrap();
            hashes.matches(b"b").unwrap_err();
        }
        let torn = listed(&[("sha256", sha256("a")), ("sha512", sha512("b"))]).unwrap();
        assert_eq!(torn.matches(b"a").unwrap_err().algorithm, "sha512");
        assert_eq!(torn.matches(b"b").unwrap_err().algorithm, "sha256");
    }

    #[test]
    fn what_cannot_be_checked_is_refused() {
        assert_eq!(listed(&[]), Err(HashesError::Unknown));
        assert_eq!(listed(&[("md5", "00".into())]), Err(HashesError::Unknown));
        for (name, hex) in [
            ("sha256", sha512("a")),
            ("sha512", sha256("a")),
            ("sha256", "zz".repeat(32)),
        ] {
            assert!(
                matches!(listed(&[(name, hex)]), Err(HashesError::Malformed(..))),
                "{name}"
            );
        }
        let half = listed(&[("sha256", sha256("a")), ("sha512", String::new())]);
        assert_eq!(half, Err(HashesError::Malformed("sha512", 128)));
    }

    #[test]
    fn names_take_sha256_if_there_is_one() {
        let both = listed(&[("sha256", sha256("a")), ("sha512", sha512("a"))]).unwrap();
        assert_eq!(both.prefix(), sha256("a"));
        assert_eq!(listed(&[("sha512", sha512("a"))]).unwrap().prefix(), sha512("a"));
        assert_eq!(both.to_string(), format!("sha256 {}", sha256("a")));
    }
}
