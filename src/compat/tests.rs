use super::*;

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
    let worst = |client: &Client| reasons(*client, facts).iter().map(|reason| reason.effect).max();
    let fares = |client: &Client| worst(client).unwrap_or(Effect::Works);
    Client::ALL
        .into_iter()
        .filter(|client| fares(client) == effect)
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
    let told = Client::ALL
        .into_iter()
        .filter(|client| !reasons(*client, &colon).is_empty());
    assert_eq!(told.collect::<Vec<_>>(), [Tough]);
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
fn clients_have_names_of_their_own_and_every_line_a_source() {
    for client in Client::ALL {
        assert_eq!(Client::of_key(client.key()), Some(client));
        assert!(client.limits().count() > 5, "{client}");
    }
    assert!(LIMITS.iter().all(|line| !line.source.is_empty()));
    assert_eq!(Client::of_key("vi"), None);
}

#[test]
fn whatever_is_read_in_the_better_view_is_no_fault() {
    assert_eq!(bins(600_000, 700, &Client::BINS), []);
    let broken = bins(5_000_001, 700, &Client::BINS);
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert_eq!(
        broken[0].clients,
        [SigstoreTuf],
        "tough reads 10 MiB, the others the other view"
    );
    assert_eq!(
        bins(0, 0, &Client::ALL)
            .iter()
            .flat_map(|one| one.clients.clone())
            .collect::<Vec<_>>(),
        [RustTuf, SigstoreJava]
    );
}

#[test]
fn a_submitted_role_is_judged_in_one_call() {
    let role = |signed: serde_json::Value| {
        let found = role("team", &signed, 1_000, &Client::BINS);
        found.into_iter().map(|one| (one.rule, one.clients)).collect::<Vec<_>>()
    };
    let row = serde_json::json!({"length": 1, "hashes": {"sha256": "00"}});
    let plain = serde_json::json!({"version": 1, "targets": {"a/b": row}});
    assert_eq!(role(plain.clone()), []);
    let mut odd = plain.clone();
    odd["targets"]["e\u{301}"] = row.clone();
    odd["version"] = (1_u64 << 53).into();
    assert_eq!(role(odd), [("name", vec![Tough]), ("integer-size", vec![TufJs])]);
    let mut below = plain;
    below["delegations"] = serde_json::json!({"keys": {}, "roles": [{"path_hash_prefixes": ["ab"]}]});
    assert_eq!(role(below), [("delegation-form", vec![GoTuf])]);
}

#[test]
fn a_plain_target_costs_no_look_at_the_table() {
    assert_eq!(target("a/b-1.0.tar.gz", 1 << 20, &Client::ALL), []);
    assert_eq!(target("a/b", 1 << 31, &Client::ALL)[0].clients, [SigstoreJava]);
    assert_eq!(target("__proto__", 1, &Client::ALL), [], "it harms itself alone");
}
