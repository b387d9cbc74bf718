#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    keys::{SigningKey, memory::MemoryKey},
    tuf::{
        build::{self, RoleKeys, TopLevel},
        schema::KEY_NAMES,
    },
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn by(who: &str) -> Moment {
    Moment {
        at: at(1_800_000_000),
        by: who.to_owned(),
    }
}

fn key(seed: u8) -> MemoryKey {
    MemoryKey::from_seed(seed)
}

fn id(seed: u8) -> String {
    hex::encode(key(seed).key_id())
}

/// `1.root.json`: alice, bob and carol (1 to 3), two of whom sign; 4 is online; targets are signed by alice.
fn first() -> Vec<u8> {
    let role = |seeds: &[u8], threshold| RoleKeys {
        keys: seeds
            .iter()
            .map(|seed| (key(*seed).key_id().clone(), key(*seed).public().clone()))
            .collect(),
        threshold,
    };
    let names = [(1, "alice"), (2, "bob"), (3, "carol"), (4, "online")];
    let roles = TopLevel {
        root: role(&[1, 2, 3], 2),
        timestamp: role(&[4], 1),
        snapshot: role(&[4], 1),
        targets: role(&[1], 1),
        names: names.map(|(seed, name)| (id(seed), name.to_owned())).into(),
    };
    file(&build::root(1, at(1_900_000_000), &roles).unwrap(), &[1, 2])
}

fn file(signed: &[u8], seeds: &[u8]) -> Vec<u8> {
    let signatures: Vec<_> = seeds.iter().map(|seed| (key(*seed), sign(*seed, signed))).collect();
    let lines: Vec<_> = signatures
        .iter()
        .map(|(key, signature)| (key.key_id(), signature.clone()))
        .collect();
    build::envelope(signed, &lines).to_vec()
}

fn sign(seed: u8, message: &[u8]) -> Vec<u8> {
    futures_util::FutureExt::now_or_never(key(seed).sign(message))
        .unwrap()
        .unwrap()
}

fn proposal() -> Proposal {
    Proposal::after(Kind::Root, &first(), &first(), at(1_950_000_000)).unwrap()
}

fn draft_of(proposal: Proposal) -> Result<Draft, CeremonyError> {
    Draft::new(Kind::Root, &first(), &first(), proposal.into_signed(), by("ann"))
}

/// bob goes, dora (5) comes.
fn draft() -> Draft {
    let mut proposal = proposal();
    proposal.remove_key(None, "bob").unwrap();
    proposal.add_key("root", "dora", key(5).public()).unwrap();
    draft_of(proposal).unwrap()
}

fn add(draft: &mut Draft, seed: u8) -> Result<bool, CeremonyError> {
    let signature = sign(seed, &draft.message().unwrap());
    draft.add_signature(&id(seed), signature, by("somebody"))
}

fn value(draft: &Draft) -> Value {
    serde_json::from_slice(&draft.to_bytes()).unwrap()
}

#[track_caller]
fn refused(file: &Value, why: &str) -> CeremonyError {
    let error = Draft::parse(file.to_string().as_bytes()).unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
    error
}

#[test]
fn a_draft_tells_every_change_and_is_read_back() {
    let draft = draft();
    let lines = [
        "version: 1 → 2".to_owned(),
        "expires: 2030-03-17T17:46:40Z → 2031-10-17T10:40:00Z".to_owned(),
        format!("root: - bob (key {}), ed25519", id(2)),
        format!("root: + dora (key {}), ed25519", id(5)),
    ];
    assert_eq!(draft.changes(), lines);
    let read = Draft::parse(&draft.to_bytes()).unwrap();
    assert_eq!(read.to_bytes(), draft.to_bytes());
    assert_eq!((read.version(), read.fingerprint()), (2, draft.fingerprint()));
    assert_eq!(
        read.trusts().1,
        crate::digest::Digest::of(first()),
        "as `init` tells it"
    );
}

