//! One targets role: what it says of itself and of each target. Pure.

use std::{
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Code, Place,
    delegations::Delegations,
    document::{Document, Header},
    facts::{Facts, Sized},
    finding::Findings,
    graph::Graph,
    names, strict,
};
use crate::{digest::Digest, tuf::schema::KEY_NAMES};

/// More targets in one role make tuf-js, whose time grows with their square, take over a second.
pub const CROWDED: u64 = 2_000;
/// Roles that python-tuf, go-tuf, tuf-js and sigstore-tuf visit for one target.
pub const VISITED: usize = 32;

/// A target that is to be downloaded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Its path.
    pub path: String,
    /// Its length in bytes.
    pub length: u64,
    /// Algorithm to hex.
    pub hashes: BTreeMap<String, String>,
}

/// What is known before the file is read.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The role's name.
    pub role: &'a str,
    /// Its file.
    pub place: &'a Place,
    /// The delegations read so far.
    pub graph: &'a Graph,
    /// The walk's time.
    pub now: Timestamp,
    /// Most targets to be downloaded.
    pub sample: usize,
    /// Chooses them.
    pub seed: u64,
    /// Some delegation leads here, so that every target can be found or not.
    pub delegated: bool,
}

/// What was read.
#[derive(Debug)]
pub struct Read {
    /// Version and expiry.
    pub header: Header,
    /// What it delegates.
    pub delegations: Option<Arc<Delegations>>,
    /// How many targets it lists.
    pub targets: u64,
    /// Those to be downloaded, in order of path.
    pub wanted: Vec<Wanted>,
}

/// Reads a role and tells what is wrong with it.
pub fn read(document: &Document, context: &Context, facts: &mut Facts, findings: &mut Findings) -> Read {
    let place = context.place;
    let header = document.header("targets", &["targets", "delegations", KEY_NAMES], place, findings);
    expiry(header.expires, context.now, soon(context.role), place, findings);
    let delegations = Delegations::read(document.signed.get("delegations"), place, facts, findings).map(Arc::new);
    let empty = serde_json::Map::new();
    let targets = document.signed.get("targets").and_then(Value::as_object);
    if targets.is_none() {
        findings.error(Code::MetadataField, place, "it has no `targets` object");
    }
    let targets = targets.unwrap_or(&empty);
    let count = targets.len() as u64;
    if count > CROWDED {
        let message = format!("it lists {count} targets: tuf-js takes time by the square of more than {CROWDED}");
        findings.warning(Code::RoleCrowded, place, message);
    }
    if count > facts.crowded.0 {
        facts.crowded = (count, context.role.to_owned());
    }
    facts.delegated_targets |= count > 0 && context.role != "targets";

    // The smallest numbers win, so that neither order nor number of the others matters.
    let mut chosen = BinaryHeap::new();
    let mut keys: Vec<&String> = targets.keys().collect();
    keys.sort_unstable();
    names::order(&keys, facts);
    for path in keys {
        names::name(path, facts, findings);
        reachable(path, context, facts, findings);
        if let Some(wanted) = wanted(path, &targets[path], facts, findings) {
            chosen.push((lot(context.seed, path), path, wanted.length));
            if chosen.len() > context.sample {
                chosen.pop();
            }
        }
    }
    let mut wanted: Vec<Wanted> = chosen
        .into_iter()
        .map(|(_, path, length)| Wanted {
            path: path.clone(),
            length,
            hashes: hashes(&targets[path]),
        })
        .collect();
    wanted.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    strict::check(document, "targets", place, findings);
    let size = Sized {
        name: context.role.to_owned(),
        bytes: document.length,
        listed: false,
    };
    match delegations {
        Some(_) => facts.delegator = size,
        None => facts.leaf = size,
    }
    Read {
        header,
        delegations,
        targets: count,
        wanted,
    }
}

