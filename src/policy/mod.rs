//! Policy: what the first matching `[[rule]]` says of a target path, and what becomes of a raw request path.
//!
//! A path that no rule matches is passed unsigned.

#[cfg(test)]
mod names;
mod readings;

use std::collections::BTreeSet;

use globset::{Candidate, Glob, GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    target::{Name, NoForm, TargetPath, name_of_bytes},
};

/// What kind of thing lives at a path.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Never recorded, never judged: an index, a listing.
    Ignore,
    /// One digest for ever.
    Immutable,
    /// Changes at will; passed unsigned.
    Mutable,
    /// Re-learned when it changes, audited.
    Track,
}

/// What teaches the gate a digest.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Learn {
    /// Uploads and first fetches.
    Fetch,
    /// Nothing over HTTP: imports and operators only.
    None,
    /// Uploads only.
    Publish,
}

/// What a confirmed drift does to readers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDrift {
    /// 502 until it ends.
    Block,
    /// Passed, reported in logs, metrics and `Tufgate-Status`.
    Report,
}

/// What a reader of a recorded but not yet signed path gets.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unsigned {
    /// 403.
    Deny,
    /// The bytes, with `Tufgate-Status: pending`.
    Pass,
    /// Held until signed, at most 30 s, then 503.
    Wait,
}

/// One `[[rule]]`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The glob as written: `*` stops at `/`, `**` does not; case-sensitive.
    pub path: String,
    /// What lives there.
    pub kind: Kind,
    /// What teaches.
    pub learn: Learn,
    /// What drift does.
    pub on_drift: OnDrift,
    /// What an unsigned target does.
    pub unsigned: Unsigned,
    /// Query parameters a reader may send; they go upstream, teach nothing.
    pub query: Vec<String>,
    /// Most targets under this rule.
    pub max_targets: Option<u64>,
    matcher: GlobMatcher,
}

impl Rule {
    /// A rule with the defaults for its kind (`learn = "publish"`, `on_drift = "block"`, `unsigned = "pass"`).
    pub fn new(path: &str, kind: Kind) -> Result<Self, globset::Error> {
        Ok(Self {
            path: path.to_owned(),
            kind,
            learn: Learn::Publish,
            on_drift: OnDrift::Block,
            unsigned: Unsigned::Pass,
            query: Vec::new(),
            max_targets: None,
            matcher: glob(path)?.compile_matcher(),
        })
    }

    /// Whether paths under this rule are recorded and judged.
    pub fn tracks(&self) -> bool {
        matches!(self.kind, Kind::Immutable | Kind::Track)
    }

    /// The folder that every path under this rule is in: the glob's segments before its first wildcard, without slashes
    /// at the ends; empty for the root.
    pub fn literal_folder(&self) -> &str {
        let literal = self.path.find(['*', '?', '[', '{', '\\']).unwrap_or(self.path.len());
        let folder = self.path.get(..literal).and_then(|text| text.rfind('/')).unwrap_or(0);
        self.path.get(..folder).unwrap_or_default()
    }

    /// Whether other bytes may follow (`track`).
    pub fn superseding(&self) -> bool {
        self.kind == Kind::Track
    }

    /// Whether a reader may send this query (still encoded, without `?`) to a recorded path: every parameter's name must
    /// be listed. `;` separates parameters as `&` does, since some servers still read it so.
    pub fn allows_query(&self, query: &str) -> bool {
        query.split(['&', ';']).filter(|pair| !pair.is_empty()).all(|pair| {
            url::form_urlencoded::parse(pair.as_bytes())
                .all(|(name, _)| self.query.iter().any(|listed| *listed == name))
        })
    }

    /// Whether the glob matches these bytes.
    fn matches(&self, path: &[u8]) -> bool {
        self.matcher.is_match_candidate(&Candidate::from_bytes(path))
    }
}

/// The rules in order.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// A policy of these rules.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The folders below which these recording rules apply, percent-encoded, each once; empty for the root.
    pub fn folders(&self, which: impl Fn(&Rule) -> bool) -> Vec<String> {
        let rules = self.rules.iter().filter(|rule| rule.tracks() && which(rule));
        let encoded = rules.map(|rule| TargetPath::new(rule.literal_folder()).map(|folder| folder.encoded()));
        let folders: BTreeSet<_> = encoded.map(Result::unwrap_or_default).collect();
        folders.into_iter().collect()
    }

    /// `quickstart`'s rules (DESIGN 10): everything is immutable, learned by publish and fetch, blocked on drift.
    pub fn quickstart() -> Result<Self, globset::Error> {
        let mut all = Rule::new("**", Kind::Immutable)?;
        all.learn = Learn::Fetch;
        Ok(Self::new(vec![all]))
    }

    /// The first rule that matches a decoded path.
    pub fn rule(&self, path: &str) -> Option<&Rule> {
        self.position(path).map(|(_, rule)| rule)
    }

    /// The first rule that matches a decoded path, and its place from 0.
    pub fn position(&self, path: &str) -> Option<(usize, &Rule)> {
        let mut rules = self.rules.iter().enumerate();
        rules.find(|(_, rule)| rule.matches(path.as_bytes()))
    }

    /// The rule for a path, if it records and judges.
    pub fn tracked(&self, path: &str) -> Option<&Rule> {
        self.rule(path).filter(|rule| rule.tracks())
    }

    /// What becomes of a raw request path (origin form, without query): DESIGN 4.2 and 4.3 in one place.
    pub fn admit(&self, raw: &[u8]) -> Admission<'_> {
        match name_of_bytes(raw) {
            Name::Canonical(path) => match self.rule(path.as_str()) {
                Some(rule) if rule.tracks() => Admission::Tracked { path, rule },
                rule => Admission::Untracked { path, rule },
            },
            Name::Hashed { readings, literal } => Admission::Hashed { readings, literal },
            Name::Index => Admission::Index,
            Name::None(why) if self.tracks_prefix(raw) => Admission::Refused(why),
            Name::None(why) => Admission::Unnamed(why),
        }
    }
}

