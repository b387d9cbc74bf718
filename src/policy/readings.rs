//! Whether a rule tracks what a path without canonical form may mean.
//!
//! Such a path is never recorded, and must not be a back door either: nginx serves `/a//b`, `/a/./b` and `/a%2Fb` from
//! the file behind `/a/b`, Tomcat drops `;x`, Windows drops trailing dots. So each way a server may read it is written
//! out, and if any of them is tracked, the request is refused. Where what the server makes of it is guesswork (controls,
//! broken escapes, bytes that are not UTF-8), it is refused when anything below its sound prefix may be tracked.
//!
//! Rules are asked in order, so that an `ignore` rule can let odd names through: npm asks for `/@scope%2fname`.

use std::{borrow::Cow, collections::BTreeSet};

use percent_encoding::percent_decode;
use unicode_normalization::UnicodeNormalization;

use super::{Policy, Rule};

/// Longest path whose readings are written out, in bytes; anything longer is taken as tracked.
const MAX_RAW: usize = 4096;
/// Most readings written out; a path with more is taken as tracked.
const MAX_READINGS: usize = 64;

/// One thing a server may do to a path; `None` when it changes nothing.
type Rewrite = fn(&[u8]) -> Option<Vec<u8>>;

const REWRITES: [Rewrite; 8] = [
    decoded,
    slashed,
    cut,
    without_parameters,
    resolved,
    trimmed,
    without_controls,
    composed,
];

impl Policy {
    /// Whether a rule tracks any reading of a raw path that has no canonical form.
    pub fn tracks_prefix(&self, raw: &[u8]) -> bool {
        if !self.rules.iter().any(Rule::tracks) {
            return false;
        }
        let Some(readings) = readings(raw) else { return true };
        readings.iter().any(|reading| {
            let rule = self.rules.iter().find(|rule| rule.matches(reading));
            rule.is_some_and(Rule::tracks) || sound_prefix(reading).is_some_and(|prefix| self.may_track_below(prefix))
        })
    }

    /// Whether a rule may track something below `prefix`, which is empty or ends in `/`. Only a rule for a whole folder
    /// shields what stands behind it.
    fn may_track_below(&self, prefix: &str) -> bool {
        for rule in &self.rules {
            let literal = literal_prefix(&rule.path);
            if rule.tracks() {
                if literal.starts_with(prefix) || prefix.starts_with(literal) {
                    return true;
                }
            } else if &rule.path[literal.len()..] == "**" && prefix.starts_with(literal) {
                return false;
            }
        }
        false
    }
}

/// The part of a glob before its first wildcard or escape.
fn literal_prefix(glob: &str) -> &str {
    &glob[..glob.find(['*', '?', '[', '{', '\\']).unwrap_or(glob.len())]
}

/// All readings of a raw path, without leading slashes; `None` when there are too many to tell.
fn readings(raw: &[u8]) -> Option<BTreeSet<Vec<u8>>> {
    if raw.len() > MAX_RAW {
        return None;
    }
    let first = raw.strip_prefix(b"/").unwrap_or(raw).to_vec();
    let mut seen = BTreeSet::from([first.clone()]);
    let mut open = vec![first];
    while let Some(path) = open.pop() {
        for next in REWRITES.iter().filter_map(|rewrite| rewrite(&path)) {
            if seen.insert(next.clone()) {
                open.push(next);
            }
            if seen.len() > MAX_READINGS {
                return None;
            }
        }
    }
    Some(seen)
}

/// The folders before the first byte that is anybody's guess; `None` when all bytes are sound.
fn sound_prefix(path: &[u8]) -> Option<&str> {
    let valid = match std::str::from_utf8(path) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&path[..error.valid_up_to()]).unwrap_or_default(),
    };
    let broken = |at: usize| {
        let escape = valid.as_bytes().get(at + 1..at + 3);
        !escape.is_some_and(|escape| escape.iter().all(u8::is_ascii_hexdigit))
    };
    let odd = valid
        .char_indices()
        .find(|(at, c)| c.is_control() || *c == '%' && broken(*at))
        .map(|(at, _)| at);
    let end = match odd {
        Some(at) => at,
        None if valid.len() < path.len() => valid.len(),
        None => return None,
    };
    Some(&valid[..valid[..end].rfind('/').map_or(0, |slash| slash + 1)])
}

