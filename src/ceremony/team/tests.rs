#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    ceremony::{CeremonyError, Moment},
    digest::Digest,
    tuf::{
        schema::KEY_NAMES,
        verify::testing::{id, key, keys, public, sign, signature},
    },
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn now() -> Timestamp {
    at(1_800_000_000)
}

fn by(who: &str) -> Moment {
    Moment {
        at: now(),
        by: who.to_owned(),
    }
}

/// Root 1, signed by key 1, which signs targets too.
fn root() -> Vec<u8> {
    let one = key(1);
    let role = json!({"keyids": [id(&one)], "threshold": 1});
    let signed = json!({
        "_type": "root", "spec_version": "1.0.0", "version": 1, "expires": "2090-01-01T00:00:00Z", "consistent_snapshot": true,
        "keys": keys(&[&one]),
        "roles": {"root": role, "timestamp": role, "snapshot": role, "targets": role},
    });
    sign(&signed, &[&one])
}

fn role(name: &str, of: &[&SigningKey], threshold: u64, paths: &[&str]) -> Value {
    let ids: Vec<_> = of.iter().map(|key| id(key)).collect();
    json!({"name": name, "keyids": ids, "threshold": threshold, "terminating": false, "paths": paths})
}

/// Targets that give `team-a` two of ann (2), bob (3) and cid (4) for `a/*` and `a/*/*`. bob's is the bins' key, too.
fn targets(by: &[&SigningKey]) -> Vec<u8> {
    let (ann, bob, cid) = (key(2), key(3), key(4));
    let bins = json!({
        "name": "bins", "keyids": [id(&bob)], "threshold": 1, "terminating": true, "path_hash_prefixes": [""],
    });
    let signed = json!({
        "_type": "targets", "spec_version": "1.0.0", "version": 1, "expires": "2090-01-01T00:00:00Z", "targets": {},
        "delegations": {
            "keys": keys(&[&ann, &bob, &cid]),
            "roles": [role("team-a", &[&ann, &bob, &cid], 2, &["a/*", "a/*/*"]), bins],
        },
        KEY_NAMES: {id(&ann): "ann", id(&bob): "bob", id(&cid): "cid"},
    });
    sign(&signed, by)
}

fn chain() -> Chain {
    Chain::new(&root(), &[("targets".to_owned(), targets(&[&key(1)]))]).unwrap()
}

fn proposal(current: Option<&[u8]>) -> TeamProposal {
    TeamProposal::after("team-a", current, at(1_900_000_000)).unwrap()
}

fn drafted(proposal: TeamProposal, current: Option<&[u8]>) -> Result<TeamDraft, CeremonyError> {
    TeamDraft::new(chain(), "team-a", current, proposal.into_signed(), by("ann"))
}

/// The first version, with one target.
fn draft() -> TeamDraft {
    let mut proposal = proposal(None);
    proposal.add("a/x", Digest::of("x"), 1).unwrap();
    drafted(proposal, None).unwrap()
}

fn add(draft: &mut TeamDraft, seed: u8) -> Result<bool, CeremonyError> {
    let signature = made(draft, seed);
    draft.add_signature("team-a", &id(&key(seed)), signature, by("somebody"))
}

fn made(draft: &TeamDraft, seed: u8) -> Vec<u8> {
    let signed: Value = serde_json::from_slice(&draft.parts()[0].file().unwrap()).unwrap();
    hex::decode(signature(&signed["signed"], &key(seed))["sig"].as_str().unwrap()).unwrap()
}

fn value(draft: &TeamDraft) -> Value {
    serde_json::from_slice(&draft.to_bytes()).unwrap()
}

#[track_caller]
fn refused(file: &Value, why: &str) -> CeremonyError {
    let error = TeamDraft::parse(file.to_string().as_bytes()).unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
    error
}