/// What becomes of a raw request path.
#[derive(Clone, Debug)]
pub enum Admission<'a> {
    /// Recorded and judged under this rule.
    Tracked {
        /// The key of everything.
        path: TargetPath,
        /// The first rule that matches it.
        rule: &'a Rule,
    },
    /// Passed unsigned: no rule, or one that does not track.
    Untracked {
        /// The canonical path.
        path: TargetPath,
        /// The first rule that matches it.
        rule: Option<&'a Rule>,
    },
    /// A hash-prefixed name: stands for the first reading recorded with that digest, else passed unsigned.
    Hashed {
        /// As in [`Name::Hashed`].
        readings: Vec<(TargetPath, Digest)>,
        /// As in [`Name::Hashed`].
        literal: String,
    },
    /// A listing: passed unsigned.
    Index,
    /// No canonical form, and no rule tracks what it may mean: passed, unsigned and uncached.
    Unnamed(NoForm),
    /// No canonical form, where a rule tracks: 400.
    Refused(NoForm),
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn matches(glob: &str, path: &str) -> bool {
        Rule::new(glob, Kind::Immutable).unwrap().matches(path.as_bytes())
    }

    #[test]
    fn one_star_stops_at_a_slash_and_two_do_not() {
        assert!(matches("*.jar", "a.jar") && !matches("*.jar", "d/a.jar"));
        assert!(matches("a/*/c", "a/b/c") && !matches("a/*/c", "a/b/b/c"));
        assert!(matches("a/**", "a/b/c/d") && !matches("a/**", "b/a/c"));
        assert!(matches("**/*.jar", "a.jar") && matches("**/*.jar", "d/e/a.jar"));
        assert!(matches("**/-/*.tgz", "@s/n/-/n-1.tgz") && !matches("**/-/*.tgz", "@s/n"));
        assert!(matches("a?c", "abc") && !matches("a?c", "a/c"));
        assert!(matches("{a,b}/*", "b/x") && matches("[ab]/*", "b/x"));
    }

    #[test]
    fn two_stars_alone_match_everything() {
        for path in ["a", ".a", "a/.b/c", "é/ /x", "a;b/[c]"] {
            assert!(matches("**", path), "{path}");
        }
    }

    #[test]
    fn globs_heed_case_and_not_dot_files() {
        assert!(!matches("*.JAR", "a.jar") && !matches("A/**", "a/b"));
        assert!(matches("*", ".hidden") && matches("d/*", "d/.hidden") && matches("**/x", ".d/x"));
    }

    #[test]
    fn the_first_match_wins() {
        let policy = Policy::new(vec![
            Rule::new("simple/**", Kind::Ignore).unwrap(),
            Rule::new("**/*.whl", Kind::Immutable).unwrap(),
            Rule::new("**", Kind::Mutable).unwrap(),
        ]);
        let place = |path| policy.position(path).unwrap().0;
        assert_eq!((place("simple/a.whl"), place("a.whl"), place("a.zip")), (0, 1, 2));
        assert!(policy.tracked("simple/a.whl").is_none() && policy.tracked("a.whl").is_some());
        assert!(Policy::default().rule("a").is_none());
    }

    #[test]
    fn every_parameter_of_a_query_must_be_listed() {
        let mut rule = Rule::new("**", Kind::Immutable).unwrap();
        assert!(rule.allows_query("") && !rule.allows_query("a=1"));
        rule.query = vec!["a".into(), "b c".into()];
        for good in ["a=1", "a", "a=1&a=2&b+c=3", "%61=1", "a=1&&b%20c", "a=b=c"] {
            assert!(rule.allows_query(good), "{good}");
        }
        for bad in ["x=1", "a=1&x", "a=1;x=2", "A=1", "=1", "a%26x=1", "%ff=1", "?a=1"] {
            assert!(!rule.allows_query(bad), "{bad}");
        }
    }

    #[test]
    fn quickstart_tracks_and_learns_everything() {
        let policy = Policy::quickstart().unwrap();
        let rule = policy.tracked("any/thing").unwrap();
        assert_eq!((rule.learn, rule.on_drift), (Learn::Fetch, OnDrift::Block));
        assert!(matches!(
            policy.admit(b"/a/../b"),
            Admission::Refused(NoForm::DotSegment)
        ));
    }
}