fn changed(old: &[u8], new: Vec<u8>) -> Option<Vec<u8>> {
    (old != new).then_some(new)
}

/// One round of percent-decoding; overlong UTF-8 of ASCII (`C0 AF` for `/`) is read as lax decoders do.
fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    let bytes: Cow<'_, [u8]> = percent_decode(path).into();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = &*bytes;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (0xc0 | 0xc1, [second @ 0x80..=0xbf, tail @ ..]) => {
                out.push((first & 1) << 6 | second & 0x3f);
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    changed(path, out)
}

fn slashed(path: &[u8]) -> Option<Vec<u8>> {
    changed(path, path.iter().map(|b| if *b == b'\\' { b'/' } else { *b }).collect())
}

/// Up to the first query, fragment or NUL.
fn cut(path: &[u8]) -> Option<Vec<u8>> {
    let end = path.iter().position(|b| matches!(b, b'?' | b'#' | 0))?;
    Some(path[..end].to_vec())
}

fn without_parameters(path: &[u8]) -> Option<Vec<u8>> {
    let bare = path.split(|b| *b == b'/').map(|segment| {
        let end = segment.iter().position(|b| *b == b';').unwrap_or(segment.len());
        &segment[..end]
    });
    changed(path, bare.collect::<Vec<_>>().join(&b'/'))
}

/// Without empty and dot segments, and without the slash at the end.
fn resolved(path: &[u8]) -> Option<Vec<u8>> {
    let mut stack = Vec::new();
    for segment in path.split(|b| *b == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(stack.pop()),
            _ => stack.push(segment),
        }
    }
    changed(path, stack.join(&b'/'))
}

/// Without white space around the path and without the dots and spaces at each segment's end that Windows drops.
fn trimmed(path: &[u8]) -> Option<Vec<u8>> {
    let bare = path.trim_ascii().split(|b| *b == b'/').map(|segment| {
        let end = segment.iter().rposition(|b| !matches!(b, b'.' | b' '));
        // A dot segment is resolved, not trimmed away.
        end.map_or(segment, |last| &segment[..=last])
    });
    changed(path, bare.collect::<Vec<_>>().join(&b'/'))
}

fn without_controls(path: &[u8]) -> Option<Vec<u8>> {
    changed(path, path.iter().copied().filter(|b| !b.is_ascii_control()).collect())
}

