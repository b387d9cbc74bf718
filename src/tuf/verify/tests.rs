#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::json;

use super::{testing::*, *};
use crate::tuf::schema::Targets;

fn delegations(threshold: u64) -> Delegations {
    let role = json!({
        "name": "team", "keyids": [id(&key(1)), id(&key(2))], "threshold": threshold, "terminating": true, "paths": ["*"],
    });
    serde_json::from_value(json!({"keys": keys(&[&key(1), &key(2), &key(3)]), "roles": [role]})).unwrap()
}

fn team(threshold: u64) -> Keys {
    let delegations = delegations(threshold);
    Keys::of_role(&delegations, &delegations.roles.as_ref().unwrap()[0]).unwrap()
}

fn targets() -> Value {
    json!({
        "_type": "targets", "spec_version": "1.0.0", "version": 3, "expires": "2030-01-01T00:00:00Z",
        "targets": {"é/ü": {"length": 3, "hashes": {"sha256": "00"}}}, "unknown": {"to": ["us"]},
    })
}

fn verify(bytes: &[u8], keys: &Keys) -> Result<Targets, VerifyError> {
    Unverified::parse(bytes)?.verify(keys, "targets")
}

fn threshold(valid: u64, threshold: u64) -> Option<VerifyError> {
    Some(VerifyError::Threshold { valid, threshold })
}

#[test]
fn a_delegated_role_needs_its_threshold_of_its_own_keys() {
    let read = verify(&sign(&targets(), &[&key(1)]), &team(1)).unwrap();
    assert_eq!(read.version, 3);
    assert_eq!(read.extra["unknown"], json!({"to": ["us"]}));
    verify(&sign(&targets(), &[&key(2), &key(1)]), &team(2)).unwrap();
    assert_eq!(verify(&sign(&targets(), &[&key(1)]), &team(2)).err(), threshold(1, 2));
    assert_eq!(verify(&sign(&targets(), &[]), &team(1)).err(), threshold(0, 1));
    // Key 3 is listed, but not for this role.
    assert_eq!(verify(&sign(&targets(), &[&key(3)]), &team(1)).err(), threshold(0, 1));
    assert_eq!(
        verify(&sign(&targets(), &[&key(1), &key(3)]), &team(2)).err(),
        threshold(1, 2)
    );
}

#[test]
fn fields_unknown_to_us_are_covered() {
    let mut envelope: Value = serde_json::from_slice(&sign(&targets(), &[&key(1)])).unwrap();
    envelope["signed"]["unknown"]["to"] = json!(["you"]);
    assert_eq!(verify(envelope.to_string().as_bytes(), &team(1)).err(), threshold(0, 1));
}

#[test]
fn one_key_never_counts_twice() {
    let line = signature(&targets(), &key(1));
    let twice = json!({"signed": targets(), "signatures": [line, line]});
    assert!(matches!(
        verify(twice.to_string().as_bytes(), &team(2)),
        Err(VerifyError::Unjudged(_))
    ));
    let mut shouted = line.clone();
    shouted["keyid"] = line["keyid"].as_str().unwrap().to_uppercase().into();
    let spelled = json!({"signed": targets(), "signatures": [line, shouted]});
    assert!(verify(spelled.to_string().as_bytes(), &team(2)).is_err());

    // One key under two ids, which both sign.
    let mut delegations = delegations(2);
    let key_1 = delegations.keys[&id(&key(1))].clone();
    delegations.keys.insert("another".into(), key_1);
    let role = &mut delegations.roles.as_mut().unwrap()[0];
    role.keyids.push("another".into());
    let mut second = line.clone();
    second["keyid"] = "another".into();
    let keys = Keys::of_role(&delegations, &delegations.roles.as_ref().unwrap()[0]).unwrap();
    let both = json!({"signed": targets(), "signatures": [line, second]});
    assert_eq!(verify(both.to_string().as_bytes(), &keys).err(), threshold(1, 2));
    let with_2 = json!({"signed": targets(), "signatures": [line, second, signature(&targets(), &key(2))]});
    verify(with_2.to_string().as_bytes(), &keys).unwrap();

    // One id twice in the role's list.
    let role = &mut delegations.roles.as_mut().unwrap()[0];
    role.keyids.push("another".into());
    let role = &delegations.roles.as_ref().unwrap()[0];
    assert!(matches!(Keys::of_role(&delegations, role), Err(VerifyError::Keys(_))));
}

#[test]
fn key_ids_are_any_text() {
    let ids = ["", "k\u{e9}y", "../x", "zz", &"ab".repeat(32)];
    for name in ids {
        let listed = json!({
            "keys": {name: public(&key(1)), "future": {"keytype": "ml-dsa", "scheme": "x", "keyval": {"public": "?"}}},
            "roles": [{"name": "team", "keyids": [name, "future", "missing"], "threshold": 1, "terminating": true, "paths": ["*"]}],
        });
        let delegations: Delegations = serde_json::from_value(listed).unwrap();
        let keys = Keys::of_role(&delegations, &delegations.roles.as_ref().unwrap()[0]).unwrap();
        let mut line = signature(&targets(), &key(1));
        line["keyid"] = name.into();
        let junk = json!({"keyid": "future", "sig": "00"});
        let envelope = json!({"signed": targets(), "signatures": [junk, line]}).to_string();
        verify(envelope.as_bytes(), &keys).unwrap();
        line["keyid"] = "missing".into();
        let envelope = json!({"signed": targets(), "signatures": [line]}).to_string();
        assert_eq!(verify(envelope.as_bytes(), &keys).err(), threshold(0, 1), "{name}");
    }
}