#[test]
fn both_thresholds_must_be_met_and_any_tool_reads_the_result() {
    let mut draft = draft();
    assert!(add(&mut draft, 5).unwrap());
    assert!(!add(&mut draft, 5).unwrap(), "once is enough");
    let mut apart = draft.clone();
    assert!(add(&mut draft, 1).unwrap());
    let error = draft.finished(at(0)).unwrap_err();
    let text = format!(
        "1 more of root 1's signers must sign: bob (key {}), carol (key {})",
        id(2),
        id(3)
    );
    assert_eq!(error, CeremonyError::Missing(text));
    assert!(draft.authorities()[1].met() && !draft.authorities()[0].met());

    assert!(add(&mut apart, 2).unwrap(), "bob is going, but still one of the old");
    assert!(add(&mut apart, 3).unwrap());
    draft.unite(Draft::parse(&apart.to_bytes()).unwrap()).unwrap();
    let (name, bytes) = draft.finished(at(0)).unwrap();
    assert_eq!(name, "2.root.json");
    apart.unite(draft.clone()).unwrap();
    assert_eq!(apart.finished(at(0)).unwrap().1, bytes, "in whatever order they signed");
    let error = draft.finished(at(1_950_000_000)).unwrap_err();
    assert_eq!(error, CeremonyError::Expired(at(1_950_000_000)));

    draft.publish(by("ann")).unwrap();
    let record = Draft::parse(&draft.to_bytes()).unwrap();
    assert_eq!(record.published().unwrap().sha256, crate::digest::Digest::of(&bytes));
    assert_eq!(
        record.entries().iter().map(|entry| &*entry.name).collect::<Vec<_>>(),
        ["dora", "alice", "bob", "carol"]
    );
    let mut record = value(&record);
    record["published"]["sha256"] = "00".repeat(32).into();
    refused(&record, "was published");
}

#[test]
fn an_altered_draft_says_what_was_altered() {
    let mut draft = draft();
    add(&mut draft, 1).unwrap();
    let file = value(&draft);
    let altered = |change: &dyn Fn(&mut Value), why: &str| {
        let mut file = file.clone();
        change(&mut file);
        assert!(matches!(refused(&file, why), CeremonyError::Altered(_)), "{why}");
    };
    let set =
        |pointer: &'static str, new: Value| move |file: &mut Value| *file.pointer_mut(pointer).unwrap() = new.clone();
    altered(
        &set("/proposed/signed/roles/root/threshold", json!(1)),
        "root: threshold 2 of 3 → 1 of 3",
    );
    altered(
        &set("/proposed/signed/expires", json!("2040-01-01T00:00:00Z")),
        "→ 2040-01-01T00:00:00Z",
    );
    altered(&set("/proposed/signed/version", json!(3)), "version: 1 → 3");
    altered(
        &set("/changes/0", json!("version: 1 → 9")),
        "does not propose what its changes tell: version: 1 → 9",
    );
    altered(&set("/fingerprint", json!("00".repeat(32))), "its fingerprint is");
    altered(&set("/signed_by/0/name", json!("mallory")), "another name, `mallory`");
    altered(
        &set("/signed_by/0/fingerprint", json!("00".repeat(32))),
        "fingerprint 0000",
    );
    altered(
        &set("/proposed/signatures/0/sig", json!("00".repeat(64))),
        "the signature of alice",
    );
    altered(
        &|file| file["changes"].as_array_mut().unwrap().swap(0, 1),
        "another order",
    );
    altered(
        &|file| drop(file["proposed"]["signatures"].as_array_mut().unwrap().pop()),
        "no signature beside it",
    );
    altered(
        &|file| {
            let again = file["signed_by"][0].clone();
            file["signed_by"].as_array_mut().unwrap().push(again);
        },
        "stands twice",
    );

    // Altered with care: the changes and the fingerprint, too. The signature tells.
    let mut other = proposal();
    other.remove_key(None, "bob").unwrap();
    other.add_key("root", "dora", key(6).public()).unwrap();
    let mut other = value(&draft_of(other).unwrap());
    other["proposed"]["signatures"] = file["proposed"]["signatures"].clone();
    let error = refused(&other, "the signature of alice");
    assert!(matches!(error, CeremonyError::Altered(_)));
}

