//! Delegations: who may speak for a path is what a slow reading of the specification says.

use serde_json::{Value, json};

use super::{
    choices::Choices,
    forge::{id, keys, sha256},
    gate::{
        client::delegation::{check, roles_for},
        tuf::schema::Delegations,
    },
};

/// What patterns and paths are made of.
const ALPHABET: &[char] = &['a', 'b', '/', '*', '?', '[', ']', '!', 'A', '.', 'é', '\\'];
/// Names of roles; the last two are not allowed.
const NAMES: &[&str] = &[
    "one", "two", "three", "../up", "bins-0", "Targets", "é/", "", "snapshot",
];

/// Tries one.
pub fn run(input: &[u8]) {
    let choices = &mut Choices::of(input);
    let path = choices.text(8, ALPHABET);
    let (delegations, expected) = if choices.once_in(4) {
        bins(choices, &path)
    } else {
        roles(choices, &path)
    };
    let parsed: Delegations = serde_json::from_value(delegations.clone()).unwrap();
    let found = check(&parsed).and_then(|()| {
        let next = roles_for(&parsed, &path)?.into_iter();
        Ok(next.map(|next| (next.name, next.terminating)).collect::<Vec<_>>())
    });
    match (found, expected) {
        (Ok(found), Some(expected)) => assert_eq!(found, expected, "`{path}` in {delegations}"),
        (Err(_), None) => {}
        (found, expected) => panic!("`{path}` in {delegations}: {found:?}, but should be {expected:?}"),
    }
}

/// Some chains of choices.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        b"\x03\x00\x02\x01\x00\x02\x00\x00\x00\x00\x03\x00\x02\x03".to_vec(),
        b"\x05\x00\x01\x02\x00\x01\x03\x08".to_vec(),
    ]
}

/// What should come out: names and whether they end the search, or `None` for a refusal.
type Expected = Option<Vec<(String, bool)>>;

fn bins(choices: &mut Choices<'_>, path: &str) -> (Value, Expected) {
    let bits = choices.below(36);
    let bins = json!({"keyids": [id(0)], "threshold": 1, "bit_length": bits, "name_prefix": "bins"});
    let expected = (1..=32).contains(&bits).then(|| {
        let hash = sha256(path.as_bytes());
        let binary: String = hash[..8]
            .chars()
            .map(|digit| format!("{:04b}", digit.to_digit(16).unwrap()))
            .collect();
        let bin = u64::from_str_radix(&binary[..bits], 2).unwrap();
        let last = format!("{:x}", (1_u64 << bits) - 1);
        let name = format!("bins-{:0>width$}", format!("{bin:x}"), width = last.len());
        vec![(name, true)]
    });
    (json!({"keys": keys(&[0]), "succinct_roles": bins}), expected)
}

fn roles(choices: &mut Choices<'_>, path: &str) -> (Value, Expected) {
    let mut listed = Vec::new();
    let mut names = Vec::new();
    let mut speakers = Vec::new();
    let mut over = false;
    for _ in 0..choices.below(6) {
        let name = choices.one(NAMES);
        let terminating = choices.once_in(3);
        let patterns = choices.below(4);
        let mut role = json!({"name": name, "keyids": [id(0)], "threshold": 1, "terminating": terminating});
        let speaks = if choices.once_in(3) {
            let prefixes: Vec<_> = (0..patterns)
                .map(|_| {
                    let hash = sha256(if choices.once_in(2) { path } else { "another" }.as_bytes());
                    hash[..choices.below(65)].to_owned()
                })
                .collect();
            role["path_hash_prefixes"] = json!(prefixes);
            prefixes
                .iter()
                .any(|prefix| sha256(path.as_bytes()).starts_with(prefix))
        } else {
            let patterns: Vec<_> = (0..patterns).map(|_| choices.text(6, ALPHABET)).collect();
            role["paths"] = json!(patterns);
            patterns.iter().any(|pattern| {
                let pattern: Vec<_> = pattern.chars().collect();
                fits(&pattern, &path.chars().collect::<Vec<_>>())
            })
        };
        listed.push(role);
        if speaks && !over {
            speakers.push((name.to_owned(), terminating));
            over = terminating;
        }
        names.push(name);
    }
    let usable = |(at, name): (usize, &&str)| !["", "snapshot"].contains(name) && !names[..at].contains(name);
    let expected = names.iter().enumerate().all(usable).then_some(speakers);
    (json!({"keys": keys(&[0]), "roles": listed}), expected)
}

/// Every way to read the pattern is tried.
fn fits(pattern: &[char], path: &[char]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some(('*', rest)), next) => {
            fits(rest, path) || next.is_some_and(|(first, path)| *first != '/' && fits(pattern, path))
        }
        (Some(('?', rest)), Some((first, path))) => *first != '/' && fits(rest, path),
        (Some((same, rest)), Some((first, path))) => same == first && fits(rest, path),
        (Some(_), None) => false,
    }
}
