//! Drafts of a team's role, as they come by mail: what is taken and has signatures enough is what the role's keys, counted by
//! hand, signed, and lists no path that is not the role's.

use serde_json::{Value, json};

use super::{
    choices::Choices,
    draft::bend,
    forge::{canonical, id, keys, metadata, role, sha256, sign, signature},
    gate::{
        ceremony::{
            Moment,
            team::{Chain, TeamDraft, TeamProposal},
        },
        digest::Digest,
    },
};

/// When everything happens.
const NOW: &str = "2030-01-01T00:00:00Z";
/// The role's keys, two of which must sign.
const TEAM: [usize; 3] = [4, 5, 6];

/// Tries one.
pub fn run(input: &[u8]) {
    let choices = &mut Choices::of(input);
    let mut file = file(choices);
    for _ in 0..choices.below(3) {
        bend(choices, &mut file);
    }
    // Whoever alters what is proposed can compute its fingerprint, too.
    if choices.once_in(2) {
        let print = sha256(&canonical(&file["roles"]["a"]["proposed"]["signed"]));
        if let Some(role) = file.pointer_mut("/roles/a").and_then(Value::as_object_mut) {
            role.insert("fingerprint".to_owned(), print.into());
        }
    }
    judge(file.to_string().as_bytes());
    judge(input);
}

fn judge(bytes: &[u8]) {
    let Ok(draft) = TeamDraft::parse(bytes) else { return };
    let again = TeamDraft::parse(&draft.to_bytes()).unwrap();
    assert_eq!(again.to_bytes(), draft.to_bytes());
    let Ok(files) = draft.finished(NOW.parse().unwrap()) else {
        return;
    };
    // One that is planned stands on nobody's signature.
    if draft.chain().lines().iter().any(|line| line.contains("a draft itself")) {
        return;
    }
    for (name, file) in files {
        assert_eq!(name, "a");
        let file: Value = serde_json::from_slice(&file).unwrap();
        let lines = file["signatures"].as_array().unwrap();
        let good = TEAM.iter().filter(|by| {
            let line = lines.iter().find(|line| line["keyid"] == id(**by));
            line.is_some_and(|line| line["sig"] == signature(&file["signed"], **by))
        });
        assert!(good.count() >= 2, "{file}");
        for path in file["signed"]["targets"].as_object().unwrap().keys() {
            let rest = path.strip_prefix("a/").unwrap();
            assert!(!rest.is_empty() && !rest.contains('/'), "{path}");
        }
    }
}

/// A good draft with some signatures.
fn file(choices: &mut Choices<'_>) -> Value {
    let roles = json!({
        "root": role(&[0], 1), "timestamp": role(&[3], 1), "snapshot": role(&[3], 1), "targets": role(&[1], 1),
    });
    let rest = json!({"consistent_snapshot": true, "keys": keys(&[0, 1, 3]), "roles": roles});
    let root = sign(&metadata("root", 1, &rest), &[0]);
    let mut team = role(&TEAM, 2);
    team["name"] = json!("a");
    team["terminating"] = json!(false);
    team["paths"] = json!(["a/*"]);
    let below = json!({"targets": {}, "delegations": {"keys": keys(&TEAM), "roles": [team]}});
    let above = [("targets".to_owned(), sign(&metadata("targets", 1, &below), &[1]))];
    let chain = Chain::new(&root, &above).unwrap();
    let listed = json!({"a/x": {"length": 1, "hashes": {"sha256": sha256(b"x")}}});
    let current = sign(
        &metadata("targets", 1, &json!({"targets": listed})),
        choices.one(&[&[4, 5][..], &[7, 8]]),
    );
    let current = choices.once_in(2).then_some(&*current);
    let mut proposal = TeamProposal::after("a", current, "2031-01-01T00:00:00Z".parse().unwrap()).unwrap();
    for _ in 0..choices.below(4) {
        let path = choices.one(&["a/x", "a/y", "b/x", "a/y/z", "a/../x"]);
        // What cannot be done changes nothing.
        let _ = match choices.below(3) {
            0 => proposal.remove(path),
            _ => proposal.add(path, Digest::of(path), 1),
        };
    }
    let moment = Moment {
        at: NOW.parse().unwrap(),
        by: "somebody".to_owned(),
    };
    let signed = proposal.into_signed();
    let Ok(mut draft) = TeamDraft::new(chain, "a", current, signed.clone(), moment.clone()) else {
        return json!({"roles": {"a": {"proposed": {"signed": signed}}}});
    };
    for by in 3..8 {
        if choices.below(2) == 0 {
            let signature = hex::decode(signature(&signed, by)).unwrap();
            let _ = draft.add_signature("a", &id(by), signature, moment.clone());
        }
    }
    if choices.once_in(4) {
        let _ = draft.record(moment, "http://gate/metadata/submit", None);
    }
    serde_json::from_slice(&draft.to_bytes()).unwrap()
}
