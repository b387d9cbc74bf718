//! The chain of roots, and what it decides about other roles.

use std::fs;

use serde_json::json;

use super::{assert_untouched, state, *};
use crate::tuf::verify::testing::{id, key, keys, public, role, sign, signature};

#[tokio::test]
async fn the_chain_of_roots_needs_both_thresholds_and_every_link() {
    let mut repo = Repo::new().await;
    let before = state(&repo);
    let two = root_of(&[ROOT, 11], TIMESTAMP, SNAPSHOT, TARGETS);
    let other = root_of(&[11], TIMESTAMP, SNAPSHOT, TARGETS);
    // Signed by the old key only, then by the new only, though that be all the new root asks for.
    for (next, by) in [(&two, &[ROOT][..]), (&two, &[11]), (&other, &[ROOT]), (&other, &[11])] {
        let root = repo.root.clone();
        repo.next_root(next.clone(), by);
        assert_eq!(
            attack(repo.refresh().await),
            ("2.root.json".into(), Attack::ArbitrarySoftware)
        );
        repo.root = root;
    }
    assert_untouched(&repo, &before);
    assert_eq!(repo.stored("root.json"), fs::read(repo.root_file()).ok());

    repo.next_root(two, &[ROOT, 11]);
    repo.next_root(other, &[ROOT, 11]);
    let mut client = repo.client();
    client.refresh().await.unwrap();
    assert_eq!(client.root_version(), Some(3));
    // What the store holds need not be asked again, and cannot be taken away again.
    for version in 1..=3 {
        repo.site.remove(&format!("/metadata/{version}.root.json"));
    }
    let mut client = repo.client();
    client.refresh().await.unwrap();
    assert_eq!(client.root_version(), Some(3));
    fs::remove_dir_all(repo.folder.path().join("store/root_history")).unwrap();
    assert_eq!(attack(repo.refresh().await), ("root.json".into(), Attack::Rollback));
}

#[tokio::test]
async fn a_root_the_caller_gives_takes_the_place_of_one_of_elsewhere() {
    let repo = Repo::new().await;
    let mut wrong = repo.root.clone();
    wrong["keys"] = keys(&[&key(12)]);
    for name in ["root", "timestamp", "snapshot", "targets"] {
        wrong["roles"][name] = role(&[&key(12)], 1);
    }
    let file = repo.folder.path().join("wrong-root.json");
    fs::write(&file, sign(&wrong, &[&key(12)])).unwrap();
    let with = |trust| {
        let mut options = repo.options();
        options.trust = trust;
        Client::open(options).unwrap()
    };
    attack(with(Trust::RootFile(file)).refresh().await);
    repo.refresh().await.unwrap();
    assert_eq!(repo.stored("root.json"), fs::read(repo.root_file()).ok());
    with(Trust::Stored).refresh().await.unwrap();
    // The same root again, in other bytes, is no other one: what was seen since stays seen.
    let respelled = repo.folder.path().join("respelled.json");
    let pretty: serde_json::Value = serde_json::from_slice(&fs::read(repo.root_file()).unwrap()).unwrap();
    fs::write(&respelled, serde_json::to_vec_pretty(&pretty).unwrap()).unwrap();
    let before = repo.stored("snapshot.json");
    repo.site.remove("/metadata/timestamp.json");
    with(Trust::RootFile(respelled)).refresh().await.unwrap_err();
    assert_eq!(repo.stored("snapshot.json"), before);
    assert!(before.is_some());
}

#[tokio::test]
async fn a_root_of_another_version_than_its_name_is_refused() {
    let mut repo = Repo::new().await;
    repo.next_root(root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS), &[ROOT]);
    for version in [1, 3] {
        let mut root = repo.root.clone();
        root["version"] = version.into();
        repo.put_metadata("2.root.json", sign(&root, &[&key(ROOT)]));
        assert_eq!(attack(repo.refresh().await), ("2.root.json".into(), Attack::Rollback));
    }
}

#[tokio::test]
async fn the_chain_ends_at_403_404_and_410_and_breaks_at_anything_else() {
    let repo = Repo::new().await;
    for status in [403, 404, 410] {
        repo.site.set("/metadata/2.root.json", Reply::Status(status));
        repo.refresh().await.unwrap();
    }
    for status in [301, 401, 500, 503] {
        repo.site.set("/metadata/2.root.json", Reply::Status(status));
        let broken = repo.refresh().await.unwrap_err();
        assert!(
            matches!(
                broken,
                ClientError::Fetch(FetchError::Status { .. } | FetchError::Redirect { .. })
            ),
            "{status}: {broken}"
        );
    }
}

