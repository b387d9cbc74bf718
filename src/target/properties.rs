//! Properties of names, on random input: what the fuzz targets look for, in short.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use url::Url;

use super::*;

/// Text that is often, but not always, a canonical path: made of what has bitten somebody.
fn pathish() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => "[a-zA-Z0-9 ._~!$&'()*+,;=:@^|\"<>{}`\\[\\]-]{1,12}",
        2 => "[a-zéÅ中（\u{301}\u{338}\u{200f}\u{feff}☃\u{fe0f} .]{1,6}",
        1 => "[0-9a-f]{64}\\.[a-z]{0,3}",
        1 => ".{0,6}",
    ];
    prop::collection::vec(segment, 1..5).prop_map(|segments| segments.join("/"))
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

/// One spelling of a path: every character raw or escaped, hex in either case, as `choices` says.
fn respell(path: &str, choices: &[u8]) -> Vec<u8> {
    let mut out = b"/".to_vec();
    for (at, byte) in path.bytes().enumerate() {
        match choices.get(at % choices.len().max(1)).copied().unwrap_or(0) % 3 {
            _ if byte == b'/' => out.push(byte),
            0 => out.push(byte),
            1 => out.extend(format!("%{byte:02x}").bytes()),
            _ => out.extend(format!("%{byte:02X}").bytes()),
        }
    }
    out
}

proptest! {
    #[test]
    fn an_accepted_path_survives_its_encoding(text in pathish()) {
        if let Ok(path) = TargetPath::new(&text) {
            prop_assert_eq!(path.as_str(), &text);
            prop_assert!(path.encoded().is_ascii());
            prop_assert!(!path.encoded().contains([' ', '?', '#', '"', '\\']));
            prop_assert_eq!(name_of(&path.encoded()), Name::Canonical(path));
        }
    }

    #[test]
    fn every_spelling_of_a_path_is_that_path(text in pathish(), choices: Vec<u8>) {
        if let Ok(path) = TargetPath::new(&text) {
            prop_assert_eq!(name_of_bytes(&respell(&text, &choices)), Name::Canonical(path));
        }
    }

    #[test]
    fn different_paths_have_different_encodings(one in pathish(), other in pathish()) {
        if let (Ok(one), Ok(other)) = (TargetPath::new(&one), TargetPath::new(&other)) {
            prop_assert_eq!(one == other, one.encoded() == other.encoded());
        }
    }

    #[test]
    fn hash_prefixed_names_lead_back(text in pathish(), digest in digest()) {
        if let Ok(path) = TargetPath::new(&text) {
            for hashed in path.hashed(digest) {
                let raw = respell(&hashed, &[1]);
                let Name::Hashed { readings, literal } = name_of_bytes(&raw) else {
                    return Err(TestCaseError::fail(hashed));
                };
                prop_assert!(readings.contains(&(path.clone(), digest)));
                prop_assert_eq!(literal, hashed);
            }
        }
    }

    /// tough joins `H.dir/name` to its base URL; tuf-js, sigstore-tuf and others append and parse the whole.
    #[test]
    fn url_joining_arrives_at_the_same_path(text in pathish(), digest in digest()) {
        let base = Url::parse("http://gate.example:8080/repo/").unwrap();
        if let Ok(path) = TargetPath::new(&text) {
            let [last, first] = path.hashed(digest);
            for name in [text, last, first] {
                for url in [base.join(&name).unwrap(), Url::parse(&format!("{base}{name}")).unwrap()] {
                    prop_assert_eq!(url.origin(), base.origin());
                    prop_assert_eq!((url.query(), url.fragment()), (None, None));
                    let arrived = name_of(url.path().strip_prefix("/repo").unwrap());
                    prop_assert_eq!(arrived, name_of_bytes(&respell(&name, &[1])), "{}", url);
                }
            }
        }
    }

    /// tuf-js sorts names by UTF-16 unit, other clients by code point: an accepted pair must not tell them apart.
    #[test]
    fn clients_agree_on_the_order_of_names(
        start in "[a-z/]{0,2}x",
        one in "[a\u{e000}（\u{fffd}😀𠮷]",
        other in "[a\u{e000}（\u{fffd}😀𠮷]",
    ) {
        if let (Ok(one), Ok(other)) = (TargetPath::new(&(start.clone() + &one)), TargetPath::new(&(start + &other))) {
            let utf16 = one.as_str().encode_utf16().cmp(other.as_str().encode_utf16());
            prop_assert_eq!(one.as_str().cmp(other.as_str()), utf16);
        }
    }

    #[test]
    fn no_bytes_panic_and_what_is_accepted_is_canonical(raw: Vec<u8>, text in "/?.{0,40}") {
        for raw in [raw.as_slice(), text.as_bytes()] {
            let _ = split_target(raw);
            match name_of_bytes(raw) {
                Name::Canonical(path) => {
                    prop_assert_eq!(TargetPath::new(path.as_str()), Ok(path.clone()));
                    prop_assert_eq!(name_of(&path.encoded()), Name::Canonical(path));
                }
                Name::Hashed { literal, .. } => prop_assert!(TargetPath::new(&literal).is_err()),
                Name::Index | Name::None(_) => {}
            }
        }
    }
}
