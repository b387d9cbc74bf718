use super::*;
use crate::inspect::{
    Place,
    facts::{Forms, KeyFact, Served, Sized},
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
