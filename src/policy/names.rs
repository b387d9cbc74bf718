//! `fixtures/names.jsonl` drives these tests; the table in `fixtures/README.md` is drawn from it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, fmt::Write as _};

use serde::Deserialize;

use super::*;
use crate::target::split_target;

const CASES: &str = include_str!("../../fixtures/names.jsonl");
const TABLE_START: &str = "<!-- names: drawn from names.jsonl -->\n";

/// One line of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    raw: Option<String>,
    raw_hex: Option<String>,
    rules: Option<String>,
    verdict: String,
    status: Option<u16>,
    canonical: Option<String>,
    reason: String,
}

impl Case {
    fn target(&self) -> Vec<u8> {
        match (&self.raw, &self.raw_hex) {
            (Some(raw), None) => raw.clone().into_bytes(),
            (None, Some(digits)) => hex::decode(digits).unwrap(),
            _ => panic!("either `raw` or `raw_hex`: {self:?}"),
        }
    }

    fn policy(&self) -> Policy {
        match self.rules.as_deref() {
            None => Policy::quickstart().unwrap(),
            Some("none") => Policy::default(),
            Some(_) => panic!("{self:?}"),
        }
    }
}

fn cases() -> Vec<Case> {
    CASES.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_name_gets_its_verdict() {
    for case in cases() {
        let (target, policy) = (case.target(), case.policy());
        let split = split_target(&target);
        let admission = split.map(|(path, _)| policy.admit(path));
        let (verdict, canonical, why) = match &admission {
            None => ("refused", None, "no path".to_owned()),
            Some(Admission::Refused(why)) => ("refused", None, why.to_string()),
            Some(Admission::Unnamed(why)) => ("passed", None, why.to_string()),
            Some(Admission::Index) => ("passed", None, "an index".to_owned()),
            Some(Admission::Hashed { .. }) => ("passed", None, "a hash-prefixed name".to_owned()),
            Some(Admission::Untracked { path, .. }) => ("passed", Some(path), String::new()),
            Some(Admission::Tracked { path, .. }) if matches!(split, Some((_, Some(_)))) => {
                ("passed", Some(path), String::new())
            }
            Some(Admission::Tracked { path, .. }) => ("recorded", Some(path), String::new()),
        };
        assert_eq!(case.verdict, verdict, "{case:?}: {admission:?}");
        assert_eq!(case.canonical.as_deref(), canonical.map(TargetPath::as_str), "{case:?}");
        assert_eq!(case.status, (verdict == "refused").then_some(400), "{case:?}");
        assert!(case.reason.starts_with(&why), "{case:?}: {why}");
    }
}

#[test]
fn hash_prefixed_cases_say_what_they_stand_for() {
    for case in cases().iter().filter(|case| case.reason.starts_with("a hash-prefixed")) {
        let Name::Hashed { readings, .. } = name_of_bytes(&case.target()) else {
            panic!("{case:?}")
        };
        assert_eq!(
            readings.is_empty(),
            case.reason.ends_with("stands for nothing"),
            "{case:?}"
        );
    }
}

#[test]
fn the_table_is_large_and_free_of_repeats() {
    let cases = cases();
    assert!(cases.len() >= 80);
    let targets: BTreeSet<_> = cases.iter().map(|case| (case.target(), case.rules.clone())).collect();
    assert_eq!(targets.len(), cases.len());
    for verdict in ["recorded", "refused", "passed"] {
        assert!(cases.iter().filter(|case| case.verdict == verdict).count() > 10);
    }
}

/// The clients' matrix stores every recordable name on one file system.
#[test]
fn recordable_names_fit_beside_each_other_on_a_disk() {
    let cases = cases();
    let recorded = cases.iter().filter(|case| case.verdict == "recorded");
    let names: BTreeSet<_> = recorded.filter_map(|case| case.canonical.as_deref()).collect();
    for name in &names {
        assert!(name.split('/').all(|segment| segment.len() <= 255), "{name}");
        let folder = format!("{name}/");
        assert!(
            !names.iter().any(|other| other.starts_with(&folder)),
            "{name} is also a folder"
        );
    }
}

#[test]
fn the_readme_shows_the_table() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/README.md");
    let readme = std::fs::read_to_string(file).unwrap();
    let (prose, shown) = readme.split_once(TABLE_START).unwrap();
    let drawn = table();
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(file, format!("{prose}{TABLE_START}{drawn}")).unwrap();
    } else {
        assert_eq!(shown, drawn, "run `UPDATE_FIXTURES=1 cargo test names`");
    }
}

fn table() -> String {
    let mut out = String::from("\n| request target | verdict | target path | reason |\n|---|---|---|---|\n");
    for case in cases() {
        let verdict = match (case.status, case.rules.is_some()) {
            (Some(status), _) => format!("{} {status}", case.verdict),
            (None, true) => format!("{} (no rules)", case.verdict),
            (None, false) => case.verdict.clone(),
        };
        let canonical = case.canonical.as_deref().map(code).unwrap_or_default();
        let target = code(&String::from_utf8_lossy(&case.target()));
        writeln!(out, "| {target} | {verdict} | {canonical} | {} |", case.reason).unwrap();
    }
    out
}

/// Text as an HTML code span: invisible characters spelt out, the middle of long text left out.
fn code(text: &str) -> String {
    let chars: Vec<_> = text.chars().collect();
    let short = if chars.len() > 72 {
        let edge = |part: &[char]| part.iter().collect::<String>();
        format!("{}…{}", edge(&chars[..40]), edge(&chars[chars.len() - 12..]))
    } else {
        text.to_owned()
    };
    let mut out = String::from("<code>");
    for c in short.chars() {
        match c {
            '&' | '<' | '>' | '|' | '`' | '*' | '_' | '\\' | '[' | ']' | '~' => {
                write!(out, "&#{};", u32::from(c)).unwrap();
            }
            c if c.is_ascii() || c == '…' => out.push(c),
            c if c.is_alphanumeric() || "（）☃".contains(c) => out.push(c),
            c => write!(out, "{{U+{:04X}}}", u32::from(c)).unwrap(),
        }
    }
    out + "</code>"
}
