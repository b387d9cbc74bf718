//! Chains of roots: the client takes the very roots that a slow count of their signatures says it must take.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    choices::Choices,
    forge::{envelope, id, public, signature},
    gate::client::trusted::Trusted,
};

/// Keys that may be root's, and those of the three other roles.
const KEYS: usize = 5;
const ONLINE: [(&str, usize); 3] = [("timestamp", 5), ("snapshot", 6), ("targets", 7)];
/// Most roots in a chain.
const STEPS: usize = 6;
/// When the client looks.
const NOW: &str = "2030-01-01T00:00:00Z";

/// What decides about a root, as it was made and not as it was written.
#[derive(Clone, Debug)]
struct Made {
    version: u64,
    threshold: u64,
    /// The key behind each id of the root role; `None` where there is none that verifies.
    role: BTreeMap<String, Option<usize>>,
    /// The key that made the signature under each id; `None` for one that is nobody's.
    signatures: Vec<(String, Option<usize>)>,
    /// Not the form of a root at all.
    broken: bool,
}

impl Made {
    /// Enough keys of `by` signed this root. A key counts once, whatever its ids.
    fn meets(&self, by: &Self) -> bool {
        let mut signed = BTreeSet::new();
        for (id, signer) in &self.signatures {
            let Some(key) = by.role.get(id) else { continue };
            if key.is_some() && key == signer {
                signed.insert(key);
            }
        }
        signed.len() as u64 >= by.threshold
    }

    /// Whether it may be a root of any repository.
    fn sound(&self) -> bool {
        let signers: BTreeSet<_> = self.signatures.iter().map(|(id, _)| id).collect();
        !self.broken
            && self.version > 0
            && self.threshold > 0
            && signers.len() == self.signatures.len()
            && self.meets(self)
    }
}

/// Tries one.
pub fn run(input: &[u8]) {
    let choices = &mut Choices::of(input);
    let now = NOW.parse().unwrap();
    let (first, bytes) = root(choices, 1);
    let mut client = match Trusted::start(&bytes, now) {
        Ok(client) => client,
        Err(error) => return assert!(!first.sound(), "{error}: {first:?}"),
    };
    assert!(first.sound(), "{first:?} was taken");
    let mut trusted = first;
    for _ in 0..STEPS {
        if choices.ended() {
            break;
        }
        let due = trusted.version.wrapping_add(1);
        let (next, bytes) = root(choices, due);
        let good = next.sound() && next.meets(&trusted) && next.version == due;
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

/// Chains of good roots, and some of anything.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![vec![0; 2], vec![0; 80], vec![1; 64], (0..=255).collect()]
}

/// A root; a good one where every choice is 0.
fn root(choices: &mut Choices<'_>, due: u64) -> (Made, Vec<u8>) {
    let version = match choices.below(12) {
        8 => due.wrapping_sub(1),
        9 => due.wrapping_add(1),
        10 => 0,
        11 => u64::MAX,
        _ => due,
    };
    let threshold = choices.one(&[1, 1, 1, 2, 2, 3, 4, 0, u64::MAX]);
    let mut broken = false;

    let mut keys = Map::new();
    let mut role = BTreeMap::new();
    let mut keyids = Vec::new();
    let absent = choices.some(KEYS);
    for key in (0..KEYS).filter(|key| !absent.contains(key)) {
        // Ids are any text (TAP 12), so that one key may have several and an id may change its key.
        let style = choices.below(16);
        let ids = match style {
            8 => vec![format!("key-{key}")],
            9 => vec![id(key), format!("key-{key}")],
            10 => vec!["shared".to_owned()],
            11 => vec![format!("é\"{key}")],
            _ => vec![id(key)],
        };
        for id in ids {
            let listed = match style {
                12 => json!({"keytype": "future", "scheme": "future-1", "keyval": {"public": "00"}}),
                13 => json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00"}}),
                _ => public(key),
            };
            let verifies = !matches!(style, 12..=14);
            if style != 14 {
                keys.insert(id.clone(), listed);
            }
            broken |= role.insert(id.clone(), verifies.then_some(key)).is_some();
            keyids.push(id);
        }
    }
    let mut roles = json!({"root": {"keyids": keyids, "threshold": threshold}});
    for (name, key) in ONLINE {
        keys.insert(id(key), public(key));
        roles[name] = json!({"keyids": [id(key)], "threshold": 1});
    }
    let mut signed = json!({
        "_type": "root", "spec_version": "1.0.31", "version": version, "expires": "2031-01-01T00:00:00Z",
        "consistent_snapshot": true, "keys": keys, "roles": roles,
    });
    broken |= bend(choices, &mut signed);

    let mut lines = Vec::new();
    let mut signatures = Vec::new();
    let absent = choices.some(KEYS);
    for key in (0..KEYS).filter(|key| !absent.contains(key)) {
        let good = signature(&signed, key);
        let made = match choices.below(16) {
            8 => vec![(format!("key-{key}"), good, Some(key))],
            9 => vec![
                (id(key), good.clone(), Some(key)),
                (format!("key-{key}"), good, Some(key)),
            ],
            10 => vec![("shared".to_owned(), good, Some(key))],
            11 => vec![(format!("é\"{key}"), good, Some(key))],
            12 => vec![(id(key), signature(&json!({"another": "file"}), key), None)],
            13 => vec![(id(key), signature(&signed, (key + 1) % KEYS), Some((key + 1) % KEYS))],
            14 => vec![(id(key), "no hex".to_owned(), None)],
            15 => vec![(id(key), good[..100].to_owned(), None)],
            _ => vec![(id(key), good, Some(key))],
        };
        for (id, sig, signer) in made {
            lines.push(json!({"keyid": id, "sig": sig}));
            signatures.push((id, signer));
        }
    }
    let mut bytes = envelope(&signed, &Value::from(lines));
    if choices.once_in(16) {
        bytes.truncate(choices.below(255));
        broken = true;
    }
    let made = Made {
        version,
        threshold,
        role,
        signatures,
        broken,
    };
    (made, bytes)
}

/// Changes what stands in a root beside its keys; whether it is no root any more.
fn bend(choices: &mut Choices<'_>, signed: &mut Value) -> bool {
    match choices.below(24) {
        // An intermediate root may be past its time (TUF spec 5.3.3), and one may list what is unknown.
        15 => signed["expires"] = "2020-01-01T00:00:00Z".into(),
        16 => signed["x-unknown"] = json!({"kept": ["é", "e\u{301}", 1, null], "a b": 1, "a": 2}),
        17 => signed["_type"] = "snapshot".into(),
        18 => signed["spec_version"] = "2.0.0".into(),
        19 => {
            let role = choices.one(&["timestamp", "snapshot", "targets", "root"]);
            signed["roles"].as_object_mut().map(|roles| roles.remove(role));
        }
        20 => signed["version"] = json!(1.5),
        21 => signed["expires"] = "tomorrow".into(),
        22 => signed["roles"]["snapshot"]["threshold"] = 0.into(),
        _ => return false,
    }
    !matches!(signed["expires"].as_str(), Some("2020-01-01T00:00:00Z")) && signed.get("x-unknown").is_none()
}
