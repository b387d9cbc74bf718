//! Paths without canonical form: none that a server folds to a tracked path is passed on.

use std::sync::LazyLock;

use super::gate::{
    policy::{Admission, Kind, Policy, Rule},
    target::split_target,
};

/// What nginx makes of a path: one round of decoding, `//` merged, dot segments resolved.
fn nginx(raw: &[u8]) -> Vec<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut rest = raw;
    while let [first, tail @ ..] = rest {
        let escape = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    let mut stack: Vec<Vec<u8>> = Vec::new();
    for segment in decoded.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(stack.pop()),
            name => stack.push(name.to_vec()),
        }
    }
    stack
}

/// Tries one.
pub fn run(target: &[u8]) {
    static POLICY: LazyLock<Policy> = LazyLock::new(|| {
        Policy::new(vec![
            Rule::new("docs/**", Kind::Ignore).unwrap(),
            Rule::new("releases/*.jar", Kind::Immutable).unwrap(),
        ])
    });
    let Some((raw, _)) = split_target(target) else { return };
    if let Admission::Unnamed(why) = POLICY.admit(raw) {
        let tracked =
            matches!(nginx(raw).as_slice(), [folder, file] if folder == b"releases" && file.ends_with(b".jar"));
        assert!(!tracked, "passed, although {why}");
    }
}
