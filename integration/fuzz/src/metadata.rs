//! Metadata of every kind: strict JSON is what its grammar says, what is signed is what its canonical form says, and what
//! is believed says nothing else than the signed bytes do.

use serde_json::{Map, Value, json};

use super::{
    forge::{KEYS, id, keys, metadata, public, role, sign, signature},
    gate::{
        client::{delegation::roles_for, trusted::Trusted},
        tuf::{
            canonical, json,
            schema::{Delegations, Listing, Root, Targets},
            verify::{Keys, Unverified},
        },
    },
    naive_json,
};

/// `_type` of each kind.
const KINDS: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];
/// When the client looks.
const NOW: &str = "2030-01-01T00:00:00Z";

/// Tries one: its first byte says which kind, the others are the file, or with the highest bit what is to be signed.
pub fn run(input: &[u8]) {
    let Some((kind, text)) = input.split_first() else {
        return;
    };
    let value = naive_json::parse(text);
    match (json::parse(text), &value) {
        (Ok(found), Some(value)) => assert_eq!(&found, value),
        (Err(_), None) => {}
        (found, value) => panic!("{found:?}, but should be {value:?}"),
    }
    let place = usize::from(kind & 3);
    if kind & 0x80 == 0 {
        believe(place, text);
    } else if let Some(value) = value {
        believe(place, &sign(&value, &[place]));
        let by_hand = super::forge::canonical(&value);
        assert_eq!(canonical::to_vec(&value).ok(), Some(by_hand));
    }
}

/// A good file of each kind, signed and to be signed.
pub fn seeds() -> Vec<Vec<u8>> {
    let all = [root(), timestamp(), snapshot(), targets(), delegator()];
    let mut seeds = Vec::new();
    for signed in all {
        let place = KINDS
            .iter()
            .position(|kind| signed["_type"] == *kind)
            .unwrap_or_default();
        seeds.push([&[place as u8][..], &sign(&signed, &[place])].concat());
        seeds.push([&[0x80 | place as u8][..], signed.to_string().as_bytes()].concat());
    }
    seeds
}

/// Reads a file as a client would; if it is believed, compares that with what the bytes say.
fn believe(place: usize, file: &[u8]) {
    let now = NOW.parse().unwrap();
    let role = role(&[place], 1);
    let trusted = json!({"keys": keys(&[place]), "roles": [{
        "name": "role", "keyids": role["keyids"], "threshold": 1, "terminating": true, "paths": [],
    }]});
    let delegations: Delegations = serde_json::from_value(trusted).unwrap();
    let keys = Keys::of_role(&delegations, &delegations.roles.as_ref().unwrap()[0]).unwrap();
    let verified = Unverified::parse(file).and_then(|file| {
        file.check(&keys)?;
        Ok(file)
    });
    let Ok(unverified) = verified else { return };

    // Signed: then a plain look at the file must find the key's signature under its id.
    let whole = naive_json::parse(file).unwrap();
    let signed = &whole["signed"];
    let signatures = whole["signatures"].as_array().unwrap();
    let by_key = |line: &&Value| line["keyid"] == id(place).as_str();
    let line = signatures.iter().find(by_key).unwrap();
    assert_eq!(line["sig"].as_str().unwrap().to_lowercase(), signature(signed, place));

    let said = match place {
        0 => unverified.verify::<Root>(&keys, "root").map(|root| again(&root)),
        1 => unverified
            .verify::<Listing>(&keys, "timestamp")
            .map(|listing| again(&listing)),
        2 => unverified
            .verify::<Listing>(&keys, "snapshot")
            .map(|listing| again(&listing)),
        _ => unverified
            .verify::<Targets>(&keys, "targets")
            .map(|targets| again(&targets)),
    };
    if let Ok(mut said) = said {
        assert_eq!(signed["_type"], KINDS[place]);
        said["_type"] = KINDS[place].into();
        assert_eq!(plain(said), plain(signed.clone()));
    }
    if place == 0 {
        // Nothing panics on the way, and nothing but a successor is taken.
        if let Ok(client) = Trusted::start(file, now) {
            assert_eq!(Some(client.root().version.get()), signed["version"].as_u64());
        }
        let mut client = Trusted::start(&sign(&self::root(), &[0]), now).unwrap();
        let taken = client.next_root(file).is_ok();
        assert_eq!(client.root().version.get(), if taken { 2 } else { 1 });
        assert!(!taken || signed["version"] == 2);
    } else {
        let mut client = Trusted::start(&sign(&self::root(), &[0]), now).unwrap();
        walk(&mut client, place, file);
    }
}

