//! What a walk found: a stable code for machines, a sentence for people.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};

use super::Code;

/// Findings of one code that are kept whole; the rest is counted, so that a repository with 16,384 missing bins neither
/// fills the memory nor the screen.
const KEPT: u64 = 100;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Clients that follow the specification fail, or do not find what is listed.
    Error,
    /// Some clients fail, or soon will.
    Warning,
    /// Odd, and no fault.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Where it is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Place {
    /// A metadata file, by its path below the metadata URL.
    File(String),
    /// A target, by its path.
    Target(String),
}

impl Place {
    /// A metadata file.
    pub fn file(name: impl Into<String>) -> Self {
        Self::File(name.into())
    }

    /// Whether it is a file below this folder.
    pub fn is_below(&self, folder: &str) -> bool {
        matches!(self, Self::File(name) if name.starts_with(folder))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => f.write_str(name),
            Self::Target(path) => write!(f, "target {path}"),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One fault or oddity.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What kind.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// Where.
    #[serde(rename = "where")]
    pub place: Place,
    /// For people: lower-case start, no full stop.
    pub message: String,
}

/// Findings as they come.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    counts: BTreeMap<Code, u64>,
}

impl Findings {
    /// What breaks clients.
    pub fn error(&mut self, code: Code, place: &Place, message: impl fmt::Display) {
        self.add(code, Severity::Error, place, message);
    }

    /// What breaks some clients, or soon will.
    pub fn warning(&mut self, code: Code, place: &Place, message: impl fmt::Display) {
        self.add(code, Severity::Warning, place, message);
    }

    /// What is odd.
    pub fn note(&mut self, code: Code, place: &Place, message: impl fmt::Display) {
        self.add(code, Severity::Note, place, message);
    }

    fn add(&mut self, code: Code, severity: Severity, place: &Place, message: impl fmt::Display) {
        let count = self.counts.entry(code).or_default();
        *count += 1;
        if *count <= KEPT {
            self.kept.push(Finding {
                code,
                severity,
                place: place.clone(),
                message: message.to_string(),
            });
        }
    }

    /// Takes over what another part of the walk found.
    pub fn merge(&mut self, other: Findings) {
        let mut kept = BTreeMap::<Code, u64>::new();
        for finding in other.kept {
            *kept.entry(finding.code).or_default() += 1;
            self.add(finding.code, finding.severity, &finding.place, finding.message);
        }
        for (code, count) in other.counts {
            let dropped = count - kept.get(&code).copied().unwrap_or(0);
            if dropped > 0 {
                *self.counts.entry(code).or_default() += dropped;
            }
        }
    }

    /// Whether anything was found.
    #[cfg(test)]
    pub fn codes(&self) -> Vec<&'static str> {
        self.kept.iter().map(|finding| finding.code.text()).collect()
    }

    /// Whether an error was told of this place.
    pub fn has_error(&self, place: &Place) -> bool {
        let broken = |finding: &Finding| finding.severity == Severity::Error && finding.place == *place;
        self.kept.iter().any(broken)
    }

    /// Number of findings so far that were kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// In order of severity, code and place, without repetitions; and by code how many more there were.
    pub fn finish(mut self) -> (Vec<Finding>, BTreeMap<Code, u64>) {
        self.kept
            .sort_by(|a, b| (a.severity, a.code, &a.place).cmp(&(b.severity, b.code, &b.place)));
        self.kept.dedup();
        let more = self.counts.into_iter().filter(|(_, count)| *count > KEPT);
        let more = more.map(|(code, count)| (code, count - KEPT)).collect();
        (self.kept, more)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_plain() {
        let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.text()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        let plain = |text: &&str| {
            text.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        assert!(texts.iter().all(plain));
    }

    #[test]
    fn a_flood_is_counted() {
        let place = Place::file("x");
        let mut part = Findings::default();
        for number in 0..150 {
            part.error(Code::FileMissing, &place, number);
        }
        let mut all = Findings::default();
        all.error(Code::FileMissing, &place, "before");
        all.note(Code::UnknownField, &place, "one");
        all.merge(part);
        let (kept, more) = all.finish();
        assert_eq!(kept.len(), 101);
        assert_eq!(more, BTreeMap::from([(Code::FileMissing, 51)]));
        assert_eq!(kept[100].severity, Severity::Note, "errors come first");
    }
}