#[test]
fn a_team_signs_in_turn_and_apart_until_there_are_enough() {
    let mut draft = draft();
    let lines = draft.parts()[0].changes();
    assert!(lines.iter().any(|line| line.starts_with("target a/x: + ")), "{lines:?}");
    let none = draft.finished(now()).unwrap_err().to_string();
    assert!(none.contains("2 more of targets 1's signers must sign: ann"), "{none}");

    let mut copy = TeamDraft::parse(&draft.to_bytes()).unwrap();
    assert!(add(&mut draft, 2).unwrap());
    assert!(!add(&mut draft, 2).unwrap(), "once is enough");
    let one = draft.finished(now()).unwrap_err().to_string();
    assert!(
        one.contains("1 more of") && one.contains("bob") && !one.contains("ann"),
        "{one}"
    );
    add(&mut copy, 4).unwrap();
    draft.unite(TeamDraft::parse(&copy.to_bytes()).unwrap()).unwrap();

    let files = draft.finished(now()).unwrap();
    let file: Value = serde_json::from_slice(&files["team-a"]).unwrap();
    assert_eq!(file["signatures"].as_array().unwrap().len(), 2);
    draft.record(by("ann"), "http://gate/metadata/submit", Some(7)).unwrap();
    let record = TeamDraft::parse(&draft.to_bytes()).unwrap();
    assert_eq!(
        record.sent().unwrap().files["team-a"].sha256,
        Digest::of(&files["team-a"])
    );
    assert!(
        add(&mut draft, 3)
            .unwrap_err()
            .to_string()
            .contains("submitted already")
    );

    // The next version follows the file that stands.
    let current = files["team-a"].clone();
    let mut next = proposal(Some(&current));
    next.remove("a/x").unwrap();
    assert!(next.remove("a/x").unwrap_err().to_string().contains("not listed"));
    next.add("a/y", Digest::of("y"), 1).unwrap();
    let next = drafted(next, Some(&current)).unwrap();
    let lines = next.parts()[0].changes();
    assert_eq!(lines[0], "version: 1 → 2");
    assert!(lines.iter().any(|line| line.starts_with("target a/x: - ")), "{lines:?}");
    assert_eq!(next.parts()[0].follows(&current).unwrap(), None);
    assert_eq!(draft.parts()[0].follows(&current).unwrap(), Some(1));
}

#[test]
fn whoever_is_not_of_the_role_cannot_sign() {
    let mut draft = draft();
    for stranger in [1, 9] {
        let error = draft.unsigned_by(&id(&key(stranger))).unwrap_err();
        assert!(error.to_string().contains("ann (key "), "{error}");
        assert!(matches!(
            add(&mut draft, stranger),
            Err(CeremonyError::NotASigner { .. })
        ));
    }
    let other = made(&drafted(proposal(None), None).unwrap(), 2);
    let error = draft
        .add_signature("team-a", &id(&key(2)), other, by("ann"))
        .unwrap_err();
    assert!(matches!(error, CeremonyError::Altered(_)), "{error}");
    assert_eq!(draft.unsigned_by(&id(&key(2))).unwrap().len(), 1);
}

#[test]
fn what_the_gate_would_refuse_is_not_drafted() {
    let refused = |edit: &dyn Fn(&mut Value), why: &str| {
        let mut signed = proposal(None).into_signed();
        edit(&mut signed);
        let error = TeamDraft::new(chain(), "team-a", None, signed, by("ann")).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    };
    let file = json!({"length": 1, "hashes": {"sha256": Digest::of("x")}});
    refused(
        &|signed| signed["targets"]["b/x"] = file.clone(),
        "not inside the paths",
    );
    refused(
        &|signed| signed["targets"]["a/../x"] = file.clone(),
        "no canonical form",
    );
    refused(&|signed| signed["version"] = json!(2), "after 0 comes 1");
    refused(&|signed| signed["note"] = json!(1), "`note`");
    for name in ["team-b", "team-a.sub", "../x", "2foo", "targets"] {
        let signed = proposal(None).into_signed();
        let error = TeamDraft::new(chain(), name, None, signed, by("ann")).unwrap_err();
        assert!(error.to_string().contains("nobody delegates"), "{error}");
    }
    let mut many = proposal(None);
    for number in 0..2_001 {
        many.add(&format!("a/{number}"), Digest::of("x"), 1).unwrap();
    }
    assert!(
        drafted(many, None)
            .unwrap_err()
            .to_string()
            .contains("more than 2000 targets")
    );
    assert!(proposal(None).add("../x", Digest::of("x"), 1).is_err());
}

#[test]
fn expired_drafts_are_neither_signed_nor_sent() {
    let mut draft = draft();
    assert_eq!(draft.check_expiry(now()), Ok(()));
    assert!(matches!(
        draft.check_expiry(at(1_900_000_001)),
        Err(CeremonyError::Expired(_))
    ));
    add(&mut draft, 2).unwrap();
    add(&mut draft, 3).unwrap();
    assert!(matches!(
        draft.finished(at(1_900_000_001)),
        Err(CeremonyError::Expired(_))
    ));
    TeamDraft::parse(&draft.to_bytes()).unwrap();
}