/// The steps that would take such a file. Whatever comes of it, nothing panics.
fn walk(client: &mut Trusted, place: usize, file: &[u8]) {
    let listing = |name: &str| json!({"meta": {name: {"version": 1}}});
    let timestamp = sign(&metadata("timestamp", 1, &listing("snapshot.json")), &[1]);
    let snapshot = sign(&metadata("snapshot", 1, &listing("targets.json")), &[2]);
    let timestamp = if place == 1 { file } else { &timestamp };
    let snapshot = if place == 2 { file } else { &snapshot };
    if client.take_timestamp(timestamp).is_err() {
        return;
    }
    let _ = client.check_timestamp_expiry();
    let _ = client.adopt_snapshot(snapshot);
    if client.take_snapshot(snapshot).is_err() {
        return;
    }
    let _ = client.check_snapshot_expiry();
    if let (3, Ok(keys)) = (place, client.targets_keys())
        && let Ok(targets) = client.targets(file, "targets", &keys)
        && let Some(delegations) = &targets.delegations
    {
        for path in ["a", "a/b", "é"] {
            let _ = roles_for(delegations, path);
        }
    }
}

fn again<T: serde::Serialize>(read: &T) -> Value {
    serde_json::to_value(read).unwrap()
}

/// Without what two spellings of one meaning may differ in: absent and null options, how an instant is written, the
/// default of `consistent_snapshot`.
fn plain(mut signed: Value) -> Value {
    if let Some(expires) = signed.get_mut("expires") {
        let instant: jiff::Timestamp = expires.as_str().unwrap().parse().unwrap();
        *expires = instant.to_string().into();
    }
    let optional = ["consistent_snapshot", "delegations", "length", "hashes", "custom"];
    let optional = [
        &optional[..],
        &["roles", "succinct_roles", "paths", "path_hash_prefixes"],
    ]
    .concat();
    fn prune(value: &mut Value, optional: &[&str]) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, value| {
                    let absent = value.is_null() || name == "consistent_snapshot" && *value == false;
                    !(absent && optional.contains(&&**name))
                });
                fields.values_mut().for_each(|value| prune(value, optional));
            }
            Value::Array(items) => items.iter_mut().for_each(|value| prune(value, optional)),
            _ => {}
        }
    }
    prune(&mut signed, &optional);
    signed
}

fn root() -> Value {
    let roles: Map<_, _> = (0..4)
        .map(|place| (KINDS[place].to_owned(), role(&[place], 1)))
        .collect();
    metadata(
        "root",
        1,
        &json!({"consistent_snapshot": true, "keys": keys(&[0, 1, 2, 3]), "roles": roles}),
    )
}

fn timestamp() -> Value {
    let hashes = json!({"sha256": "00".repeat(32), "sha512": "11".repeat(64)});
    metadata(
        "timestamp",
        1,
        &json!({"meta": {"snapshot.json": {"version": 1, "length": 9, "hashes": hashes}}}),
    )
}

fn snapshot() -> Value {
    metadata(
        "snapshot",
        1,
        &json!({"meta": {"targets.json": {"version": 1}, "role.json": {"version": 7, "length": 1, "x": null}}}),
    )
}

fn targets() -> Value {
    let file = json!({"length": 3, "hashes": {"sha256": "00".repeat(32)}, "custom": {"é": [-1, {"x": "\n"}]}});
    metadata("targets", 1, &json!({"targets": {"a/b c.txt": file}, "x-note": "kept"}))
}

fn delegator() -> Value {
    let other = json!({"keytype": "future", "scheme": "s", "keyval": {"public": "x"}});
    let mut listed = keys(&[KEYS - 1]);
    listed["opaque"] = other;
    listed["again"] = public(KEYS - 1);
    let roles = json!([
        {"name": "one", "keyids": [id(KEYS - 1), "opaque"], "threshold": 1, "terminating": false, "paths": ["a/*"]},
        {"name": "two", "keyids": ["again"], "threshold": 1, "terminating": true, "path_hash_prefixes": ["", "0f"]},
    ]);
    metadata(
        "targets",
        1,
        &json!({"targets": {}, "delegations": {"keys": listed, "roles": roles}}),
    )
}
