//! Chains of roots: the client takes the very roots that a slow count of their signatures says it must take.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tufgate::client::trusted::Trusted;

use super::{
    choices::Choices,
    forge::{KEYS, envelope, id, public, signature},
};

/// Keys that roots are signed with; the others sign the other roles.
const ROOT_KEYS: usize = 6;
/// When the client looks.
const NOW: &str = "2030-01-01T00:00:00Z";

/// What decides about a root, as it was made and not as it was written.
#[derive(Clone, Debug)]
struct Made {
    version: u64,
    /// Keys of the root role.
    keys: BTreeSet<usize>,
    threshold: u64,
    /// Keys whose signature is good.
    signed: BTreeSet<usize>,
    /// Not the form of a root at all.
    broken: bool,
}

impl Made {
    /// Enough keys of `by` signed this root.
    fn meets(&self, by: &Self) -> bool {
        by.threshold > 0 && by.keys.intersection(&self.signed).count() as u64 >= by.threshold
    }
}

/// Tries one.
pub fn run(input: &[u8]) {
    let choices = &mut Choices::of(input);
    let now = NOW.parse().unwrap();
    let (first, bytes) = root(choices, 1);
    let sound = !first.broken && first.meets(&first) && first.version > 0;
    let mut client = match Trusted::start(&bytes, now) {
        Ok(client) => client,
        Err(error) => return assert!(!sound, "{error}: {first:?}"),
    };
    assert!(sound, "{first:?} was taken");
    let mut trusted = first;
    while !choices.ended() {
        let (next, bytes) = root(choices, trusted.version + 1);
        let good = !next.broken && next.meets(&trusted) && next.meets(&next) && next.version == trusted.version + 1;
        match client.next_root(&bytes) {
            Ok(()) => assert!(good, "{next:?} was taken after {trusted:?}"),
            Err(error) => assert!(!good, "{error}: {next:?} after {trusted:?}"),
        }
        if good {
            trusted = next;
        }
        assert_eq!(client.root().version.get(), trusted.version);
    }
}

/// A chain of three good roots, and one that is refused.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![vec![0; 3], vec![1; 64], (0..=255).collect()]
}

/// A root: good for a byte of 0 at every choice.
fn root(choices: &mut Choices<'_>, due: u64) -> (Made, Vec<u8>) {
    let version = match choices.below(12) {
        8 => due - 1,
        9 => due + 1,
        10 => 0,
        11 => u64::MAX,
        _ => due,
    };
    let mut keys: BTreeSet<_> = choices.some(ROOT_KEYS).into_iter().collect();
    if keys.is_empty() {
        keys.insert(0);
    }
    let threshold = choices.one(&[1, 1, 2, 2, 3, 4, 0, u64::MAX]);

    let mut listed = Map::new();
    for key in keys.iter().copied().chain(ROOT_KEYS..ROOT_KEYS + 3) {
        listed.insert(id(key), public(key));
    }
    let ids: Vec<_> = keys.iter().map(|key| id(*key)).collect();
    let online = |key: usize| json!({"keyids": [id(key)], "threshold": 1});
    let mut signed = json!({
        "_type": "root", "spec_version": "1.0.31", "version": version, "expires": "2031-01-01T00:00:00Z",
        "consistent_snapshot": true, "keys": listed,
        "roles": {
            "root": {"keyids": ids, "threshold": threshold}, "timestamp": online(ROOT_KEYS),
            "snapshot": online(ROOT_KEYS + 1), "targets": online(ROOT_KEYS + 2),
        },
    });
    let mut broken = threshold == 0 || version == 0;
    match choices.below(24) {
        // An intermediate root may be past its time (TUF spec 5.3.3).
        15 => signed["expires"] = "2020-01-01T00:00:00Z".into(),
        16 => signed["x-unknown"] = json!({"kept": ["é", 1, null]}),
        17 => {
            signed["_type"] = "snapshot".into();
            broken = true;
        }
        18 => {
            signed["spec_version"] = "2.0.0".into();
            broken = true;
        }
        19 => {
            let roles = signed["roles"].as_object_mut().unwrap();
            roles.remove(choices.one(&["timestamp", "snapshot", "targets", "root"]));
            broken = true;
        }
        20 => {
            signed["version"] = json!(version as f64 + 0.5);
            broken = true;
        }
        21 => {
            signed["expires"] = "tomorrow".into();
            broken = true;
        }
        _ => {}
    }

    let mut good = BTreeSet::new();
    let mut signatures = Vec::new();
    // All root keys sign unless told otherwise: a chain of zeros is a good one.
    let absent = choices.some(KEYS.min(8));
    for key in 0..ROOT_KEYS {
        if absent.contains(&key) {
            continue;
        }
        let mut made = signature(&signed, key);
        let mut keyid = id(key);
        match choices.below(12) {
            8 => made = signature(&json!({"another": "file"}), key),
            9 => made = signature(&signed, (key + 1) % ROOT_KEYS),
            10 => made.truncate(100),
            11 => keyid = "00".repeat(32),
            _ => drop(good.insert(key)),
        }
        signatures.push(json!({"keyid": keyid, "sig": made}));
    }
    let mut bytes = envelope(&signed, &Value::from(signatures));
    if choices.once_in(16) {
        let at = choices.below(bytes.len().min(255));
        bytes.truncate(at);
        broken = true;
    }
    let made = Made {
        version,
        keys,
        threshold,
        signed: good,
        broken,
    };
    (made, bytes)
}
