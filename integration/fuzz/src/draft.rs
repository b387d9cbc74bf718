//! Drafts of root, as they come by mail: what is taken and has signatures enough is a root that a client takes.

use serde_json::{Value, json};

use super::{
    choices::Choices,
    forge::{canonical, id, keys, metadata, public, role, sha256, sign, signature},
    gate::{
        ceremony::{Draft, Kind, Moment, Proposal},
        client::trusted::Trusted,
    },
};

/// When everything happens.
const NOW: &str = "2030-01-01T00:00:00Z";

/// Tries one.
pub fn run(input: &[u8]) {
    let choices = &mut Choices::of(input);
    let mut file = file(choices);
    for _ in 0..choices.below(3) {
        bend(choices, &mut file);
    }
    // Whoever alters what is proposed can compute its fingerprint, too.
    if choices.once_in(2) {
        let print = sha256(&canonical(&file["proposed"]["signed"]));
        if let Some(draft) = file.as_object_mut() {
            draft.insert("fingerprint".to_owned(), print.into());
        }
    }
    judge(file.to_string().as_bytes());
    judge(input);
}

fn judge(bytes: &[u8]) {
    let Ok(draft) = Draft::parse(bytes) else { return };
    let again = Draft::parse(&draft.to_bytes()).unwrap();
    assert_eq!(again.to_bytes(), draft.to_bytes());
    let now = NOW.parse().unwrap();
    let Ok((name, root)) = draft.finished(now) else { return };
    assert_eq!((draft.kind(), name), (Kind::Root, "2.root.json".to_owned()));
    let file: Value = serde_json::from_slice(bytes).unwrap();
    let mut client = Trusted::start(file["current"].to_string().as_bytes(), now).unwrap();
    client.next_root(&root).unwrap();
    assert!(draft.version() != 2 || !draft.changes().is_empty());
}

/// A good draft with some signatures.
fn file(choices: &mut Choices<'_>) -> Value {
    let roles = json!({
        "root": role(&[0, 1, 2], 2), "timestamp": role(&[3], 1), "snapshot": role(&[3], 1), "targets": role(&[4], 1),
    });
    let rest = json!({"consistent_snapshot": true, "keys": keys(&[0, 1, 2, 3, 4]), "roles": roles});
    let current = sign(&metadata("root", 1, &rest), &[0, 1]);
    let mut proposal =
        Proposal::after(Kind::Root, &current, &current, "2031-01-01T00:00:00Z".parse().unwrap()).unwrap();
    for _ in 0..choices.below(4) {
        let who = choices.below(6);
        let role = choices.one(&["root", "root", "timestamp", "bins"]);
        // What cannot be done changes nothing.
        let _ = match choices.below(3) {
            0 => proposal.remove_key(None, &id(who)),
            1 => proposal.add_key(
                role,
                &format!("key {who}"),
                &serde_json::from_value(public(who)).unwrap(),
            ),
            _ => proposal.threshold(role, choices.below(4) as u64),
        };
    }
    let moment = Moment {
        at: NOW.parse().unwrap(),
        by: "somebody".to_owned(),
    };
    let signed = proposal.into_signed();
    let Ok(mut draft) = Draft::new(Kind::Root, &current, &current, signed.clone(), moment.clone()) else {
        return json!({"proposed": {"signed": signed}, "current": {}});
    };
    for by in 0..6 {
        if choices.below(2) == 0 {
            let signature = hex::decode(signature(&signed, by)).unwrap();
            let _ = draft.add_signature(&id(by), signature, moment.clone());
        }
    }
    if choices.once_in(4) {
        let _ = draft.publish(moment);
    }
    serde_json::from_slice(&draft.to_bytes()).unwrap()
}

/// Puts something else into some place.
pub fn bend(choices: &mut Choices<'_>, value: &mut Value) {
    let depth = choices.below(8);
    let mut place = value;
    for _ in 0..depth {
        let inner = match place {
            Value::Object(fields) if !fields.is_empty() => {
                let nth = choices.below(fields.len());
                fields.values_mut().nth(nth)
            }
            Value::Array(items) if !items.is_empty() => {
                let nth = choices.below(items.len());
                items.get_mut(nth)
            }
            _ => return,
        };
        let Some(inner) = inner else { return };
        place = inner;
    }
    *place = match choices.below(6) {
        0 => Value::Null,
        1 => json!(choices.below(5)),
        2 => json!([]),
        3 => json!("2040-01-01T00:00:00Z"),
        4 => json!(id(choices.below(6))),
        _ => json!({"x": 1}),
    };
}

/// A good draft, some of anything, and no draft.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        vec![0; 2],
        vec![0; 80],
        vec![1; 64],
        (0..=255).collect(),
        b"{}".to_vec(),
    ]
}