#[tokio::test]
async fn a_walk_ends_after_256_roots_and_goes_on_next_time() {
    let mut repo = Repo::new().await;
    for _ in 0..258 {
        repo.next_root(root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS), &[ROOT]);
    }
    for reached in [257, 259] {
        let mut client = repo.client();
        client.refresh().await.unwrap();
        assert_eq!(client.root_version(), Some(reached));
    }
}

#[tokio::test]
async fn a_threshold_of_two_needs_two_keys() {
    let mut repo = Repo::new().await;
    let mut root = root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS);
    root["roles"]["timestamp"] = role(&[&key(TIMESTAMP), &key(12)], 2);
    root["keys"]
        .as_object_mut()
        .unwrap()
        .extend(keys(&[&key(12)]).as_object().unwrap().clone());
    repo.next_root(root, &[ROOT]);
    assert_eq!(
        attack(repo.refresh().await),
        ("timestamp.json".into(), Attack::ArbitrarySoftware)
    );
    let timestamp = repo.served("timestamp.json");
    let line = signature(&timestamp, &key(TIMESTAMP));
    let twice = json!({"signed": timestamp, "signatures": [line, line]});
    repo.put_metadata("timestamp.json", twice.to_string().into_bytes());
    assert_eq!(
        attack(repo.refresh().await),
        ("timestamp.json".into(), Attack::ArbitrarySoftware)
    );
    repo.put_metadata("timestamp.json", sign(&timestamp, &[&key(12), &key(TIMESTAMP)]));
    repo.refresh().await.unwrap();
}

#[tokio::test]
async fn a_rotated_key_recovers_from_a_fast_forward() {
    let mut repo = Repo::new().await;
    repo.version = 1_000_000;
    repo.publish();
    repo.refresh().await.unwrap();
    // The operators start again at low versions, with a new timestamp key.
    repo.version = 1;
    repo.signer.insert("timestamp", 22);
    repo.publish();
    assert_eq!(
        attack(repo.refresh().await),
        ("timestamp.json".into(), Attack::ArbitrarySoftware)
    );
    repo.next_root(root_of(&[ROOT], 22, SNAPSHOT, TARGETS), &[ROOT]);
    let mut client = repo.client();
    client.refresh().await.unwrap();
    assert_eq!(client.snapshot_version(), Some(2));
}

#[tokio::test]
async fn a_rotated_snapshot_key_recovers_delegated_roles_from_a_fast_forward() {
    let mut repo = Repo::new().await;
    repo.publish();
    let mut lifted = repo.served("2.snapshot.json");
    lifted["version"] = 3.into();
    lifted["meta"]["bins.json"]["version"] = 1_000_000.into();
    repo.put_snapshot(&lifted);
    repo.refresh().await.unwrap();
    repo.version = 3;
    repo.publish();
    assert_eq!(attack(repo.refresh().await), ("snapshot.json".into(), Attack::Rollback));
    repo.signer.insert("snapshot", 33);
    repo.publish();
    repo.next_root(root_of(&[ROOT], TIMESTAMP, 33, TARGETS), &[ROOT]);
    repo.download("top.txt").await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_listed_anew_under_the_same_id_counts_as_rotated() {
    let mut repo = Repo::new().await;
    let opaque = |seed: u8| {
        let mut root = root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS);
        root["keys"]["the one"] = public(&key(seed));
        root["roles"]["timestamp"] = json!({"keyids": ["the one"], "threshold": 1});
        root
    };
    let put = |repo: &Repo, seed: u8, version: u64| {
        let mut timestamp = repo.served("timestamp.json");
        timestamp["version"] = version.into();
        let mut line = signature(&timestamp, &key(seed));
        line["keyid"] = "the one".into();
        let envelope = json!({"signed": timestamp, "signatures": [line]});
        repo.put_metadata("timestamp.json", envelope.to_string().into_bytes());
    };
    repo.next_root(opaque(TIMESTAMP), &[ROOT]);
    put(&repo, TIMESTAMP, 1_000_000);
    repo.refresh().await.unwrap();
    put(&repo, TIMESTAMP, 2);
    assert_eq!(
        attack(repo.refresh().await),
        ("timestamp.json".into(), Attack::Rollback)
    );
    put(&repo, 44, 2);
    assert_eq!(
        attack(repo.refresh().await),
        ("timestamp.json".into(), Attack::ArbitrarySoftware)
    );
    repo.next_root(opaque(44), &[ROOT]);
    repo.refresh().await.unwrap();
}

