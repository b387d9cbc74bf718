//! Policy: what the first matching `[[rule]]` says of a target path.

use globset::{Glob, GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

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

    /// Whether other bytes may follow (`track`).
    pub fn superseding(&self) -> bool {
        self.kind == Kind::Track
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

    /// The first rule that matches a decoded path.
    pub fn rule(&self, path: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matcher.is_match(path))
    }

    /// The rule for a path, if it records and judges.
    pub fn tracked(&self, path: &str) -> Option<&Rule> {
        self.rule(path).filter(|rule| rule.tracks())
    }
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build()
}
