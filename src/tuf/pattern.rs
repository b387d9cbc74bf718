//! PATHPATTERN (TUF spec 4.5): which paths a delegation is about, by the specification and by each known client.
//!
//! python-tuf (`fnmatch`), tuf-js (minimatch), go-tuf (`filepath.Match`) and sigstore-tuf (`glob`) match segment by segment;
//! tough's globset lets `*` and `?` take a `/`. They agree on `*`, `?` and literal text, and on little else.

use unicode_normalization::is_nfc;

use crate::target::MAX_PATH;

/// Characters that mean something else to one client or another.
const SPECIAL: &str = "[]{}()|\\%#";

/// Whether all clients read a pattern alike.
///
/// # Errors
/// What stands in the way.
pub fn check(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() || pattern.len() > MAX_PATH || !is_nfc(pattern) {
        return Err(format!(
            "a pattern has 1 to {MAX_PATH} bytes, in Unicode normalisation form C"
        ));
    }
    if let Some(odd) = pattern.chars().find(|c| c.is_control() || SPECIAL.contains(*c)) {
        return Err(format!("clients disagree on `{}`", odd.escape_default()));
    }
    for segment in pattern.split('/') {
        if matches!(segment, "" | "." | "..") {
            return Err("no segment is empty, `.` or `..`".to_owned());
        }
        if segment.contains("**") || segment.starts_with('!') {
            return Err("clients disagree on `**` and on a leading `!`; give one pattern for each depth".to_owned());
        }
    }
    Ok(())
}

/// By the specification: `*` and `?` stop at `/`, everything else is itself.
pub fn matches(pattern: &str, path: &str) -> bool {
    fits(pattern, path, |c| c != '/')
}

/// As tough does: `*` and `?` take a `/`, too.
pub fn matches_loosely(pattern: &str, path: &str) -> bool {
    fits(pattern, path, |_| true)
}

/// Whether every client finds that the pattern matches. minimatch wants a dot at the start of a segment to be written, and
/// takes UTF-16 units for characters.
pub fn matches_for_all(pattern: &str, path: &str) -> bool {
    let hidden = |(pattern, name): (&str, &str)| name.starts_with('.') && !pattern.starts_with('.');
    matches(pattern, path)
        && !pattern.split('/').zip(path.split('/')).any(hidden)
        && !(pattern.contains('?') && path.chars().any(|c| c > '\u{ffff}'))
}

/// `wild`: what `*` and `?` take.
fn fits(pattern: &str, path: &str, wild: impl Fn(char) -> bool) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let path: Vec<char> = path.chars().collect();
    let (mut p, mut at) = (0, 0);
    // Where to go on when the characters after the last `*` do not fit: that `*` then takes one more.
    let mut retry = None;
    while at < path.len() {
        match pattern.get(p) {
            Some('*') => {
                p += 1;
                retry = Some((p, at));
                continue;
            }
            Some('?') if wild(path[at]) => {
                (p, at) = (p + 1, at + 1);
                continue;
            }
            Some(same) if *same == path[at] && *same != '?' => {
                (p, at) = (p + 1, at + 1);
                continue;
            }
            _ => {}
        }
        match retry {
            Some((after, taken)) if wild(path[taken]) => {
                retry = Some((after, taken + 1));
                (p, at) = (after, taken + 1);
            }
            _ => return false,
        }
    }
    pattern[p..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_stop_at_slashes() {
        for (pattern, path, fits) in [
            ("*", "a", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("a/*.txt", "a/b.txt", true),
            ("a/*.txt", "a/b/c.txt", false),
            ("a/?.txt", "a/b.txt", true),
            ("a?b", "a/b", false),
            ("a/*", "a/", true),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbx", false),
            ("a*/b*", "axx/bxx", true),
            ("a*/b", "a/x/b", false),
            ("", "", true),
            ("", "a", false),
            ("**", "a/b", false),
            ("é?", "éü", true),
            ("[a]", "a", false),
            ("a", "A", false),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
        assert!(matches_loosely("a/*", "a/b/c") && matches_loosely("a?b", "a/b") && !matches_loosely("a/*", "b/c"));
    }

    #[test]
    fn what_one_client_reads_otherwise_matches_for_none() {
        assert!(matches_for_all("a/*", "a/b") && matches_for_all("a/.*", "a/.b"));
        for (pattern, path) in [("a/*", "a/.b"), ("*/b", ".a/b"), ("a/?x", "a/😀x")] {
            assert!(matches(pattern, path) && !matches_for_all(pattern, path), "{path}");
        }
        for good in ["a", "*", "@scope/*/-/*.tgz", "a b/?", "a/.well-known/*"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "", "/a", "a/", "a//b", "../x", "a/./b", "a/**", "**", "[a]", "{a,b}", "!a", "a/!b", "a\\b", "#a", "+(a)",
            "a%20b", "a\nb", "e\u{301}",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_star_never_takes_a_slash(pattern in "[a*?/]{0,8}", path in "[ab/]{0,10}") {
            if matches(&pattern, &path) {
                let slashes = |text: &str| text.matches('/').count();
                prop_assert_eq!(slashes(&pattern), slashes(&path));
                prop_assert!(matches_loosely(&pattern, &path));
            }
        }
    }
}
