//! How each known client fares with a repository, and why. Pure: rules over what a walk learned.
//!
//! What is said of a client was read in its source or tried with it, at the version that its name says.

mod profile;
mod rules;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt};

use serde::{Serialize, Serializer};

use self::rules::{fails, rules};
use super::{Code, Finding, Severity, facts::Facts};
use crate::tuf::layout::SUCCINCT;

/// Reasons of the kind "broken for everybody" that are told; the findings have the rest.
const TOLD: usize = 3;

/// A known client.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "`name` says it")]
pub enum Client {
    PythonTuf,
    GoTuf,
    TufJs,
    Tough,
    SigstoreTuf,
    RustTuf,
    SigstoreJava,
    PhpTuf,
    OldGoTuf,
}

impl Client {
    /// Every one.
    pub const ALL: [Client; 9] = [
        Client::PythonTuf,
        Client::GoTuf,
        Client::TufJs,
        Client::Tough,
        Client::SigstoreTuf,
        Client::RustTuf,
        Client::SigstoreJava,
        Client::PhpTuf,
        Client::OldGoTuf,
    ];

    /// Name and version. Others are these within: sigstore-go is go-tuf, sigstore-python python-tuf, sigstore-js tuf-js.
    pub fn name(self) -> &'static str {
        match self {
            Client::PythonTuf => "python-tuf 7.0.1",
            Client::GoTuf => "go-tuf 2.4.2",
            Client::TufJs => "tuf-js 6.0.2",
            Client::Tough => "tough 0.24.0",
            Client::SigstoreTuf => "sigstore-tuf 0.15.1",
            Client::RustTuf => "rust-tuf 0.3.0-beta14",
            Client::SigstoreJava => "sigstore-java 2.2.0",
            Client::PhpTuf => "php-tuf 0.1.7",
            Client::OldGoTuf => "go-tuf 0.7.0",
        }
    }
}

impl Serialize for Client {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What a reason means for the client.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It finds and verifies what it is asked for.
    #[serde(rename = "works")]
    Works,
    /// It does, after seconds of computing or hundreds of requests.
    #[serde(rename = "works slowly")]
    Slow,
    /// It fails, or does not find targets that are listed; the reason says which.
    #[serde(rename = "fails")]
    Fails,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Works => "works",
            Self::Slow => "works slowly",
            Self::Fails => "fails",
        })
    }
}

/// Why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reason {
    /// What it means.
    pub effect: Effect,
    /// For people.
    pub text: String,
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// How a client fares in one view.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Verdict {
    /// Which client.
    pub client: Client,
    /// Which view: `prefixes` at the metadata URL and `succinct` in the folder below it, or `only`.
    pub view: &'static str,
    /// The worst of the reasons' effects.
    pub verdict: Effect,
    /// Why; for a client that works, what to know.
    pub reasons: Vec<Reason>,
}

/// The other view: its facts, and the files that stand in place of those of the first.
pub type Other<'a> = (&'a Facts, &'a BTreeSet<String>);

/// Judges every client in every view.
pub fn verdicts(facts: &Facts, other: Option<Other>, findings: &[Finding]) -> Vec<Verdict> {
    let here = |finding: &&Finding| !finding.place.is_below(SUCCINCT);
    let Some((theirs, replaced)) = other else {
        return view("only", facts, &broken(findings.iter().filter(here)));
    };
    let shared = |finding: &&Finding| !replaced.contains(&finding.place.to_string());
    let mut all = view("prefixes", facts, &broken(findings.iter().filter(here)));
    all.extend(view("succinct", theirs, &broken(findings.iter().filter(shared))));
    all
}

fn view(name: &'static str, facts: &Facts, broken: &[String]) -> Vec<Verdict> {
    let judge = |client: Client| {
        let mut reasons: Vec<Reason> = broken.iter().map(fails).collect();
        reasons.extend(rules(client, facts));
        Verdict {
            client,
            view: name,
            verdict: reasons
                .iter()
                .map(|reason| reason.effect)
                .max()
                .unwrap_or(Effect::Works),
            reasons,
        }
    };
    Client::ALL.into_iter().map(judge).collect()
}

/// Findings that no client gets past.
fn broken<'a>(findings: impl Iterator<Item = &'a Finding>) -> Vec<String> {
    let all: Vec<_> = findings
        .filter(|finding| finding.severity == Severity::Error && breaks_all(finding.code))
        .map(|finding| format!("{}: {}", finding.place, finding.message))
        .collect();
    let mut told: Vec<_> = all.iter().take(TOLD).cloned().collect();
    if all.len() > TOLD {
        told.push(format!("and {} findings more", all.len() - TOLD));
    }
    told
}

/// Errors that depend on the client have rules of their own, or hurt nobody who comes now.
fn breaks_all(code: Code) -> bool {
    !matches!(
        code,
        Code::EncodingUnasked
            | Code::FileChanged
            | Code::FileGone
            | Code::KeyInvalid
            | Code::KeyMissing
            | Code::KeyTwice
            | Code::RootChainLong
            | Code::RootEndNot404
            | Code::RootMissing
            | Code::SizeLimit
            | Code::TargetNameMissing
            | Code::TimestampRollback
            | Code::ViewDiffers
    )
}
