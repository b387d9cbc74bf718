//! Target paths: the canonical form of a request path, and the names that stand for it.
//!
//! The name is a security boundary: one hostile name must not break a bin, a client or another path. Everything behind
//! this module holds a [`TargetPath`] and trusts it.

use std::{fmt, sync::Arc};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::is_nfc;

use crate::digest::Digest;

/// Longest target path, in bytes of UTF-8.
pub const MAX_PATH: usize = 1024;

/// What the canonical encoding escapes: everything a path may hold but RFC 3986 `pchar` does not allow raw.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The canonical URL path on the gate, percent-decoded, without the leading `/`: the key of everything.
///
/// Holds 1 to 1,024 bytes of NFC text; no empty, `.` or `..` segment; no control, `\`, `%`, `?`, `#`; no `:` in the
/// first segment; never a name of the form `<64 hex>.x` in its first or last segment.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TargetPath(Arc<str>);

impl TargetPath {
    /// Parses canonical, decoded text, as metadata and the ledger hold it.
    pub fn new(text: &str) -> Result<Self, NoForm> {
        check(text)?;
        if hash_named(text).is_some() {
            return Err(NoForm::HashNamed);
        }
        Ok(Self(text.into()))
    }

    /// The decoded text, as TUF metadata lists it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The canonical encoding with a leading `/`: what goes upstream.
    pub fn encoded(&self) -> String {
        format!("/{}", utf8_percent_encode(&self.0, ESCAPED))
    }

    /// SHA-256 of the path: the ledger's key, whose leading bits are the bin (TAP 15).
    pub fn id(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// The bin of this path among `2^bits`.
    pub fn bin(&self, bits: u8) -> u32 {
        bin_of(&self.id(), bits)
    }
}

impl fmt::Debug for TargetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for TargetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TargetPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TargetPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// The leading `bits` bits (0 to 32) of a path's id, as a number.
pub fn bin_of(id: &Digest, bits: u8) -> u32 {
    let [a, b, c, d, ..] = id.0;
    u32::from_be_bytes([a, b, c, d])
        .checked_shr(32 - u32::from(bits))
        .unwrap_or(0)
}

/// What a raw request path is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Name {
    /// A path that can be recorded.
    Canonical(TargetPath),
    /// `dir/H.name` or `H.dir/name`: stands for one of these targets if it was recorded with that digest; else literal
    /// and never recorded.
    Hashed {
        /// Readings to try in order: the target path, the digest asked for.
        readings: Vec<(TargetPath, Digest)>,
        /// The decoded path, to go upstream when no reading is recorded.
        literal: String,
    },
    /// The root or a path with a trailing `/`: a listing, passed unsigned.
    Index,
    /// A path without canonical form.
    None(NoForm),
}

/// Why a path has no canonical form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoForm {
    /// A `:` in the first segment reads as a URL scheme to some clients.
    #[error("`:` in the first segment")]
    Colon,
    /// A control character (C0, DEL, C1).
    #[error("a control character")]
    Control,
    /// `.` or `..`, raw or encoded.
    #[error("a `.` or `..` segment")]
    DotSegment,
    /// `//` or an encoded `/` at a segment's edge.
    #[error("an empty segment")]
    Empty,
    /// An encoded `/`.
    #[error("an encoded `/`")]
    EncodedSlash,
    /// One of `\ % ? #` after decoding.
    #[error("one of `\\`, `%`, `?`, `#` after decoding")]
    Forbidden,
    /// `<64 hex>.x` is a hash-prefixed name, never one of its own.
    #[error("a hash-prefixed name")]
    HashNamed,
    /// A `%` that two hex digits do not follow.
    #[error("a broken percent escape")]
    Escape,
    /// Not UTF-8 after decoding.
    #[error("not UTF-8")]
    NotUtf8,
    /// Not in Unicode normalisation form C.
    #[error("not NFC")]
    NotNfc,
    /// More than 1,024 bytes.
    #[error("more than 1,024 bytes")]
    TooLong,
}

/// Reads the path of a request target (origin form, without query).
pub fn name_of(raw: &str) -> Name {
    let Some(raw) = raw.strip_prefix('/') else {
        return Name::None(NoForm::Empty);
    };
    if raw.is_empty() {
        return Name::Index;
    }
    let (body, index) = match raw.strip_suffix('/') {
        Some(body) => (body, true),
        None => (raw, false),
    };
    match decode(body) {
        Err(why) => Name::None(why),
        Ok(_) if index => Name::Index,
        Ok(text) => match hash_named(&text) {
            Some(readings) => Name::Hashed {
                readings,
                literal: text,
            },
            None => Name::Canonical(TargetPath(text.into())),
        },
    }
}