#[tokio::test]
async fn an_expired_root_on_the_way_is_fine_and_each_step_is_kept() {
    let mut repo = Repo::new().await;
    let mut expired = root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS);
    expired["expires"] = json!("2020-01-01T00:00:00Z");
    repo.next_root(expired, &[ROOT]);
    assert_eq!(attack(repo.refresh().await), ("2.root.json".into(), Attack::Freeze));
    let second: serde_json::Value = serde_json::from_slice(&repo.stored("root.json").unwrap()).unwrap();
    assert_eq!(second["signed"]["version"], 2, "what comes after it is signed by it");
    repo.next_root(root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS), &[ROOT]);
    // The fourth is signed by nobody: the third stays.
    repo.next_root(root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS), &[]);
    assert_eq!(
        attack(repo.refresh().await),
        ("4.root.json".into(), Attack::ArbitrarySoftware)
    );
    repo.site.remove("/metadata/4.root.json");
    repo.refresh().await.unwrap();
    assert_eq!(repo.stored("root.json"), repo.stored("root_history/3.root.json"));
}

#[tokio::test]
async fn a_root_with_the_last_of_all_versions_ends_the_chain() {
    let repo = Repo::new().await;
    let mut root = repo.root.clone();
    root["version"] = u64::MAX.into();
    fs::write(repo.root_file(), sign(&root, &[&key(ROOT)])).unwrap();
    let mut client = repo.client();
    client.refresh().await.unwrap();
    assert_eq!(client.root_version(), Some(u64::MAX));
}

#[tokio::test]
async fn versions_that_are_no_counting_numbers_are_refused() {
    let mut repo = Repo::new().await;
    let before = state(&repo);
    for version in [json!(0), json!(-1), json!("2"), json!(null), json!(2.0)] {
        let mut root = repo.root.clone();
        root["version"] = version.clone();
        let line = json!([{"keyid": id(&key(ROOT)), "sig": "00"}]);
        let bytes = match version.is_f64() {
            true => json!({"signed": root, "signatures": line}).to_string().into_bytes(),
            false => sign(&root, &[&key(ROOT)]),
        };
        repo.put_metadata("2.root.json", bytes);
        assert_eq!(
            attack(repo.refresh().await),
            ("2.root.json".into(), Attack::ArbitrarySoftware),
            "{version}"
        );
    }
    repo.site.remove("/metadata/2.root.json");
    let mut timestamp = repo.served("timestamp.json");
    timestamp["meta"]["snapshot.json"]["version"] = 0.into();
    repo.put_timestamp(&timestamp);
    assert_eq!(
        attack(repo.refresh().await),
        ("timestamp.json".into(), Attack::ArbitrarySoftware)
    );
    assert_untouched(&repo, &before);
    repo.publish();
    repo.refresh().await.unwrap();
}

#[tokio::test]
async fn opaque_ids_keys_of_the_future_and_roles_beside_the_four_are_fine() {
    let mut repo = Repo::new().await;
    let mut root = root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS);
    root["keys"]["\u{2713} any/text"] = public(&key(TIMESTAMP));
    root["keys"]["pq"] = json!({"keytype": "ml-dsa", "scheme": "ml-dsa-65", "keyval": {"public": "00"}});
    // Two of three must sign, but two of the ids are one key.
    root["roles"]["timestamp"] =
        json!({"keyids": ["\u{2713} any/text", "pq", id(&key(TIMESTAMP)), id(&key(12))], "threshold": 2});
    root["roles"]["mirrors"] = json!({"keyids": ["pq"], "threshold": 1});
    root["keys"][id(&key(12))] = public(&key(12));
    root["x-note"] = json!({"kept": true});
    repo.next_root(root, &[ROOT]);
    let timestamp = repo.served("timestamp.json");
    let mut renamed = signature(&timestamp, &key(TIMESTAMP));
    renamed["keyid"] = "\u{2713} any/text".into();
    let (plain, other) = (signature(&timestamp, &key(TIMESTAMP)), signature(&timestamp, &key(12)));
    let pq = json!({"keyid": "pq", "sig": "00"});
    let put = |lines: &[&serde_json::Value]| {
        let envelope = json!({"signed": timestamp, "signatures": lines});
        repo.put_metadata("timestamp.json", envelope.to_string().into_bytes());
    };
    put(&[&renamed, &plain, &pq]);
    assert_eq!(
        attack(repo.refresh().await),
        ("timestamp.json".into(), Attack::ArbitrarySoftware)
    );
    put(&[&renamed, &other]);
    repo.refresh().await.unwrap();
}

#[tokio::test]
async fn a_root_that_is_too_long_is_refused() {
    let repo = Repo::new().await;
    fs::write(repo.root_file(), vec![b' '; 512_001]).unwrap();
    let (name, looks_like) = attack(repo.refresh().await);
    assert!(name.ends_with("trusted-root.json"), "{name}");
    assert_eq!(looks_like, Attack::EndlessData);
}
