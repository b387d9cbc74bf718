//! What a raw request path is: a canonical path, a hash-prefixed name, an index, or nothing that can be recorded.

use percent_encoding::percent_decode;

use super::{MAX_PATH, NoForm, TargetPath, check};
use crate::digest::Digest;

/// Bytes that a hash prefix adds: 64 hex digits and a dot.
const PREFIX: usize = 65;

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

/// Splits a raw request target (RFC 9112 3.2) into path and query, both still encoded. The query is what follows the
/// first `?`, without it; a `#` is not special. Of the absolute form (`http://host/path`) only path and query count,
/// since a proxy in front of one server has no use for the host. `None` for `*`, for the authority form and for
/// anything else without a path.
pub fn split_target(raw: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let origin = if raw.starts_with(b"/") {
        raw
    } else {
        let after = ["http://", "https://"].into_iter().find_map(|scheme| {
            let (head, rest) = raw.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
        })?;
        let host = after
            .iter()
            .position(|b| matches!(b, b'/' | b'?'))
            .unwrap_or(after.len());
        if host == 0 {
            return None;
        }
        after.split_at(host).1
    };
    let (path, query) = match origin.iter().position(|b| *b == b'?') {
        Some(at) => (&origin[..at], Some(&origin[at + 1..])),
        None => (origin, None),
    };
    Some((if path.is_empty() { b"/" } else { path }, query))
}

/// Reads the path of a request target (origin form, without query).
pub fn name_of(raw: &str) -> Name {
    name_of_bytes(raw.as_bytes())
}

/// Reads the path of a request target as it came in. Raw non-ASCII bytes mean what their escapes mean; bytes that are
/// not UTF-8 have no canonical form. Never panics.
pub fn name_of_bytes(raw: &[u8]) -> Name {
    let Some(raw) = raw.strip_prefix(b"/") else {
        return Name::None(NoForm::Empty);
    };
    if raw.is_empty() {
        return Name::Index;
    }
    let (body, index) = match raw.strip_suffix(b"/") {
        Some(body) => (body, true),
        None => (raw, false),
    };
    let text = match decode(body) {
        Ok(text) => text,
        Err(why) => return Name::None(why),
    };
    if index {
        return Name::Index;
    }
    if let Some(readings) = hash_named(&text) {
        return Name::Hashed {
            readings,
            literal: text,
        };
    }
    match TargetPath::new(&text) {
        Ok(path) => Name::Canonical(path),
        Err(why) => Name::None(why),
    }
}

/// Decodes once and checks all that holds for any name. Allows for a hash prefix before a path of full length.
fn decode(raw: &[u8]) -> Result<String, NoForm> {
    for at in (0..raw.len()).filter(|at| raw[*at] == b'%') {
        let escape = raw.get(at + 1..at + 3).ok_or(NoForm::Escape)?;
        if !escape.iter().all(u8::is_ascii_hexdigit) {
            return Err(NoForm::Escape);
        }
        if escape.eq_ignore_ascii_case(b"2f") {
            return Err(NoForm::EncodedSlash);
        }
    }
    let text = percent_decode(raw).decode_utf8().map_err(|_| NoForm::NotUtf8)?;
    if text.len() > MAX_PATH + PREFIX {
        return Err(NoForm::TooLong);
    }
    check(&text)?;
    Ok(text.into_owned())
}

/// The targets a hash-prefixed path may stand for; `None` when neither its first nor its last segment is `<64 hex>.x`.
/// Hex is matched without regard to case, so that no spelling of such a name is ever recorded; only lower case stands
/// for a target, and only for one that can be recorded: `H.H2.x` and `H.dir/H2.x` stand for nothing.
pub(super) fn hash_named(text: &str) -> Option<Vec<(TargetPath, Digest)>> {
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
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn both_hash_positions_are_read() {
        let h = "ab".repeat(32);
        let digest: Digest = h.parse().unwrap();
        for raw in [format!("/dir/{h}.name"), format!("/{h}.dir/name")] {
            let Name::Hashed { readings, literal } = name_of(&raw) else {
                panic!("{raw}")
            };
            assert_eq!(readings, [(TargetPath::new("dir/name").unwrap(), digest)]);
            assert_eq!(format!("/{literal}"), raw);
        }
    }

    #[test]
    fn a_hash_prefix_never_stands_for_a_hash_prefixed_name() {
        let h = "ab".repeat(32);
        let upper = h.to_uppercase();
        for text in [
            format!("{h}.{h}.x"),
            format!("{h}.dir/{h}.x"),
            format!("dir/{h}.{h}.x"),
            format!("{h}.{h}.dir/x"),
            format!("dir/{upper}.x"),
            format!("{upper}.dir/x"),
            format!("{h}.na me "),
        ] {
            let Name::Hashed { readings, .. } = name_of(&format!("/{text}")) else {
                panic!("{text}")
            };
            assert_eq!(readings, [], "{text}");
            assert!(TargetPath::new(&text).is_err(), "{text}");
        }
        // Neither is of the form: no target's hash-prefixed name looks like this.
        for text in [format!("{h}./x"), format!("x/{h}."), format!("a/{h}.b/c"), h] {
            assert!(TargetPath::new(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_hash_prefix_does_not_count_towards_the_length() {
        let digest = Digest([0xab; 32]);
        let long = format!("d/{}", "x".repeat(MAX_PATH - 2));
        let path = TargetPath::new(&long).unwrap();
        for name in path.hashed(digest) {
            let Name::Hashed { readings, .. } = name_of(&format!("/{name}")) else {
                panic!("{name}")
            };
            assert_eq!(readings, [(path.clone(), digest)]);
        }
        assert_eq!(name_of(&format!("/{long}x")), Name::None(NoForm::TooLong));
    }

    #[test]
    fn request_targets_split_into_path_and_query() {
        let split = |raw: &'static str| {
            split_target(raw.as_bytes()).map(|(path, query)| {
                let text = |bytes| std::str::from_utf8(bytes).unwrap();
                (text(path), query.map(text))
            })
        };
        assert_eq!(split("/a/b"), Some(("/a/b", None)));
        assert_eq!(split("/a?"), Some(("/a", Some(""))));
        assert_eq!(split("/a?b?c#d"), Some(("/a", Some("b?c#d"))));
        assert_eq!(split("/a#b?c"), Some(("/a#b", Some("c"))));
        assert_eq!(split("http://h:1/a?b"), Some(("/a", Some("b"))));
        assert_eq!(split("HTTPS://h"), Some(("/", None)));
        assert_eq!(split("http://h?q=/x"), Some(("/", Some("q=/x"))));
        for none in ["", "*", "host:443", "a/b", "http:///a", "ftp://h/a", "http:/a"] {
            assert_eq!(split(none), None, "{none}");
        }
    }
}
