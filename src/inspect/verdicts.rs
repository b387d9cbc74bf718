//! How each known client fares with a repository, and why: the rules of `compat` over what a walk learned, and what of its
//! findings no client gets past.

#[cfg(test)]
#[path = "verdicts_tests.rs"]
mod tests;

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Code, Finding, Severity};
use crate::{
    compat::{Client, Effect, Facts, Reason, fails, reasons},
    tuf::layout::SUCCINCT,
};

/// Reasons of the kind "broken for everybody" that are told; the findings have the rest.
const TOLD: usize = 3;

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
        let mut told: Vec<Reason> = broken.iter().map(fails).collect();
        told.extend(reasons(client, facts));
        Verdict {
            client,
            view: name,
            verdict: told.iter().map(|reason| reason.effect).max().unwrap_or(Effect::Works),
            reasons: told,
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