/// The number by which a name is chosen into a sample.
pub fn lot(seed: u64, name: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = Digest::of(format!("{seed}:{name}")).0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Seconds before its end in which a role should have been signed again.
pub fn soon(role: &str) -> i64 {
    const HOUR: i64 = 3_600;
    match role {
        "root" => 14 * 24 * HOUR,
        "targets" => 3 * 24 * HOUR,
        "timestamp" => HOUR,
        _ => 6 * HOUR,
    }
}

/// Tells when metadata has expired or soon will.
pub fn expiry(expires: Option<Timestamp>, now: Timestamp, soon: i64, place: &Place, findings: &mut Findings) {
    let Some(expires) = expires else { return };
    let left = expires.as_second() - now.as_second();
    if left <= 0 {
        findings.error(Code::Expired, place, format_args!("it expired at {expires}"));
    } else if left < soon {
        findings.warning(Code::ExpiresSoon, place, format_args!("it expires at {expires}"));
    }
}

/// Tells of a target that no client finds in this role.
fn reachable(path: &str, context: &Context, facts: &mut Facts, findings: &mut Findings) {
    if !context.delegated {
        return;
    }
    let place = Place::Target(path.to_owned());
    let role = context.role;
    match context.graph.visits(path, role) {
        None if context.graph.hidden(path, role) => {
            let message =
                format!("`{role}` lists it, but a role that ends the search speaks for it: no client finds it");
            findings.note(Code::TargetMisplaced, &place, message);
        }
        None => {
            let message = format!("`{role}` lists it, but no delegation leads a client there for it");
            findings.error(Code::TargetMisplaced, &place, message);
        }
        Some(visits) => {
            if visits > VISITED {
                let message = format!("a client reads {visits} roles before it finds it; most end after {VISITED}");
                findings.warning(Code::DelegationDepth, &place, message);
            }
            facts.visited = facts.visited.max(visits as u64);
        }
    }
}

/// Checks what is said of a target; `None` when it cannot be downloaded by that.
fn wanted(path: &str, said: &Value, facts: &mut Facts, findings: &mut Findings) -> Option<Wanted> {
    let place = Place::Target(path.to_owned());
    let length = said.get("length").and_then(Value::as_u64);
    if length.is_none() {
        findings.error(Code::TargetInvalid, &place, "its length is no integer");
    }
    if said.get("custom").is_some_and(|custom| !custom.is_object()) {
        findings.warning(Code::TargetInvalid, &place, "its `custom` is no object");
    }
    let hashes = hashes(said);
    for (algorithm, hash) in &hashes {
        *facts.algorithms.entry(algorithm.clone()).or_default() += 1;
        let digits = match &**algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => hash.len(),
        };
        let plain = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hash.len() != digits || !hash.bytes().all(plain) {
            let message = format!("its {algorithm} is `{hash}`, no lower-case hex of that length");
            findings.error(Code::TargetInvalid, &place, message);
        }
    }
    if hashes.is_empty() {
        findings.error(Code::TargetInvalid, &place, "it has no hash");
    } else if !hashes.contains_key("sha256") {
        findings.warning(
            Code::TargetInvalid,
            &place,
            "it has no sha256, which tough and others ask for",
        );
    }
    if !hashes.contains_key("sha256") {
        facts.no_sha256 = facts.no_sha256.take().or_else(|| Some(path.to_owned()));
    }
    if hashes.len() > 1 {
        facts.many_hashes = facts.many_hashes.take().or_else(|| Some(path.to_owned()));
    }
    (!hashes.is_empty()).then_some(Wanted {
        path: path.to_owned(),
        length: length?,
        hashes,
    })
}

