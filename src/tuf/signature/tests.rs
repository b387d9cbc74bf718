#![expect(clippy::unwrap_used, reason = "tests")]

use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;
use serde_json::json;
use unicode_normalization::UnicodeNormalization as _;

use super::*;
use crate::tuf::verify::testing::{key, public};

fn listed(key: &SigningKey) -> Key {
    serde_json::from_value(public(key)).unwrap()
}

/// A signature of our canonical bytes.
fn sign(value: &Value, by: u8) -> (Key, Vec<u8>) {
    let by = key(by);
    let signature = by.sign(&canonical::to_vec(value).unwrap());
    (listed(&by), signature.to_bytes().to_vec())
}

fn judge(value: &Value, lines: &[(Key, Vec<u8>)], threshold: u64) -> Result<(), VerifyError> {
    let lines: Vec<_> = lines.iter().map(|(key, signature)| (key, &signature[..])).collect();
    check(value, &lines, NonZeroU64::new(threshold).unwrap())
}

/// Text that tough encodes in another way than the specification says.
const UNLIKE: [&str; 6] = ["e\u{301}", "\u{212b}", "a b", "a!", "a\"", "a\\"];

#[test]
fn text_that_tough_encodes_otherwise_is_verified_as_it_stands() {
    for text in UNLIKE {
        let value = json!({"a": 1, text: {"x": [text]}});
        assert!(!encoded_alike(&value), "{text:?}");
        judge(&value, &[sign(&value, 1), sign(&value, 2)], 2).unwrap();
        let other = json!({"a": 2, text: {"x": [text]}});
        let missed = VerifyError::Threshold { valid: 0, threshold: 1 };
        assert_eq!(judge(&other, &[sign(&value, 1)], 1), Err(missed), "{text:?}");
    }
}

#[test]
fn a_twin_in_another_normal_form_is_other_bytes() {
    let honest = json!({"targets": {"\u{e9}": 1}});
    for twin in [
        json!({"targets": {"\u{e9}": 1, "e\u{301}": 2}}),
        json!({"targets": {"e\u{301}": 1}}),
    ] {
        assert!(judge(&twin, &[sign(&honest, 1)], 1).is_err(), "{twin}");
        // Nor does a signature over the twin cover the honest form.
        assert!(judge(&honest, &[sign(&twin, 1)], 1).is_err(), "{twin}");
    }
}

#[test]
fn a_key_counts_once_however_many_lines_it_has() {
    let value = json!({"a": 1});
    let (good, bad) = (sign(&value, 1), sign(&json!({"a": 2}), 1));
    judge(&value, &[bad.clone(), good.clone()], 1).unwrap();
    let short = VerifyError::Threshold { valid: 1, threshold: 2 };
    assert_eq!(judge(&value, &[good.clone(), good.clone(), bad], 2), Err(short));
    judge(&value, &[good.clone(), good, sign(&value, 2)], 2).unwrap();
}

#[test]
fn floats_cannot_be_judged() {
    for value in [json!({"a": 1.5}), json!({"a b": 1.5})] {
        let judged = judge(&value, &[(listed(&key(1)), vec![0; 64])], 1);
        assert!(matches!(judged, Err(VerifyError::Unjudged(_))), "{judged:?}");
    }
}

proptest! {
    #[test]
    fn both_ways_agree(text in ".{0,12}", other in "[a-z]{1,6}", flip in any::<bool>()) {
        let text: String = text.nfc().filter(|&c| c > '"' && c != '\\').collect();
        prop_assume!(text != other);
        let value = json!({"signed": {&text: &text, &other: [1, null]}});
        prop_assert!(encoded_alike(&value));
        let (first, mut second) = (sign(&value, 1), sign(&value, 2));
        second.1[7] ^= u8::from(flip);
        let lines = [(&first.0, &first.1[..]), (&second.0, &second.1[..])];
        let by_key = lines.map(|line| vec![line]);
        let two = NonZeroU64::new(2).unwrap();
        let tough = by_tough(&value, &lines, two);
        prop_assert_eq!(tough.is_ok(), !flip);
        prop_assert_eq!(tough, directly(&value, by_key.iter(), two));
    }
}