#[test]
fn altered_drafts_are_refused_with_what_was_altered() {
    let mut draft = draft();
    add(&mut draft, 2).unwrap();
    let file = value(&draft);
    let with = |edit: &dyn Fn(&mut Value)| {
        let mut file = file.clone();
        edit(&mut file);
        file
    };
    let team = |file: &mut Value, edit: &dyn Fn(&mut Value)| edit(&mut file["roles"]["team-a"]);
    let bytes = json!({"length": 9, "hashes": {"sha256": Digest::of("evil")}});
    refused(
        &with(&|file| {
            team(file, &|role| {
                role["proposed"]["signed"]["targets"]["a/x"] = bytes.clone()
            })
        }),
        "what its changes do not tell",
    );
    let lied = with(&|file| {
        team(file, &|role| {
            role["proposed"]["signed"]["targets"]["a/y"] = bytes.clone();
        });
    });
    refused(&lied, "what its changes do not tell: target a/y");
    refused(
        &with(&|file| team(file, &|role| role["fingerprint"] = json!(Digest::of("x")))),
        "its fingerprint is",
    );
    refused(
        &with(&|file| team(file, &|role| role["signed_by"][0]["name"] = json!("bob"))),
        "has another name",
    );
    refused(
        &with(&|file| team(file, &|role| role["proposed"]["signatures"][0]["sig"] = json!("00"))),
        "not made over what it says now",
    );
    refused(
        &with(&|file| {
            team(file, &|role| {
                let line = role["proposed"]["signatures"][0].clone();
                role["proposed"]["signatures"].as_array_mut().unwrap().push(line);
            });
        }),
        "signs twice",
    );
    // Who delegates cannot be changed either: root's keys signed it.
    refused(
        &with(&|file| file["above"][0]["file"]["signed"]["delegations"]["roles"][0]["threshold"] = json!(1)),
        "the file of `targets` that it carries",
    );
    refused(
        &with(&|file| file["root"]["signed"]["version"] = json!(2)),
        "the root it carries",
    );
    refused(&with(&|file| file["above"] = json!([])), "nobody delegates");
    refused(&with(&|file| file["roles"] = json!({})), "drafts no role");
    refused(&with(&|file| file["more"] = json!(1)), "unknown field");
    refused(&json!({"format": "tufgate draft 1"}), "its `format` is not");
    assert!(TeamDraft::parse(&vec![b' '; MAX_TEAM_DRAFT as usize + 1]).is_err());
}

#[test]
fn a_long_text_hides_no_digest() {
    let (note, digest) = ("n".repeat(2_000), Digest::of("x"));
    let mut signed = proposal(None).into_signed();
    signed["targets"]["a/x"] = json!({"custom": {"note": note}, "hashes": {"sha256": digest}, "length": 1});
    let draft = TeamDraft::new(chain(), "team-a", None, signed, by("ann")).unwrap();
    let lines = TeamDraft::parse(&draft.to_bytes()).unwrap().parts()[0].changes();
    let bytes = format!("target a/x: + sha256 {digest}, length 1");
    let place = lines.iter().position(|line| *line == bytes).unwrap();
    let text = format!(r#"target a/x, text of its signers: custom: + {{"note":"{note}"}}"#);
    assert_eq!(lines[place + 1], text);
}

#[test]
fn what_nobody_of_today_signed_is_no_ground_to_stand_on() {
    // A file that whoever sent the draft made up: its targets would not show as changes.
    let signed = json!({
        "_type": "targets", "spec_version": "1.0.0", "version": 4, "expires": "2090-01-01T00:00:00Z",
        "targets": {"a/evil": {"length": 1, "hashes": {"sha256": Digest::of("evil")}}},
    });
    let forged = sign(&signed, &[&key(9)]);
    let draft = drafted(proposal(Some(&forged)), Some(&forged)).unwrap();
    let lines = draft.parts()[0].changes();
    assert!(lines[0].contains("not signed by the role's keys of today"), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("target a/evil: + ")),
        "{lines:?}"
    );
}

