//! Keys, thresholds and signatures, one at a time: a client asks whether enough are good, a walk asks which are not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Code, Place, document::Document, finding::Findings};
use crate::{
    compat::KeyFact,
    tuf::{canonical, key::PublicKey, verify::verifies},
};

/// Key id to key, of a root or a delegation, as they stand there.
pub type Ring = Arc<BTreeMap<String, PublicKey>>;

/// Who may sign a role, and how many must.
#[derive(Clone, Debug)]
pub struct Signers {
    /// The keys that are listed beside the role.
    pub ring: Ring,
    /// Those of the role.
    pub keyids: Vec<String>,
    /// How many must sign.
    pub threshold: u64,
}

/// Reads a `keys` object and tells which ids and kinds will hurt whom.
pub fn ring(keys: Option<&Value>, place: &Place, facts: &mut Vec<KeyFact>, findings: &mut Findings) -> Ring {
    let empty = Map::new();
    let keys = keys.and_then(Value::as_object).unwrap_or_else(|| {
        findings.error(Code::MetadataField, place, "it has no `keys` object");
        &empty
    });
    let mut ring = BTreeMap::new();
    for (id, key) in keys {
        let fact = KeyFact::of(id, key);
        if !fact.computed {
            let message =
                format!("the key id `{id}` is not the key's digest: tough refuses the file, rust-tuf drops the key");
            findings.warning(Code::KeyidNotComputed, place, message);
        }
        let kind = &fact.kind;
        let Ok(public) = PublicKey::deserialize(key) else {
            findings.error(Code::KeyInvalid, place, format_args!("the key `{id}` cannot be read"));
            continue;
        };
        if !fact.known {
            let message = format!("the key `{id}` is of the kind `{kind}`, which the specification does not know");
            findings.warning(Code::KeyTypeUnknown, place, message);
        } else if public.usable().is_none() {
            findings.error(
                Code::KeyInvalid,
                place,
                format_args!("the key `{id}` cannot be read as `{kind}`"),
            );
        }
        facts.push(fact);
        ring.insert(id.clone(), public);
    }
    let mut owners = BTreeMap::new();
    for (id, key) in &ring {
        if let Some(identity) = key.identity()
            && let Some(other) = owners.insert(identity, id)
        {
            let message = format!("`{other}` and `{id}` are ids of one key, which so could sign twice");
            findings.error(Code::KeyTwice, place, message);
        }
    }
    drop(owners);
    Arc::new(ring)
}

/// Reads `{keyids, threshold}` and tells whether it can be met.
pub fn signers(
    ring: &Ring,
    role: Option<&Value>,
    name: &str,
    place: &Place,
    findings: &mut Findings,
) -> Option<Signers> {
    #[derive(Deserialize)]
    struct Role {
        keyids: Vec<String>,
        threshold: u64,
    }
    let read = role.map(Role::deserialize);
    let Some(Ok(Role { keyids, threshold })) = read else {
        findings.error(
            Code::MetadataField,
            place,
            format_args!("the role `{name}` has no usable `keyids` and `threshold`"),
        );
        return None;
    };
    let distinct: BTreeSet<&String> = keyids.iter().collect();
    if distinct.len() < keyids.len() {
        findings.error(
            Code::KeyTwice,
            place,
            format_args!("the role `{name}` lists a key id twice"),
        );
    }
    for id in &distinct {
        if !ring.contains_key(*id) {
            findings.error(
                Code::KeyMissing,
                place,
                format_args!("the role `{name}` lists the key id `{id}`, which is no key here"),
            );
        }
    }
    if threshold == 0 {
        let message = format!("the role `{name}` has the threshold 0: anybody could sign it");
        findings.error(Code::ThresholdImpossible, place, message);
    } else if threshold > distinct.len() as u64 {
        let message = format!(
            "the role `{name}` needs {threshold} signatures and has {} keys",
            distinct.len()
        );
        findings.error(Code::ThresholdImpossible, place, message);
    }
    Some(Signers {
        ring: ring.clone(),
        keyids,
        threshold,
    })
}

/// Tells of keys that no role uses.
pub fn unused<'a>(ring: &Ring, used: impl IntoIterator<Item = &'a Signers>, place: &Place, findings: &mut Findings) {
    let used: BTreeSet<&String> = used.into_iter().flat_map(|signers| &signers.keyids).collect();
    for id in ring.keys().filter(|id| !used.contains(id)) {
        findings.note(Code::KeyUnused, place, format_args!("no role here uses the key `{id}`"));
    }
}