#[test]
fn a_signature_by_a_key_that_has_no_say_is_refused() {
    let mut draft = draft();
    let error = add(&mut draft, 4).unwrap_err();
    assert!(error.to_string().contains("carol"), "{error}");
    assert!(matches!(error, CeremonyError::NotASigner { .. }));
    let mut file = value(&draft);
    let sig = hex::encode(sign(9, &draft.message().unwrap()));
    file["proposed"]["signatures"] = json!([{"keyid": id(9), "sig": sig}]);
    assert!(matches!(refused(&file, &id(9)), CeremonyError::NotASigner { .. }));
}

#[test]
fn proposals_that_clients_would_refuse_are_no_drafts() {
    let wrong = |change: &dyn Fn(&mut Value), why: &str| {
        let mut signed = proposal().into_signed();
        change(&mut signed);
        let error = Draft::new(Kind::Root, &first(), &first(), signed, by("ann")).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    };
    wrong(
        &|root| root["version"] = json!(3),
        "clients stop at the first version that is missing",
    );
    wrong(&|root| root["version"] = json!(1), "never trusted again");
    wrong(
        &|root| root["roles"]["root"]["threshold"] = json!(4),
        "a threshold of 4 for `root` cannot be met with 3 keys",
    );
    wrong(
        &|root| root["roles"]["timestamp"]["threshold"] = json!(0),
        "a threshold of 0",
    );
    wrong(
        &|root| root["roles"]["root"]["keyids"][1] = json!(id(1)),
        "stands twice",
    );
    wrong(&|root| root["roles"]["root"]["keyids"][1] = json!(id(8)), "not there");
    wrong(
        &|root| drop(root["roles"]["root"]["keyids"].as_array_mut().unwrap().pop()),
        "no role has it",
    );
    wrong(
        &|root| root["consistent_snapshot"] = json!(false),
        "consistent snapshots",
    );
    wrong(&|root| root["keys"][id(4)]["x-owner"] = json!("me"), "another id");
    wrong(
        &|root| root["keys"][id(4)]["keytype"] = json!("ml-dsa"),
        "clients cannot use",
    );
    wrong(&|root| root[KEY_NAMES][id(1)] = json!("bob"), "both called `bob`");
    wrong(&|root| root[KEY_NAMES][id(1)] = json!("\u{1b}[2J"), "no name for a key");
    wrong(&|root| root[KEY_NAMES][id(1)] = json!(id(2)), "look like a key id");
    wrong(
        &|root| drop(root[KEY_NAMES].as_object_mut().unwrap().remove(&id(1))),
        "has no name",
    );
    wrong(&|root| root[KEY_NAMES][id(8)] = json!("ghost"), "does not list");
    wrong(&|root| root["expires"] = json!("soon"), "date");
    wrong(
        &|root| drop(root["roles"].as_object_mut().unwrap().remove("snapshot")),
        "snapshot",
    );
    wrong(&|root| root["x-padding"] = json!("x".repeat(600_000)), "512000 bytes");
}

