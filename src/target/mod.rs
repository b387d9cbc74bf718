//! Target paths: the canonical form of a request path, and the names that stand for it.
//!
//! The name is a security boundary: one hostile name must not break a bin, a client or another path. Everything behind
//! this module holds a [`TargetPath`] and trusts it. What a raw request path means is read in [`name_of_bytes`].

mod name;
#[cfg(test)]
mod properties;

use std::{fmt, sync::Arc};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::is_nfc;

use crate::digest::Digest;

pub use name::{Name, name_of, name_of_bytes, split_target};

/// Longest target path, in bytes of UTF-8.
pub const MAX_PATH: usize = 1024;

/// What python-tuf's HTTP stack encodes in a target's path, and `?` and `#`, which would end the path: all that RFC 3986
/// `pchar` does not allow raw, but `%`.
pub(crate) const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
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

/// What the canonical encoding escapes.
const ESCAPED: &AsciiSet = &UNSAFE.add(b'%');

/// The canonical URL path on the gate, percent-decoded, without the leading `/`: the key of everything.
///
/// Holds 1 to 1,024 bytes of NFC text of the basic multilingual plane; no empty, `.` or `..` segment; no control, `\`,
/// `%`, `?`, `#`; no `:` in the first segment; no space at either end; never a name of the form `<64 hex>.x` in its
/// first or last segment. [`NoForm`] says why for each. `;` is a character like any other.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TargetPath(Arc<str>);

impl TargetPath {
    /// Parses canonical, decoded text, as metadata and the ledger hold it.
    pub fn new(text: &str) -> Result<Self, NoForm> {
        if text.len() > MAX_PATH {
            return Err(NoForm::TooLong);
        }
        check(text)?;
        if text.starts_with(' ') || text.ends_with(' ') {
            return Err(NoForm::EdgeSpace);
        }
        if name::hash_named(text).is_some() {
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

    /// The two names a TUF client asks for when it wants bytes with this hash (TUF spec 6.2): `dir/H.name` (python-tuf,
    /// go-tuf, tuf-js, sigstore) and `H.dir/name` (tough). They are one and the same for a path of one segment.
    pub fn hashed(&self, hash: impl fmt::Display) -> [String; 2] {
        let last = match self.0.rsplit_once('/') {
            Some((dir, name)) => format!("{dir}/{hash}.{name}"),
            None => format!("{hash}.{}", self.0),
        };
        [last, format!("{hash}.{}", self.0)]
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

/// Why a path has no canonical form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoForm {
    /// Above U+FFFF. tuf-js sorts the keys of canonical JSON by UTF-16 unit, all others by code point: beside a name
    /// with a character of U+E000 to U+FFFF at the same place, its check of the whole bin's signature would fail. New
    /// Unicode versions also add compositions there, so that NFC would depend on a client's age.
    #[error("a character above U+FFFF")]
    Astral,
    /// A `:` in the first segment reads as a URL scheme to clients that join URLs (tough).
    #[error("`:` in the first segment")]
    Colon,
    /// A control character (C0, DEL, C1).
    #[error("a control character")]
    Control,
    /// `.` or `..`, raw or encoded; also with parameters (`..;x`), which Tomcat drops before it resolves them.
    #[error("a `.` or `..` segment")]
    DotSegment,
    /// A space at the path's start or end, which URL parsers strip (WHATWG URL 4.4).
    #[error("a space at the start or end")]
    EdgeSpace,
    /// `//`, or a path that does not start with `/`.
    #[error("an empty segment")]
    Empty,
    /// An encoded `/`.
    #[error("an encoded `/`")]
    EncodedSlash,
    /// A `%` that two hex digits do not follow.
    #[error("a broken percent escape")]
    Escape,
    /// One of `\ % ? # "` after decoding: clients send the first four raw, and what arrives is another path; a quote
    /// makes clients sort names differently in canonical JSON.
    #[error("one of `\\`, `%`, `?`, `#`, `\"` after decoding")]
    Forbidden,
    /// `<64 hex>.x` is a hash-prefixed name, never one of its own.
    #[error("a hash-prefixed name")]
    HashNamed,
    /// Not in Unicode normalisation form C: tough normalises canonical JSON, and could not load the metadata.
    #[error("not NFC")]
    NotNfc,
    /// Not UTF-8 after decoding.
    #[error("not UTF-8")]
    NotUtf8,
    /// More than 1,024 bytes.
    #[error("more than 1,024 bytes")]
    TooLong,
}

/// The rules for decoded text that hold for every name, index or not.
fn check(text: &str) -> Result<(), NoForm> {
    if text.chars().any(char::is_control) {
        return Err(NoForm::Control);
    }
    if text.contains(['\\', '%', '?', '#', '"']) {
        return Err(NoForm::Forbidden);
    }
    for segment in text.split('/') {
        let bare = segment.split_once(';').map_or(segment, |(bare, _)| bare);
        if segment.is_empty() {
            return Err(NoForm::Empty);
        }
        if matches!(bare, "." | "..") {
            return Err(NoForm::DotSegment);
        }
    }
    if text.split('/').next().is_some_and(|first| first.contains(':')) {
        return Err(NoForm::Colon);
    }
    if text.chars().any(|c| c > '\u{FFFF}') {
        return Err(NoForm::Astral);
    }
    if !is_nfc(text) {
        return Err(NoForm::NotNfc);
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_bin_is_the_leading_bits() {
        let id = Digest([0xab; 32]);
        assert_eq!(bin_of(&id, 0), 0);
        assert_eq!(bin_of(&id, 4), 0xa);
        assert_eq!(bin_of(&id, 12), 0xaba);
        assert_eq!(bin_of(&id, 32), 0xabab_abab);
    }

    #[test]
    fn serialised_paths_are_checked_when_read_back() {
        let path: TargetPath = serde_json::from_str(r#""a/b c""#).unwrap();
        assert_eq!(serde_json::to_string(&path).unwrap(), r#""a/b c""#);
        assert!(serde_json::from_str::<TargetPath>(r#""a/../b""#).is_err());
    }

    #[test]
    fn both_hash_prefixed_names_are_given() {
        let digest = Digest([0xab; 32]);
        let [last, first] = TargetPath::new("a/b/c").unwrap().hashed(digest);
        assert_eq!(last, format!("a/b/{digest}.c"));
        assert_eq!(first, format!("{digest}.a/b/c"));
        let [last, first] = TargetPath::new("c").unwrap().hashed(digest);
        assert_eq!(last, first);
    }
}