impl Signers {
    /// Judges every signature of a file; `true` when there are enough good ones. `by` names who asks for them.
    pub fn check(&self, document: &Document, by: &str, place: &Place, findings: &mut Findings) -> bool {
        let listed: BTreeSet<_> = self.keyids.iter().collect();
        let mut seen = BTreeSet::new();
        let mut good = BTreeSet::new();
        for (id, signature) in &document.signatures {
            if !seen.insert(id) {
                let message = format!("the key id `{id}` signs twice: clients refuse the file");
                findings.error(Code::SignatureDuplicate, place, message);
                continue;
            }
            let key = listed.contains(id).then(|| self.ring.get(id)).flatten();
            let Some(key) = key else {
                let message = format!("`{id}` signs it, which {by} does not list for it");
                findings.note(Code::SignatureUnknownKey, place, message);
                continue;
            };
            let Some(signature) = signature else { continue };
            match verifies(key, &document.signed, signature) {
                Some(true) => {
                    good.insert(key.identity());
                }
                Some(false) => findings.warning(
                    Code::SignatureInvalid,
                    place,
                    format_args!("the signature by `{id}` is wrong"),
                ),
                // Told where the key stands.
                None => {}
            }
        }
        let enough = good.len() as u64 >= self.threshold && self.threshold > 0;
        if !enough {
            let message = format!(
                "{} of {} signatures that {by} asks for are good",
                good.len(),
                self.threshold
            );
            findings.error(Code::SignatureThreshold, place, message);
        }
        enough
    }

    /// The keys themselves, whatever their ids.
    pub fn keys(&self) -> BTreeSet<Vec<u8>> {
        let keys = self.keyids.iter().filter_map(|id| self.ring.get(id));
        keys.filter_map(|key| canonical::to_vec(key).ok()).collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::digest::Digest;
    use crate::tuf::verify::testing::{self as made, key};

    fn place() -> Place {
        Place::file("x")
    }

    fn told(keys: Value, role: Value) -> Vec<&'static str> {
        let (mut facts, mut findings) = (Vec::new(), Findings::default());
        let ring = ring(Some(&keys), &place(), &mut facts, &mut findings);
        let signers = signers(&ring, Some(&role), "root", &place(), &mut findings);
        unused(&ring, &signers, &place(), &mut findings);
        findings.codes()
    }

    #[test]
    fn rings_and_thresholds_are_judged() {
        let (a, b) = (key(1), key(2));
        let good = made::keys(&[&a, &b]);
        assert_eq!(told(good.clone(), made::role(&[&a, &b], 2)), Vec::<&str>::new());
        assert_eq!(told(good.clone(), made::role(&[&a], 1)), ["key-unused"]);
        assert_eq!(told(good.clone(), made::role(&[&a, &b], 3)), ["threshold-impossible"]);
        assert_eq!(told(good.clone(), made::role(&[&a, &b], 0)), ["threshold-impossible"]);
        assert_eq!(told(good.clone(), made::role(&[&a, &b, &key(3)], 1)), ["key-missing"]);
        assert_eq!(told(good.clone(), made::role(&[&a, &b, &a], 2)), ["key-twice"]);
        assert_eq!(
            told(good.clone(), json!({"keyids": "x"})),
            ["metadata-field", "key-unused", "key-unused"]
        );
        let opaque = json!({"one": made::public(&a)});
        let one = json!({"keyids": ["one"], "threshold": 1});
        assert_eq!(told(opaque, one), ["keyid-not-computed"]);
        let twice = json!({"one": made::public(&a), "two": made::public(&a)});
        let both = json!({"keyids": ["one", "two"], "threshold": 2});
        assert_eq!(
            told(twice, both),
            ["keyid-not-computed", "keyid-not-computed", "key-twice"]
        );
        let mut odd = made::public(&a);
        odd["keytype"] = "sphincs".into();
        let id = Digest::of(made::canonical(&odd)).to_string();
        assert_eq!(
            told(json!({&id: odd}), json!({"keyids": [id], "threshold": 1})),
            ["key-type-unknown"]
        );
    }

    fn judged(by: &[(u8, bool)], threshold: u64) -> (bool, Vec<&'static str>) {
        let signed = json!({"_type": "targets", "e\u{301}": 1});
        let canonical = canonical::to_vec(&signed).unwrap();
        let document = Document {
            signatures: by
                .iter()
                .map(|(seed, good)| {
                    use ed25519_dalek::Signer as _;
                    let mut sig = key(*seed).sign(&canonical).to_bytes().to_vec();
                    sig[0] ^= u8::from(!good);
                    (made::id(&key(*seed)), Some(sig))
                })
                .collect(),
            canonical: Some(canonical),
            signed,
            length: 0,
            digest: Digest::of(""),
        };
        let (mut facts, mut findings) = (Vec::new(), Findings::default());
        let ring = ring(
            Some(&made::keys(&[&key(1), &key(2)])),
            &place(),
            &mut facts,
            &mut findings,
        );
        let role = made::role(&[&key(1), &key(2)], threshold);
        let signers = signers(&ring, Some(&role), "x", &place(), &mut findings).unwrap();
        let enough = signers.check(&document, "root", &place(), &mut findings);
        (enough, findings.codes())
    }

    #[test]
    fn each_signature_is_judged() {
        assert_eq!(judged(&[(1, true), (2, true)], 2), (true, vec![]));
        assert_eq!(judged(&[(1, true), (2, false)], 1), (true, vec!["signature-invalid"]));
        assert_eq!(
            judged(&[(1, true), (2, false)], 2),
            (false, vec!["signature-invalid", "signature-threshold"])
        );
        assert_eq!(
            judged(&[(1, true), (3, true)], 1),
            (true, vec!["signature-unknown-key"])
        );
        assert_eq!(
            judged(&[(1, true), (1, true)], 2),
            (false, vec!["signature-duplicate", "signature-threshold"])
        );
    }
}