fn hashes(said: &Value) -> BTreeMap<String, String> {
    let hashes = said.get("hashes").and_then(Value::as_object);
    let text = |(algorithm, hash): (&String, &Value)| Some((algorithm.clone(), hash.as_str()?.to_owned()));
    hashes.into_iter().flatten().filter_map(text).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(targets: Value, sample: usize) -> (Vec<&'static str>, Facts, Vec<String>) {
        let signed = json!({
            "_type": "targets", "spec_version": "1.0.0", "version": 1, "expires": "2030-01-01T00:00:00Z",
            "targets": targets,
        });
        let file = json!({"signatures": [], "signed": signed}).to_string();
        let (mut facts, mut findings) = (Facts::default(), Findings::default());
        let place = Place::file("1.targets.json");
        let document = Document::read(file.as_bytes(), &place, &mut findings).unwrap();
        let context = Context {
            role: "targets",
            place: &place,
            graph: &Graph::default(),
            now: "2029-01-01T00:00:00Z".parse().unwrap(),
            sample,
            seed: 1,
            delegated: true,
        };
        let read = read(&document, &context, &mut facts, &mut findings);
        let wanted = read.wanted.into_iter().map(|wanted| wanted.path).collect();
        (findings.codes(), facts, wanted)
    }

    fn file() -> Value {
        json!({"length": 1, "hashes": {"sha256": "0".repeat(64)}})
    }

    #[test]
    fn names_that_break_somebody_are_told() {
        let none: [&str; 0] = [];
        assert_eq!(told(json!({"a/b c+d@1~x": file()}), 1).0, none);
        for hostile in [
            "/a",
            "a//b",
            "a/./b",
            "../a",
            "a\\b",
            "a?b",
            "a#b",
            "a%2fb",
            "x:y",
            "__proto__",
            "",
        ] {
            assert_eq!(told(json!({hostile: file()}), 1).0, ["name-hostile"], "{hostile}");
        }
        let (codes, facts, _) = told(json!({"e\u{301}": file(), "a/nul.txt": file(), "com1/x": file()}), 1);
        assert_eq!(codes, ["text-not-nfc"]);
        assert!(facts.names.not_nfc.is_some() && facts.names.non_ascii.is_some());
        assert_eq!(facts.names.unsafe_path.as_deref(), Some("a/nul.txt"));
        let (codes, facts, _) = told(json!({"a": file(), "a b": file()}), 1);
        assert_eq!(codes, ["key-order"]);
        assert_eq!(facts.names.quoted_order.as_deref(), Some("`a` and `a b`"));
        let (_, facts, _) = told(json!({"\u{ff01}": file(), "😀": file()}), 1);
        assert!(facts.names.utf16_order.is_some() && facts.names.quoted_order.is_none());
    }

    #[test]
    fn what_is_said_of_targets_is_judged() {
        for (said, code) in [
            (json!({"hashes": {"sha256": "0".repeat(64)}}), "target-invalid"),
            (json!({"length": 1, "hashes": {}}), "target-invalid"),
            (json!({"length": 1, "hashes": {"sha256": "AB"}}), "target-invalid"),
            (json!({"length": 1, "hashes": {"md5": "ab"}}), "target-invalid"),
            (
                json!({"length": 1, "hashes": {"sha256": "0".repeat(64)}, "custom": 1}),
                "target-invalid",
            ),
        ] {
            // A malformed listing makes the whole role unreadable, which is told beside it.
            assert_eq!(told(json!({"a": said}), 1).0[0], code, "{said}");
        }
    }

    #[test]
    fn a_sample_is_a_few_and_always_the_same() {
        let many: serde_json::Map<_, _> = (0..50).map(|number| (format!("t{number:02}"), file())).collect();
        let (_, _, first) = told(many.clone().into(), 3);
        assert_eq!(first.len(), 3);
        assert_eq!(told(many.clone().into(), 3).2, first);
        assert_eq!(told(many.into(), 100).2.len(), 50);
    }

    #[test]
    fn a_crowd_is_told() {
        let many: serde_json::Map<_, _> = (0..=CROWDED).map(|number| (format!("t{number:05}"), file())).collect();
        assert_eq!(told(many.into(), 1).0, ["role-crowded"]);
    }
}