#[test]
fn a_threshold_of_zero_is_unusable() {
    let delegations = delegations(0);
    let role = &delegations.roles.as_ref().unwrap()[0];
    assert!(matches!(Keys::of_role(&delegations, role), Err(VerifyError::Keys(_))));
}

#[test]
fn signatures_that_are_no_hex_do_no_harm() {
    let good = signature(&targets(), &key(1));
    let junk = json!([{"keyid": "zz", "sig": "zz"}, good, {"keyid": id(&key(2)), "sig": ""}]);
    let envelope = json!({"signed": targets(), "signatures": junk});
    verify(envelope.to_string().as_bytes(), &team(1)).unwrap();
    assert_eq!(verify(envelope.to_string().as_bytes(), &team(2)).err(), threshold(1, 2));
}

#[test]
fn a_twin_in_another_normal_form_cannot_be_slipped_in() {
    let mut envelope: Value = serde_json::from_slice(&sign(&targets(), &[&key(1)])).unwrap();
    let decomposed = "e\u{301}/u\u{308}";
    envelope["signed"]["targets"][decomposed] = json!({"length": 6, "hashes": {"sha256": "66"}});
    assert_eq!(verify(envelope.to_string().as_bytes(), &team(1)).err(), threshold(0, 1));
}

#[test]
fn metadata_of_another_kind_or_major_version_is_malformed() {
    for (field, value) in [
        ("_type", "snapshot"),
        ("_type", ""),
        ("spec_version", "2.0.0"),
        ("spec_version", "1"),
        ("spec_version", "1.x"),
        ("spec_version", "10.0"),
        ("version", "3"),
    ] {
        let mut signed = targets();
        signed[field] = value.into();
        let read = verify(&sign(&signed, &[&key(1)]), &team(1));
        assert!(
            matches!(read, Err(VerifyError::Malformed { .. })),
            "{field} {value}: {read:?}"
        );
    }
}

#[test]
fn a_root_is_signed_by_its_own_keys_and_lists_all_roles() {
    let mut signed = json!({
        "_type": "root", "spec_version": "1.0.0", "version": 1, "expires": "2030-01-01T00:00:00Z",
        "consistent_snapshot": true, "keys": keys(&[&key(1), &key(2)]),
        "roles": {
            "root": role(&[&key(1), &key(2)], 2), "timestamp": role(&[&key(1)], 1),
            "snapshot": role(&[&key(1)], 1), "targets": role(&[&key(1)], 1),
        },
    });
    let read = |bytes: &[u8]| Unverified::parse(bytes).unwrap().self_signed_root();
    read(&sign(&signed, &[&key(1), &key(2)])).unwrap();
    assert_eq!(read(&sign(&signed, &[&key(1)])).err(), threshold(1, 2));
    let mut wider = signed.clone();
    wider["roles"]["mirrors"] = role(&[&key(1)], 1);
    wider["roles"]["note"] = json!({"keyids": [], "threshold": 0});
    wider.as_object_mut().unwrap().remove("consistent_snapshot");
    let wider = read(&sign(&wider, &[&key(1), &key(2)])).unwrap();
    assert!(!wider.consistent_snapshot);
    assert_eq!(wider.roles.len(), 6);
    signed["roles"].as_object_mut().unwrap().remove("snapshot");
    let lacking = read(&sign(&signed, &[&key(1), &key(2)]));
    assert!(matches!(lacking, Err(VerifyError::Keys(_))), "{lacking:?}");
}

/// By python-tuf; see `fixtures/signatures/make`.
const ALL_TYPES: &[u8] = include_bytes!("../../../fixtures/signatures/root.json");

#[test]
fn every_type_of_key_signs_and_no_bad_signature_of_any_counts() {
    let root = Unverified::parse(ALL_TYPES).unwrap().self_signed_root().unwrap();
    assert_eq!(root.roles["root"].keyids.len(), 4);
    assert!(root.keys.values().all(|key| key.usable().is_some()));
    let envelope: Value = serde_json::from_slice(ALL_TYPES).unwrap();
    let judge = |envelope: &Value| {
        Unverified::parse(envelope.to_string().as_bytes())
            .unwrap()
            .self_signed_root()
            .err()
    };
    for line in 0..4 {
        let mut other = envelope.clone();
        let good = other["signatures"][line]["sig"].as_str().unwrap();
        let last = if good.ends_with('0') { "1" } else { "0" };
        other["signatures"][line]["sig"] = format!("{}{last}", &good[..good.len() - 1]).into();
        assert_eq!(judge(&other), threshold(3, 4), "{line}");
        other["signatures"].as_array_mut().unwrap().remove(line);
        assert_eq!(judge(&other), threshold(3, 4), "{line}");
    }
    let mut composed = envelope;
    composed["signed"]["x-text"]["a"] = "\u{e9}".into();
    assert_eq!(
        judge(&composed),
        threshold(0, 4),
        "the same text in another normal form is another"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_pass(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(verify(&bytes, &team(1)).is_err());
    }

    #[test]
    fn any_flipped_byte_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let signed = sign(&targets(), &[&key(1)]);
        let mut flipped = signed.clone();
        flipped[at.index(signed.len())] ^= 1 << bit;
        if let Ok(read) = verify(&flipped, &team(1)) {
            // A flip may change the case of a hex digit or the spelling of an escape, never the content.
            let original = verify(&signed, &team(1)).unwrap();
            prop_assert_eq!(read.version, original.version);
            prop_assert_eq!(read.targets, original.targets);
        }
    }
}
