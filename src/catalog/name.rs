//! Names below `/metadata/`: pure, so that a name nobody published costs no look at the disk.

use std::borrow::Cow;

use crate::{
    depot::TIMESTAMP,
    tuf::layout::{SUCCINCT, is_twofold},
};

/// Longest role name that is looked for.
const MAX_ROLE: usize = 128;

/// What a name stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wanted<'a> {
    /// `root.json`: an alias of the newest root.
    NewestRoot,
    /// A versioned file, under its name in the depot.
    Stored(Cow<'a, str>),
    /// `timestamp.json`.
    Timestamp,
}

/// Reads a name; `None` when nothing can be called so. In the succinct view every file is the shared one but
/// those of delegators of bins.
pub fn wanted(name: &str) -> Option<Wanted<'_>> {
    let (name, succinct) = match name.strip_prefix(SUCCINCT) {
        Some(name) => (name, true),
        None => (name, false),
    };
    match name {
        TIMESTAMP => Some(Wanted::Timestamp),
        "root.json" => Some(Wanted::NewestRoot),
        _ => Some(Wanted::Stored(match role_of(name)? {
            role if succinct && is_twofold(role) => Cow::Owned(format!("{SUCCINCT}{name}")),
            _ => Cow::Borrowed(name),
        })),
    }
}

/// The role of `N.role.json`: N without leading zeros, role `[a-z][a-z0-9._-]*` (DESIGN 6).
fn role_of(name: &str) -> Option<&str> {
    let (version, role) = name.strip_suffix(".json")?.split_once('.')?;
    let counted = !version.starts_with('0') && version.len() <= 19 && version.bytes().all(|b| b.is_ascii_digit());
    let spelled = role.starts_with(|first: char| first.is_ascii_lowercase())
        && role
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
    (counted && !version.is_empty() && spelled && role.len() <= MAX_ROLE && role != "timestamp").then_some(role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versioned_names_are_looked_for() {
        for name in [
            "1.root.json",
            "42.snapshot.json",
            "3.bins4-a.json",
            "7.team-a.x_y.json",
            "1.bins.json",
        ] {
            assert_eq!(wanted(name), Some(Wanted::Stored(name.into())), "{name}");
        }
        assert_eq!(wanted("timestamp.json"), Some(Wanted::Timestamp));
        assert_eq!(wanted("root.json"), Some(Wanted::NewestRoot));
    }

    #[test]
    fn the_succinct_view_has_delegators_of_its_own() {
        assert_eq!(wanted("succinct/timestamp.json"), Some(Wanted::Timestamp));
        assert_eq!(wanted("succinct/root.json"), Some(Wanted::NewestRoot));
        assert_eq!(
            wanted("succinct/2.bins4-a.json"),
            Some(Wanted::Stored("2.bins4-a.json".into()))
        );
        assert_eq!(
            wanted("succinct/1.bins.json"),
            Some(Wanted::Stored("succinct/1.bins.json".into()))
        );
        assert_eq!(
            wanted("succinct/1.docs.bins.json"),
            Some(Wanted::Stored("succinct/1.docs.bins.json".into()))
        );
        assert_eq!(
            wanted("succinct/1.docs.bins.4-a.json"),
            Some(Wanted::Stored("1.docs.bins.4-a.json".into()))
        );
    }

    #[test]
    fn junk_is_not_looked_for() {
        let long = format!("1.{}.json", "a".repeat(129));
        for name in [
            "",
            "/",
            "1.json",
            "snapshot.json",
            "targets.json",
            ".json",
            "1..json",
            "01.root.json",
            "0.root.json",
            "-1.root.json",
            "1.Root.json",
            "1.root.jso",
            "1.root.json/",
            "1.a/b.json",
            "succinct/",
            "1.bins%2f.json",
            "succinct/succinct/1.bins.json",
            "2.timestamp.json",
            "99999999999999999999.root.json",
            "1.é.json",
            "x/timestamp.json",
            "1. .json",
            "1.-a.json",
            "../1.root.json",
            &long,
        ] {
            assert_eq!(wanted(name), None, "{name}");
        }
    }
}
