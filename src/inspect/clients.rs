//! How each known client fares with a repository, and why. Pure: rules over what a walk learned.
//!
//! What is said of a client was read in its source or tried with it, at the version that its name says.

use std::{collections::BTreeSet, fmt};

use serde::{Serialize, Serializer};

use super::{
    Code, Finding, Severity,
    facts::{Facts, Served, Sized},
};
use crate::tuf::layout::SUCCINCT;

/// Reasons of the kind "broken for everybody" that are told; the findings have the rest.
const TOLD: usize = 3;
/// Snapshot entries that tuf-js reads within a second; beyond, time grows with their square.
const TUF_JS_LISTED: u64 = 2_048;
/// Roles that tough loads one after another within a moment.
const TOUGH_ROLES: u64 = 256;

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

/// What a client reads and how far.
struct Profile {
    /// Most bytes of root, timestamp, snapshot and targets.
    limits: [u64; 4],
    /// A listed length replaces the limit.
    by_length: bool,
    /// Most newer roots in one update.
    root_steps: u64,
    /// Most roles for one target.
    visited: u64,
    /// Statuses that mean that there is no newer root.
    ends: &'static [u16],
    /// Key kinds; empty for all that the specification knows.
    kinds: &'static [&'static str],
    /// Key ids must be the keys' digests.
    computed: bool,
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

    fn profile(self) -> Profile {
        let usual = Profile {
            limits: [512_000, 16_384, 2_000_000, 5_000_000],
            by_length: true,
            root_steps: 256,
            visited: 32,
            ends: &[403, 404],
            kinds: &[],
            computed: false,
        };
        match self {
            Client::PythonTuf | Client::TufJs => usual,
            Client::GoTuf => Profile { ends: &[404], ..usual },
            Client::Tough => Profile {
                limits: [1 << 20, 1 << 20, 1 << 20, 10 << 20],
                root_steps: 1_024,
                visited: u64::MAX,
                ends: &[403, 404, 410],
                computed: true,
                ..usual
            },
            Client::SigstoreTuf => Profile {
                by_length: false,
                root_steps: 32,
                ..usual
            },
            Client::RustTuf => Profile {
                root_steps: u64::MAX,
                visited: u64::MAX,
                ends: &[404],
                kinds: &["ed25519/ed25519"],
                computed: true,
                ..usual
            },
            Client::SigstoreJava => Profile {
                limits: [101_376, 101_376, 2_000_000, 2_000_000],
                root_steps: 1_024,
                visited: u64::MAX,
                ends: &[404],
                ..usual
            },
            Client::PhpTuf => Profile {
                limits: [100_000; 4],
                root_steps: 1_024,
                visited: 100,
                ends: &[404],
                kinds: &["ed25519/ed25519"],
                computed: true,
                ..usual
            },
            Client::OldGoTuf => Profile {
                root_steps: u64::MAX,
                ends: &[404],
                computed: true,
                ..usual
            },
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
        let mut reasons: Vec<Reason> = broken.iter().map(|text| fails(text)).collect();
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

fn fails(text: impl Into<String>) -> Reason {
    Reason {
        effect: Effect::Fails,
        text: text.into(),
    }
}

fn slow(text: impl Into<String>) -> Reason {
    Reason {
        effect: Effect::Slow,
        text: text.into(),
    }
}

fn rules(client: Client, facts: &Facts) -> Vec<Reason> {
    let mut reasons = Vec::new();
    forms(client, facts, &mut reasons);
    sizes(client, facts, &mut reasons);
    roots(client, facts, &mut reasons);
    keys(client, facts, &mut reasons);
    targets(client, facts, &mut reasons);
    names(client, facts, &mut reasons);
    cost(client, facts, &mut reasons);
    reasons
}

fn forms(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    let forms = facts.forms;
    if forms.succinct {
        match client {
            Client::PythonTuf | Client::GoTuf | Client::TufJs => {}
            Client::Tough | Client::RustTuf => {
                reasons.push(fails("it cannot parse `succinct_roles`: nothing loads"));
            }
            Client::SigstoreTuf => reasons.push(fails("it ignores `succinct_roles`: no target in the bins is found")),
            Client::SigstoreJava => {}
            Client::PhpTuf | Client::OldGoTuf => {
                reasons.push(fails(
                    "it does not know `succinct_roles`: no target in the bins is found",
                ));
            }
        }
    }
    if forms.prefixes {
        match client {
            Client::GoTuf => reasons.push(fails(
                "it compares hash prefixes with base64 (fixed after 2.4.2): no target below `path_hash_prefixes` is found",
            )),
            Client::RustTuf => reasons.push(fails("it does not know `path_hash_prefixes`")),
            _ => {}
        }
    }
    if forms.any() && client == Client::SigstoreJava && facts.delegated_targets {
        reasons.push(fails("it reads no delegations: it finds targets of targets.json only"));
    }
    if facts.depth > 1 && client == Client::RustTuf && facts.delegated_targets && !forms.prefixes && !forms.succinct {
        reasons.push(fails("it loses what it finds below a second delegation"));
    }
    let visited = client.profile().visited;
    if facts.visited > visited {
        let text = format!(
            "some target is found after {} roles, and it reads {visited}",
            facts.visited
        );
        reasons.push(fails(text));
    }
}

fn sizes(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    let profile = client.profile();
    let [root, timestamp, snapshot, targets] = profile.limits;
    for (file, limit) in [
        (&facts.root, root),
        (&facts.timestamp, timestamp),
        (&facts.snapshot, snapshot),
        (&facts.delegator, targets),
        (&facts.leaf, targets),
    ] {
        if over(file, limit, profile.by_length) && !(client == Client::SigstoreJava && is_delegated(facts, file)) {
            let text = format!("`{}` has {} bytes, and it reads {limit}", file.name, file.bytes);
            reasons.push(fails(text));
        }
    }
}

fn over(file: &Sized, limit: u64, by_length: bool) -> bool {
    file.bytes > limit && !(by_length && file.listed)
}

/// A file that a client without delegations never asks for.
fn is_delegated(facts: &Facts, file: &Sized) -> bool {
    (std::ptr::eq(file, &facts.delegator) || std::ptr::eq(file, &facts.leaf)) && file.name != "targets"
}

fn roots(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    let profile = client.profile();
    if facts.root_steps > profile.root_steps {
        let text = format!(
            "{} roots follow the given one, and it takes {} in one update",
            facts.root_steps, profile.root_steps
        );
        reasons.push(fails(text));
    }
    if facts.root_end != 0 && !profile.ends.contains(&facts.root_end) {
        let text = format!(
            "a root that is not there is answered with {}, which it takes for a failure",
            facts.root_end
        );
        reasons.push(fails(text));
    }
}

fn keys(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    let profile = client.profile();
    if profile.computed
        && let Some(key) = facts.keys.iter().find(|key| !key.computed)
    {
        reasons.push(fails(format!(
            "it computes key ids, and `{}` is not its key's digest",
            key.id
        )));
    }
    let odd = |key: &&super::facts::KeyFact| match profile.kinds {
        [] => !key.known && matches!(client, Client::PythonTuf | Client::Tough),
        kinds => !kinds.contains(&&*key.kind),
    };
    if let Some(key) = facts.keys.iter().find(odd) {
        let text = match profile.kinds {
            [] => format!("it refuses a file with a key of the kind `{}`", key.kind),
            _ => format!(
                "it verifies Ed25519 only, and there is a key of the kind `{}`",
                key.kind
            ),
        };
        reasons.push(fails(text));
    }
}

fn targets(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    let missing = |served: Served, form: &str| {
        (served.missing > 0).then(|| {
            fails(format!(
                "it asks for targets as {form}, under which {} of {} were not there",
                served.missing,
                served.missing + served.good
            ))
        })
    };
    let reason = match client {
        _ if !facts.consistent => missing(facts.bare, "dir/name"),
        Client::Tough => missing(facts.hashed_folder, "H.dir/name"),
        Client::PhpTuf => missing(facts.bare, "dir/name"),
        _ => missing(facts.hashed_name, "dir/H.name"),
    };
    reasons.extend(reason);
    if client == Client::Tough
        && let Some(path) = &facts.no_sha256
    {
        reasons.push(fails(format!(
            "it needs a sha256 of every target, and `{path}` has none"
        )));
    }
    if matches!(client, Client::Tough | Client::SigstoreTuf)
        && let Some(file) = &facts.encoded
    {
        let text = format!("it asks for no encoding and undoes none, and `{file}` came with one");
        reasons.push(fails(text));
    }
}

fn names(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    let names = &facts.names;
    let mut broken = |name: &Option<String>, why: &str| {
        if let Some(name) = name {
            reasons.push(fails(format!("{why}: {name}")));
        }
    };
    match client {
        Client::TufJs => {
            broken(
                &names.utf16_order,
                "it sorts by UTF-16 units, and cannot verify a role with",
            );
            broken(&names.proto, "it never finds a target of this name");
        }
        Client::Tough => {
            broken(
                &names.not_nfc,
                "it turns text into NFC, and refuses the whole repository for",
            );
            broken(
                &names.quoted_order,
                "it sorts names with their quotes, and refuses the whole repository for",
            );
        }
        Client::RustTuf => broken(
            &names.unsafe_path,
            "it refuses a role with a name that Windows cannot have",
        ),
        Client::PhpTuf => broken(
            &names.non_ascii,
            "it escapes what is not ASCII, and cannot verify a role with",
        ),
        _ => {}
    }
    if client == Client::Tough
        && let Some(name) = &names.colon
    {
        reasons.push(Reason {
            effect: Effect::Works,
            text: format!("it can take a hash before `{name}` for a URL scheme"),
        });
    }
}

fn cost(client: Client, facts: &Facts, reasons: &mut Vec<Reason>) {
    match client {
        Client::TufJs => {
            // Measured: 192 ms at 1,024 entries, 0.17 s a thousand targets squared; both grow with the square.
            if facts.listed > TUF_JS_LISTED {
                let seconds = (facts.listed as f64 / 1_024.0).powi(2) * 0.19;
                let text = format!(
                    "a snapshot of {} roles takes it about {seconds:.0} s to read",
                    facts.listed
                );
                reasons.push(slow(text));
            }
            let (most, role) = &facts.crowded;
            if *most > super::role::CROWDED {
                let seconds = (*most as f64 / 1_000.0).powi(2) * 0.2;
                let text = format!("`{role}` lists {most} targets, which takes it about {seconds:.0} s to read");
                reasons.push(slow(text));
            }
        }
        Client::Tough if facts.listed > TOUGH_ROLES && !facts.forms.succinct => {
            let text = format!(
                "it loads all roles before the first target, one after another: {} requests",
                facts.listed
            );
            reasons.push(slow(text));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{
        Place,
        facts::{Forms, KeyFact},
    };

    /// A repository that every client could use, were there one.
    fn good() -> Facts {
        Facts {
            root_end: 404,
            consistent: true,
            hashed_name: Served { good: 3, missing: 0 },
            hashed_folder: Served { good: 3, missing: 0 },
            bare: Served { good: 3, missing: 0 },
            ..Facts::default()
        }
    }

    fn failing(facts: &Facts) -> Vec<Client> {
        with(facts, Effect::Fails)
    }

    fn with(facts: &Facts, effect: Effect) -> Vec<Client> {
        let all = verdicts(facts, None, &[]);
        all.into_iter()
            .filter(|verdict| verdict.verdict == effect)
            .map(|verdict| verdict.client)
            .collect()
    }

    fn changed(change: impl FnOnce(&mut Facts)) -> Facts {
        let mut facts = good();
        change(&mut facts);
        facts
    }

    use Client::*;

    #[test]
    fn a_plain_repository_suits_all() {
        assert_eq!(with(&good(), Effect::Works), Client::ALL);
    }

    #[test]
    fn forms_of_delegation() {
        let forms = |forms| {
            changed(|facts| {
                facts.forms = forms;
                facts.delegated_targets = true;
                facts.depth = 2;
            })
        };
        let succinct = Forms {
            succinct: true,
            empty_prefix: true,
            ..Forms::default()
        };
        let prefixes = Forms {
            prefixes: true,
            empty_prefix: true,
            ..Forms::default()
        };
        let paths = Forms {
            paths: true,
            ..Forms::default()
        };
        assert_eq!(
            failing(&forms(succinct)),
            [Tough, SigstoreTuf, RustTuf, SigstoreJava, PhpTuf, OldGoTuf]
        );
        assert_eq!(failing(&forms(prefixes)), [GoTuf, RustTuf, SigstoreJava]);
        assert_eq!(failing(&forms(paths)), [RustTuf, SigstoreJava]);
        assert_eq!(
            failing(&changed(|facts| facts.visited = 33)),
            [PythonTuf, GoTuf, TufJs, SigstoreTuf, OldGoTuf]
        );
        assert_eq!(failing(&changed(|facts| facts.visited = 32)), []);
    }

    fn sized(bytes: u64, listed: bool) -> Sized {
        Sized {
            name: "x".to_owned(),
            bytes,
            listed,
        }
    }

    #[test]
    fn sizes_of_files() {
        assert_eq!(failing(&changed(|facts| facts.root = sized(100_001, false))), [PhpTuf]);
        assert_eq!(
            failing(&changed(|facts| facts.root = sized(101_377, false))),
            [SigstoreJava, PhpTuf]
        );
        let all_but_tough = [
            PythonTuf,
            GoTuf,
            TufJs,
            SigstoreTuf,
            RustTuf,
            SigstoreJava,
            PhpTuf,
            OldGoTuf,
        ];
        assert_eq!(
            failing(&changed(|facts| facts.root = sized(512_001, false))),
            all_but_tough
        );
        assert_eq!(
            failing(&changed(|facts| facts.timestamp = sized(16_385, false))),
            [PythonTuf, GoTuf, TufJs, SigstoreTuf, RustTuf, OldGoTuf]
        );
        assert_eq!(
            failing(&changed(|facts| facts.snapshot = sized(1_100_000, false))),
            [Tough, PhpTuf]
        );
        assert_eq!(
            failing(&changed(|facts| facts.snapshot = sized(2_228_591, true))),
            [SigstoreTuf],
            "a listed length replaces the limit of all others"
        );
        let leaf = |bytes| {
            changed(|facts| {
                facts.leaf = sized(bytes, false);
            })
        };
        assert_eq!(failing(&leaf(100_001)), [PhpTuf]);
        assert_eq!(
            failing(&leaf(10_485_761)).len(),
            8,
            "sigstore-java reads targets.json only"
        );
    }

    #[test]
    fn chains_of_roots_and_their_end() {
        assert_eq!(failing(&changed(|facts| facts.root_steps = 33)), [SigstoreTuf]);
        assert_eq!(
            failing(&changed(|facts| facts.root_steps = 257)),
            [PythonTuf, GoTuf, TufJs, SigstoreTuf]
        );
        assert_eq!(
            failing(&changed(|facts| facts.root_end = 403)),
            [GoTuf, RustTuf, SigstoreJava, PhpTuf, OldGoTuf]
        );
        assert_eq!(
            failing(&changed(|facts| facts.root_end = 410)).len(),
            8,
            "tough takes it"
        );
        assert_eq!(failing(&changed(|facts| facts.root_end = 200)), Client::ALL);
    }

    #[test]
    fn ids_and_kinds_of_keys() {
        let key = |kind: &str, computed, known| {
            let key = KeyFact {
                id: "k".to_owned(),
                kind: kind.to_owned(),
                computed,
                known,
            };
            changed(|facts| facts.keys.extend([key]))
        };
        assert_eq!(failing(&key("ed25519/ed25519", true, true)), []);
        assert_eq!(
            failing(&key("ed25519/ed25519", false, true)),
            [Tough, RustTuf, PhpTuf, OldGoTuf]
        );
        assert_eq!(
            failing(&key("ecdsa/ecdsa-sha2-nistp256", true, true)),
            [RustTuf, PhpTuf]
        );
        assert_eq!(
            failing(&key("sphincs/x", true, false)),
            [PythonTuf, Tough, RustTuf, PhpTuf]
        );
    }

    #[test]
    fn names_under_which_targets_are_asked_for() {
        let gone = Served { good: 1, missing: 2 };
        assert_eq!(failing(&changed(|facts| facts.hashed_folder = gone)), [Tough]);
        assert_eq!(failing(&changed(|facts| facts.bare = gone)), [PhpTuf]);
        assert_eq!(failing(&changed(|facts| facts.hashed_name = gone)).len(), 7);
        let plain = changed(|facts| {
            facts.consistent = false;
            facts.hashed_name = gone;
            facts.hashed_folder = gone;
        });
        assert_eq!(failing(&plain), []);
        assert_eq!(
            failing(&changed(|facts| facts.no_sha256 = Some("x".to_owned()))),
            [Tough]
        );
        assert_eq!(
            failing(&changed(|facts| facts.encoded = Some("x".to_owned()))),
            [Tough, SigstoreTuf]
        );
    }

    #[test]
    fn names_that_break_a_client() {
        let name = || Some("x".to_owned());
        assert_eq!(failing(&changed(|facts| facts.names.not_nfc = name())), [Tough]);
        assert_eq!(failing(&changed(|facts| facts.names.quoted_order = name())), [Tough]);
        assert_eq!(failing(&changed(|facts| facts.names.utf16_order = name())), [TufJs]);
        assert_eq!(failing(&changed(|facts| facts.names.proto = name())), [TufJs]);
        assert_eq!(failing(&changed(|facts| facts.names.unsafe_path = name())), [RustTuf]);
        assert_eq!(failing(&changed(|facts| facts.names.non_ascii = name())), [PhpTuf]);
        let colon = changed(|facts| facts.names.colon = name());
        assert_eq!(failing(&colon), []);
        let told = verdicts(&colon, None, &[]);
        assert_eq!(told.iter().filter(|verdict| !verdict.reasons.is_empty()).count(), 1);
    }

    #[test]
    fn costs() {
        assert_eq!(
            with(&changed(|facts| facts.listed = 16_384), Effect::Slow),
            [TufJs, Tough]
        );
        assert_eq!(
            with(&changed(|facts| facts.crowded = (2_001, "b".to_owned())), Effect::Slow),
            [TufJs]
        );
    }

    #[test]
    fn what_is_broken_is_broken_for_all_who_read_it() {
        let finding = |code, severity, file: &str| Finding {
            code,
            severity,
            place: Place::file(file),
            message: "why".to_owned(),
        };
        let replaced = BTreeSet::from(["3.bins.json".to_owned()]);
        let fares = |finding: Finding| {
            let told = verdicts(&good(), Some((&good(), &replaced)), &[finding]);
            let fails = |view| {
                let here = told.iter().filter(|verdict| verdict.view == view);
                here.filter(|verdict| verdict.verdict == Effect::Fails).count()
            };
            (fails("prefixes"), fails("succinct"))
        };
        let error = Severity::Error;
        assert_eq!(fares(finding(Code::Expired, error, "timestamp.json")), (9, 9));
        assert_eq!(fares(finding(Code::Expired, error, "3.bins.json")), (9, 0));
        assert_eq!(fares(finding(Code::Expired, error, "succinct/3.bins.json")), (0, 9));
        assert_eq!(
            fares(finding(Code::Expired, Severity::Warning, "timestamp.json")),
            (0, 0)
        );
        assert_eq!(fares(finding(Code::FileChanged, error, "timestamp.json")), (0, 0));
    }
}