#[test]
fn roles_below_come_and_go() {
    let dan = key(5);
    let below = |paths: &[&str], threshold| Below {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        keys: vec![("dan".to_owned(), serde_json::from_value(public(&dan)).unwrap())],
        threshold,
        terminating: true,
    };
    let mut parent = proposal(None);
    parent.delegate("sub", &below(&["a/s/*"], Some(1))).unwrap();
    let parent = drafted(parent, None).unwrap();
    let chain = Chain::below_team(&parent).unwrap();
    assert!(chain.lines()[1].contains("a draft itself"));
    let child = TeamProposal::after("team-a.sub", None, at(1_900_000_000)).unwrap();
    let mut child = TeamDraft::new(chain, "team-a.sub", None, child.into_signed(), by("dan")).unwrap();
    let signature = {
        let file: Value = serde_json::from_slice(&child.parts()[0].file().unwrap()).unwrap();
        hex::decode(signature(&file["signed"], &dan)["sig"].as_str().unwrap()).unwrap()
    };
    child
        .add_signature("team-a.sub", &id(&dan), signature, by("dan"))
        .unwrap();
    child.finished(now()).unwrap();
    TeamDraft::parse(&child.to_bytes()).unwrap();

    for (paths, threshold, why) in [
        (&["b/*"][..], Some(1), "is not inside those"),
        (&["a/**"], Some(1), "`**`"),
        (&["a/s/*"], Some(2), "cannot be met"),
        (&["a/s/*"], Some(0), "let anybody sign"),
        (&[], Some(1), "needs `--paths`"),
    ] {
        let mut parent = proposal(None);
        let made = parent
            .delegate("sub", &below(paths, threshold))
            .and_then(|()| drafted(parent, None));
        assert!(made.unwrap_err().to_string().contains(why), "{why}");
    }
    for name in ["../x", "2 x", "Sub", ""] {
        let mut parent = proposal(None);
        let made = parent.delegate(name, &below(&["a/*"], Some(1)));
        assert!(made.and_then(|()| drafted(parent, None)).is_err(), "{name}");
    }
    let mut gone = proposal(None);
    gone.delegate("sub", &below(&["a/s/*"], Some(1))).unwrap();
    gone.undelegate("team-a.sub").unwrap();
    let signed = gone.into_signed();
    assert!(
        signed.get("delegations").is_none() && signed.get(KEY_NAMES).is_none(),
        "{signed}"
    );
}

#[test]
fn what_a_gate_prepared_waits_for_the_team() {
    let signed = |version: u64| {
        let mut proposal = proposal(None);
        proposal.add("a/x", Digest::of("x"), 1).unwrap();
        let mut signed = proposal.into_signed();
        signed["version"] = json!(version);
        signed
    };
    let waiting = |file: Vec<u8>| BTreeMap::from([("team-a".to_owned(), (file, None))]);
    let mut draft = TeamDraft::prepared(chain(), &waiting(sign(&signed(1), &[&key(3)])), by("ann")).unwrap();
    assert!(draft.finished(now()).is_err());
    add(&mut draft, 2).unwrap();
    draft.finished(now()).unwrap();
    TeamDraft::parse(&draft.to_bytes()).unwrap();
    for (file, why) in [
        (sign(&signed(1), &[]), "not signed by the gate"),
        (sign(&signed(1), &[&key(2)]), "not signed by the gate"),
        (sign(&signed(1), &[&key(9)]), "none of those"),
        (sign(&signed(2), &[&key(3)]), "after 0 comes 1"),
    ] {
        let error = TeamDraft::prepared(chain(), &waiting(file), by("ann")).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    assert!(TeamDraft::prepared(chain(), &BTreeMap::new(), by("ann")).is_err());
}

#[test]
fn a_delegation_that_is_planned_says_so_and_one_that_is_forged_is_refused() {
    let unsigned = [("targets".to_owned(), targets(&[&key(9)]))];
    assert!(matches!(
        Chain::new(&root(), &unsigned),
        Err(CeremonyError::Malformed(_))
    ));
    let mut planned = Chain::top(serde_json::from_slice(&root()).unwrap()).unwrap();
    let file = serde_json::from_slice(&targets(&[])).unwrap();
    planned.push("targets", file, true).unwrap();
    let draft = TeamDraft::new(planned, "team-a", None, proposal(None).into_signed(), by("ann")).unwrap();
    let read = TeamDraft::parse(&draft.to_bytes()).unwrap();
    assert!(read.chain().lines()[0].contains("a draft itself"));
    let mut file = value(&draft);
    file["above"][0]["planned"] = json!(false);
    refused(&file, "the file of `targets` that it carries");
}

proptest! {
    #[test]
    fn no_damage_passes_unseen(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut whole = draft();
        add(&mut whole, 2).unwrap();
        let bytes = whole.to_bytes();
        let mut damaged = bytes.clone();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        if let Ok(read) = TeamDraft::parse(&damaged) {
            // Names of people and times of the record may be anything; what is signed, and by whom, may not.
            prop_assert_eq!(read.parts()[0].file().unwrap(), whole.parts()[0].file().unwrap());
            prop_assert_eq!(read.parts()[0].changes(), whole.parts()[0].changes());
            prop_assert_eq!(TeamDraft::parse(&read.to_bytes()).unwrap().to_bytes(), read.to_bytes());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(TeamDraft::parse(&bytes).is_err());
    }
}
