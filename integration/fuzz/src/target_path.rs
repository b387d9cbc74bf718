//! Request targets: nothing panics, and what is accepted keeps its meaning wherever a client takes it.

use super::gate::{
    digest::Digest,
    target::{Name, TargetPath, name_of, name_of_bytes, split_target},
};
use url::Url;

/// Tries one.
pub fn run(target: &[u8]) {
    let Some((raw, _)) = split_target(target) else { return };
    let path = match name_of_bytes(raw) {
        Name::Canonical(path) => path,
        Name::Hashed { literal, .. } => return assert!(TargetPath::new(&literal).is_err()),
        Name::Index | Name::None(_) => return,
    };
    assert_eq!(TargetPath::new(path.as_str()), Ok(path.clone()));
    assert_eq!(name_of(&path.encoded()), Name::Canonical(path.clone()));

    let digest = Digest::of(target);
    let base = Url::parse("http://gate.example/repo/").unwrap();
    let arrives = |name: &str| {
        let url = base.join(name).unwrap();
        assert_eq!(
            (url.origin(), url.query(), url.fragment()),
            (base.origin(), None, None),
            "{url}"
        );
        name_of(url.path().strip_prefix("/repo").unwrap())
    };
    assert_eq!(arrives(path.as_str()), Name::Canonical(path.clone()));
    for name in path.hashed(digest) {
        let Name::Hashed { readings, .. } = arrives(&name) else {
            panic!("{name}")
        };
        assert!(readings.contains(&(path.clone(), digest)), "{name}");
    }
}

/// The names of `fixtures/names.jsonl`.
pub fn seeds() -> Vec<Vec<u8>> {
    let names = include_str!("../../../fixtures/names.jsonl").lines();
    names
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|case| Some(case.get("raw")?.as_str()?.as_bytes().to_vec()))
        .collect()
}