/// In normalisation form C, in which globs are compared with targets.
fn composed(path: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(path).ok()?;
    changed(path, text.nfc().collect::<String>().into_bytes())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        policy::Kind,
        target::{Name, name_of_bytes},
    };

    fn policy(rules: &[(&str, Kind)]) -> Policy {
        let rules = rules.iter().map(|(path, kind)| Rule::new(path, *kind).unwrap());
        Policy::new(rules.collect())
    }

    /// Every one of these may be `releases/a.jar` to some server.
    const DISGUISES: [&str; 26] = [
        "/releases//a.jar",
        "//releases/a.jar",
        "/releases/./a.jar",
        "/x/../releases/a.jar",
        "/x/%2e%2e/releases/a.jar",
        "/x/.%2E/releases/a.jar",
        "/../releases/a.jar",
        "/x/..;/releases/a.jar",
        "/x%2f..%2freleases/a.jar",
        "/releases%2fa.jar",
        "/releases%2Fa.jar",
        "/releases%252fa.jar",
        "/releases%5Ca.jar",
        "/releases\\a.jar",
        "/x/..%5creleases/a.jar",
        "/releases/a.jar%00",
        "/releases/a.jar%00.html",
        "/releases/a.jar%3Fx",
        "/releases/a.jar%23x",
        "/releases/a.jar//",
        "/releases/a.jar/.",
        "/releases/a.jar%20",
        "/releases/a.jar.%20",
        "/releases/a.jar%253Bv=1",
        "/releases%c0%afa.jar",
        "/rel%0aeases/a.jar",
    ];

    #[test]
    fn no_disguise_of_a_tracked_path_passes() {
        let one = policy(&[("releases/*.jar", Kind::Immutable)]);
        let second = policy(&[("docs/**", Kind::Ignore), ("releases/a.jar", Kind::Track)]);
        for raw in DISGUISES {
            assert!(matches!(name_of_bytes(raw.as_bytes()), Name::None(_)), "{raw}");
            assert!(one.tracks_prefix(raw.as_bytes()), "{raw}");
            assert!(second.tracks_prefix(raw.as_bytes()), "{raw}");
        }
    }

    #[test]
    fn other_odd_names_pass() {
        let releases = policy(&[("releases/**", Kind::Immutable), ("**", Kind::Mutable)]);
        for raw in ["/docs//a", "/docs/%zz", "/a:b", "/docs/%00", "/docs/e%CC%81", "/x/%ff"] {
            assert!(!releases.tracks_prefix(raw.as_bytes()), "{raw}");
        }
        assert!(!policy(&[("**", Kind::Mutable)]).tracks_prefix(b"/releases//a.jar"));
    }

    #[test]
    fn guesswork_is_refused_where_anything_below_its_prefix_may_be_tracked() {
        let jars = policy(&[("docs/**", Kind::Ignore), ("**/*.jar", Kind::Immutable)]);
        for raw in ["/%zz", "/a/%ff", "/a/b%01c", "/docs/../%zz", "/%zz/docs/x"] {
            assert!(jars.tracks_prefix(raw.as_bytes()), "{raw}");
        }
        assert!(!jars.tracks_prefix(b"/docs/%zz"));
    }

    #[test]
    fn npm_may_ask_for_the_packument_of_a_scoped_package() {
        let npm = policy(&[("**/-/*.tgz", Kind::Immutable)]);
        assert!(!npm.tracks_prefix(b"/@acme%2ftuf-demo"));
        assert!(npm.tracks_prefix(b"/@acme%2ftuf-demo/-/tuf-demo-1.0.0.tgz"));
    }

    #[test]
    fn too_many_readings_count_as_tracked() {
        let one = policy(&[("releases/*.jar", Kind::Immutable)]);
        let deep = format!("/x/%{}", "25".repeat(MAX_READINGS));
        assert!(one.tracks_prefix(deep.as_bytes()));
        assert!(one.tracks_prefix(format!("/x//{}", "a".repeat(MAX_RAW)).as_bytes()));
    }

    proptest! {
        /// However the slash of a tracked path is spelt, the path is canonical or refused.
        #[test]
        fn no_respelling_of_a_tracked_path_passes(
            slash in "(/|//|/\\./|/x/\\.\\./|%2F|%2f|\\\\|%5c|/\\.;y/|/\\.%2f){1,3}",
            end in "(\\.|%20|%00|%23z|%3fz|//|/\\./|/z/\\.\\./){0,2}",
            escaped in 0..3,
        ) {
            let rules = policy(&[("releases/*.jar", Kind::Immutable)]);
            let mut raw = format!("/releases{slash}a.jar{end}");
            for _ in 0..escaped {
                raw = raw.replace('%', "%25");
            }
            if let Name::None(_) = name_of_bytes(raw.as_bytes()) {
                prop_assert!(rules.tracks_prefix(raw.as_bytes()), "{}", raw);
            }
        }

        #[test]
        fn no_bytes_panic(raw: Vec<u8>, odd in "/?[a.;%25/\\\\%?#\u{301}\u{0}]{0,60}") {
            let rules = policy(&[("a/**", Kind::Ignore), ("**/*.jar", Kind::Immutable)]);
            rules.tracks_prefix(&raw);
            rules.tracks_prefix(odd.as_bytes());
            rules.admit(odd.as_bytes());
        }
    }
}