#[test]
fn edits_say_what_cannot_be_done() {
    let fails = |edit: &dyn Fn(&mut Proposal) -> Result<(), CeremonyError>, why: &str| {
        let error = edit(&mut proposal()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    fails(
        &|p| p.add_key("root", "alice", key(5).public()),
        "called `alice` already",
    );
    fails(
        &|p| p.add_key("root", "eve", key(1).public()),
        "there already, and called `alice`",
    );
    fails(
        &|p| p.add_key("root", "alice", key(1).public()),
        "has the key `alice` already",
    );
    fails(
        &|p| p.add_key("bins", "dora", key(5).public()),
        "no role `bins`, but `root`",
    );
    fails(&|p| p.remove_key(None, "eve"), "no key `eve`, but online");
    fails(
        &|p| p.remove_key(Some("timestamp"), "alice"),
        "`timestamp` has no key `alice`",
    );
    fails(&|p| p.rename("alice", "a\nb"), "no name");
    let mut replaced = proposal();
    replaced.replace_keys("timestamp", "online-2", key(6).public()).unwrap();
    replaced.rename(&id(1), "alice@work").unwrap();
    let changes = draft_of(replaced).unwrap().changes();
    assert_eq!(
        changes[2..],
        [
            format!("timestamp: - online (key {}), ed25519", id(4)),
            format!("timestamp: + online-2 (key {}), ed25519", id(6)),
            format!("alice (key {}) is called alice@work now", id(1)),
        ]
    );
}

#[test]
fn keys_of_older_roots_get_names() {
    let mut root: Value = serde_json::from_slice(&first()).unwrap();
    root["signed"].as_object_mut().unwrap().remove(KEY_NAMES);
    let proposal = Proposal::after(Kind::Root, root.to_string().as_bytes(), &first(), at(1_950_000_000)).unwrap();
    assert_eq!(proposal.roles().name(&id(1)), Some("alice"), "as the other root says");
    let bare = root.to_string();
    let proposal = Proposal::after(Kind::Root, bare.as_bytes(), bare.as_bytes(), at(1_950_000_000)).unwrap();
    let names: BTreeMap<_, _> = (1..=4)
        .map(|seed| (seed, proposal.roles().name(&id(seed)).unwrap().to_owned()))
        .collect();
    assert_eq!(names[&4], "snapshot");
    assert!(
        ["root", "root-2", "root-3"]
            .iter()
            .all(|name| names.values().any(|known| known == name)),
        "{names:?}"
    );
}

#[test]
fn offline_targets_are_signed_by_the_keys_that_root_lists_for_them() {
    let bins = key(7);
    let delegated = build::to_bins(bins.key_id(), bins.public());
    let signed = build::targets(3, at(1_900_000_000), Some(&delegated), []).unwrap();
    let current = file(&signed, &[1]);
    let mut proposal = Proposal::after(Kind::Targets, &current, &first(), at(1_950_000_000)).unwrap();
    assert_eq!(proposal.roles().name(&id(7)), Some("bins"));
    proposal.add_key("bins", "bins-2", key(8).public()).unwrap();
    let mut draft = Draft::new(Kind::Targets, &first(), &current, proposal.into_signed(), by("ann")).unwrap();
    assert!(
        draft
            .changes()
            .contains(&format!("bins: + bins-2 (key {}), ed25519", id(8)))
    );
    assert!(
        matches!(add(&mut draft, 2), Err(CeremonyError::NotASigner { .. })),
        "bob signs root only"
    );
    add(&mut draft, 1).unwrap();
    let draft = Draft::parse(&draft.to_bytes()).unwrap();
    let (name, bytes) = draft.finished(at(0)).unwrap();
    assert_eq!(name, "4.targets.json");
    assert_eq!(draft.signatures_in(&bytes).unwrap().len(), 1);
    draft.follows(&first(), &current).unwrap();
    assert!(matches!(draft.follows(&first(), &bytes), Err(CeremonyError::Stale(_))));

    let unsigned = file(&signed, &[2]);
    let proposal = Proposal::after(Kind::Targets, &current, &first(), at(1_950_000_000)).unwrap();
    let error = Draft::new(Kind::Targets, &first(), &unsigned, proposal.into_signed(), by("ann")).unwrap_err();
    assert!(error.to_string().contains("the targets it follows"), "{error}");
}

#[test]
fn nothing_that_is_signed_is_cut() {
    let patterns: Vec<String> = (0..40).map(|number| format!("team-a/{number}/*")).collect();
    let targets = |paths: &[String], targets: Value| {
        let role = json!({"name": "team-a", "keyids": [], "threshold": 1, "paths": paths});
        json!({"delegations": {"roles": [role]}, "targets": targets})
    };
    let (note, digest) = ("x".repeat(2_000), crate::digest::Digest::of("x"));
    let target = json!({"custom": {"note": note}, "hashes": {"sha256": digest}, "length": 1});
    let (old, new) = (
        targets(&patterns[..1], json!({})),
        targets(&patterns, json!({"a/x": target})),
    );
    let lines = diff::lines(Kind::Targets, &old, &new);
    for pattern in &patterns[1..] {
        assert!(lines.contains(&format!("team-a: paths: + {pattern}")), "{lines:?}");
    }
    let bytes = format!("target a/x: + sha256 {digest}, length 1");
    let place = lines.iter().position(|line| *line == bytes).unwrap();
    let text = format!(r#"target a/x, text of its signers: custom: + {{"note":"{note}"}}"#);
    assert_eq!(lines[place + 1], text);
    assert_eq!(lines.len(), 39 + 2);

    let mut other = new.clone();
    other["targets"]["a/x"]["custom"] = json!("y");
    let lines = diff::lines(Kind::Targets, &new, &other);
    assert_eq!(lines[0], format!("target a/x: still sha256 {digest}, length 1"));
    assert!(lines[1].ends_with(" → y"), "{lines:?}");
}

#[test]
fn a_role_that_is_observed_needs_one_signature_more() {
    let bins = key(7);
    let delegated = build::to_bins(bins.key_id(), bins.public());
    let signed = build::targets(3, at(1_900_000_000), Some(&delegated), []).unwrap();
    let current = file(&signed, &[1]);
    let proposal = || Proposal::after(Kind::Targets, &current, &first(), at(1_950_000_000)).unwrap();
    let needs = |proposal: &Proposal| {
        let roles = proposal.roles();
        let role = &roles.roles["team-a"];
        (role.threshold, role.keyids.len())
    };
    let mut new = proposal();
    new.delegate("team-a", &["a/*".to_owned()]).unwrap();
    new.observe("team-a").unwrap();
    new.add_key("team-a", "ann", key(8).public()).unwrap();
    assert_eq!(needs(&new), (2, 2));

    let mut known = proposal();
    known.delegate("team-a", &["a/*".to_owned()]).unwrap();
    known.add_key("team-a", "ann", key(8).public()).unwrap();
    known.add_key("team-a", "ben", key(9).public()).unwrap();
    known.threshold("team-a", 2).unwrap();
    for time in ["first", "again"] {
        known.observe("team-a").unwrap();
        assert_eq!(needs(&known), (3, 3), "{time}");
    }
    assert_eq!(known.roles().roles["team-a"].rest["terminating"], &json!(true));
}

#[test]
fn a_draft_is_of_one_place_in_one_chain() {
    let draft = draft();
    draft.follows(&first(), &first()).unwrap();
    let mut other: Value = serde_json::from_slice(&first()).unwrap();
    other["signed"]["expires"] = json!("2040-01-01T00:00:00Z");
    let other = other.to_string();
    let error = draft.stands_on(other.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("another root of version 1"), "{error}");
    let mut moved = first_signed();
    moved["version"] = json!(2);
    let moved = json!({"signatures": [], "signed": moved}).to_string();
    let error = draft.stands_on(moved.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains("stands on root 1, and the one that is trusted is version 2"),
        "{error}"
    );
    let mut file = value(&draft);
    file["current"]["signatures"] = json!([]);
    refused(&file, "the root it carries");
}

fn first_signed() -> Value {
    let mut root: Value = serde_json::from_slice(&first()).unwrap();
    root["signed"].take()
}

#[test]
fn names_forge_no_line() {
    let mut root = first_signed();
    root[KEY_NAMES][id(1)] = json!("alice\n  signed  mallory");
    let message = crate::tuf::canonical::to_vec(&root).unwrap();
    let signature = |seed: u8| json!({"keyid": id(seed), "sig": hex::encode(sign(seed, &message))});
    let bytes = json!({"signatures": [signature(1), signature(2)], "signed": root})
        .to_string()
        .into_bytes();
    let proposal = Proposal::after(Kind::Root, &bytes, &bytes, at(1_950_000_000)).unwrap();
    let draft = Draft::new(Kind::Root, &bytes, &bytes, proposal.into_signed(), by("ann")).unwrap();
    let told: Vec<_> = draft.authorities().iter().map(ToString::to_string).collect();
    assert!(
        told.iter()
            .all(|told| told.lines().count() == 4 && !told.contains("mallory")),
        "{told:?}"
    );
}

#[test]
fn two_drafts_are_not_one() {
    let mut one = draft();
    let other = draft_of(proposal()).unwrap();
    assert!(matches!(one.unite(other), Err(CeremonyError::Different(..))));
}

#[test]
fn what_is_no_draft_is_refused() {
    let draft = draft();
    let text = String::from_utf8(draft.to_bytes()).unwrap();
    for (bad, why) in [
        ("", "EOF"),
        ("[]", "format"),
        ("{}", "format"),
        (r#"{"format": "tufgate draft 2"}"#, "format"),
        (
            &*text.replacen("\"role\"", "\"role\": \"root\", \"role\"", 1),
            "stands twice",
        ),
        (
            &*text.replacen("\"role\"", "\"more\": 1, \"role\"", 1),
            "unknown field `more`",
        ),
        (
            &*text.replacen("\"role\": \"root\"", "\"role\": \"targets\"", 1),
            "carries a `root`",
        ),
        (&*text.replacen("\"role\": \"root\"", "\"role\": \"bins\"", 1), "bins"),
    ] {
        let error = Draft::parse(bad.as_bytes()).unwrap_err();
        assert!(
            matches!(error, CeremonyError::Malformed(_)) && error.to_string().contains(why),
            "{error}"
        );
    }
    let huge = text.replacen('{', &format!("{{{}", " ".repeat(MAX_DRAFT as usize)), 1);
    assert!(Draft::parse(huge.as_bytes()).unwrap_err().to_string().contains("bytes"));
}

/// Every place in a value, as a JSON pointer.
fn places(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(key, value)| places(value, format!("{at}/{key}"), found)),
        Value::Array(items) => (0..)
            .zip(items)
            .for_each(|(n, value)| places(value, format!("{at}/{n}"), found)),
        _ => {}
    }
    found.push(at);
}

proptest! {
    #[test]
    fn a_truncated_draft_is_none(cut in any::<prop::sample::Index>()) {
        let bytes = draft().to_bytes();
        let cut = cut.index(bytes.len() - 2);
        prop_assert!(Draft::parse(&bytes[..cut]).is_err());
    }

    /// What a draft proposes cannot be changed in any place without it being said.
    #[test]
    fn no_change_of_what_is_signed_goes_unnoticed(
        place in any::<prop::sample::Index>(),
        new in prop_oneof![Just(Value::Null), any::<u8>().prop_map(Value::from), "[a-z0-9]{0,64}".prop_map(Value::from)],
    ) {
        let mut draft = draft();
        add(&mut draft, 1).unwrap();
        let mut file = value(&draft);
        let mut found = Vec::new();
        places(&file["proposed"]["signed"], "/proposed/signed".to_owned(), &mut found);
        let place = &found[place.index(found.len())];
        let old = file.pointer_mut(place).map(Value::take).unwrap();
        prop_assume!(old != new);
        *file.pointer_mut(place).unwrap() = new;
        prop_assert!(Draft::parse(file.to_string().as_bytes()).is_err(), "{place}");
    }

    /// Damage anywhere is an error or means the same draft; never a panic.
    #[test]
    fn damage_is_judged(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let draft = draft();
        let mut bytes = draft.to_bytes();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(read) = Draft::parse(&bytes) {
            prop_assert_eq!(read.fingerprint(), draft.fingerprint());
            prop_assert_eq!(read.changes(), draft.changes());
        }
    }

    #[test]
    fn every_difference_has_a_line(
        place in any::<prop::sample::Index>(),
        new in prop_oneof![Just(Value::Null), any::<u8>().prop_map(Value::from), "[a-z0-9]{0,64}".prop_map(Value::from)],
    ) {
        let old = first_signed();
        let mut changed = old.clone();
        let mut found = Vec::new();
        places(&old, String::new(), &mut found);
        found.retain(|place| place.matches('/').count() > 0);
        let place = &found[place.index(found.len())];
        *changed.pointer_mut(place).unwrap() = new;
        prop_assume!(old != changed);
        prop_assert!(!diff::lines(Kind::Root, &old, &changed).is_empty(), "{place}");
    }
}