/// Decodes once and checks.
fn decode(raw: &str) -> Result<String, NoForm> {
    let bytes = raw.as_bytes();
    for (at, _) in raw.match_indices('%') {
        let escape = bytes.get(at + 1..at + 3).ok_or(NoForm::Escape)?;
        if !escape.iter().all(u8::is_ascii_hexdigit) {
            return Err(NoForm::Escape);
        }
        if escape.eq_ignore_ascii_case(b"2f") {
            return Err(NoForm::EncodedSlash);
        }
    }
    let text = percent_decode_str(raw).decode_utf8().map_err(|_| NoForm::NotUtf8)?;
    check(&text)?;
    Ok(text.into_owned())
}

/// The rules for decoded text.
fn check(text: &str) -> Result<(), NoForm> {
    if text.len() > MAX_PATH {
        return Err(NoForm::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(NoForm::Control);
    }
    if text.contains(['\\', '%', '?', '#']) {
        return Err(NoForm::Forbidden);
    }
    for segment in text.split('/') {
        match segment {
            "" => return Err(NoForm::Empty),
            "." | ".." => return Err(NoForm::DotSegment),
            _ => {}
        }
    }
    if text.split('/').next().is_some_and(|s| s.contains(':')) {
        return Err(NoForm::Colon);
    }
    if !is_nfc(text) {
        return Err(NoForm::NotNfc);
    }
    Ok(())
}

/// The targets a hash-prefixed path may stand for; `None` when neither its first nor its last segment is `<64 hex>.x`.
/// Hex is matched without regard to case, so that no spelling of such a name is ever recorded; only lower case stands
/// for a target.
fn hash_named(text: &str) -> Option<Vec<(TargetPath, Digest)>> {
    let (dir, last) = match text.rsplit_once('/') {
        Some((dir, last)) => (Some(dir), last),
        None => (None, text),
    };
    let mut found = false;
    let mut readings = Vec::new();
    let mut add = |digest: &str, target: String| {
        found = true;
        let lower = !digest.bytes().any(|b| b.is_ascii_uppercase());
        if let (true, Ok(digest), Ok(path)) = (lower, digest.parse(), TargetPath::new(&target)) {
            readings.push((path, digest));
        }
    };
    if let Some((digest, name)) = split_hash(last) {
        add(
            digest,
            dir.map_or_else(|| name.to_owned(), |dir| format!("{dir}/{name}")),
        );
    }
    if dir.is_some()
        && let Some((digest, rest)) = split_hash(text)
    {
        add(digest, rest.to_owned());
    }
    found.then_some(readings)
}

/// Splits `<64 hex>.rest`.
fn split_hash(text: &str) -> Option<(&str, &str)> {
    let (digest, rest) = text.split_at_checked(64)?;
    let rest = rest.strip_prefix('.')?;
    (!rest.is_empty() && !rest.starts_with('/') && digest.bytes().all(|b| b.is_ascii_hexdigit()))
        .then_some((digest, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_paths_round_trip() {
        for (raw, text) in [("/a/b%20c.txt", "a/b c.txt"), ("/x+y@1", "x+y@1"), ("/%C3%A9", "é")] {
            let Name::Canonical(path) = name_of(raw) else {
                panic!("{raw} has no canonical form")
            };
            assert_eq!(path.as_str(), text);
            assert_eq!(name_of(&path.encoded()), Name::Canonical(path));
        }
    }

    #[test]
    fn both_hash_positions_are_read() {
        let h = "ab".repeat(32);
        let digest: Digest = h.parse().unwrap();
        let Name::Hashed { readings, .. } = name_of(&format!("/dir/{h}.name")) else {
            panic!()
        };
        assert_eq!(readings, [(TargetPath::new("dir/name").unwrap(), digest)]);
        let Name::Hashed { readings, .. } = name_of(&format!("/{h}.dir/name")) else {
            panic!()
        };
        assert_eq!(readings, [(TargetPath::new("dir/name").unwrap(), digest)]);
    }

    #[test]
    fn a_bin_is_the_leading_bits() {
        let id = Digest([0xab; 32]);
        assert_eq!(bin_of(&id, 0), 0);
        assert_eq!(bin_of(&id, 4), 0xa);
        assert_eq!(bin_of(&id, 12), 0xaba);
        assert_eq!(bin_of(&id, 32), 0xabab_abab);
    }
}
