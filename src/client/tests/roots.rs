//! The chain of roots, and what it decides about other roles.

use std::fs;

use serde_json::json;

use super::{assert_untouched, state, *};
use crate::tuf::verify::testing::{key, keys, role, sign, signature};

#[tokio::test]
async fn the_chain_of_roots_needs_both_thresholds_and_every_link() {
    let mut repo = Repo::new().await;
    let before = state(&repo);
    let two = root_of(&[ROOT, 11], TIMESTAMP, SNAPSHOT, TARGETS);
    // Signed by the old key only, then by the new only.
    for by in [&[ROOT][..], &[11][..]] {
        let root = repo.root.clone();
        repo.next_root(two.clone(), by);
        assert_eq!(
            attack(repo.refresh().await),
            ("2.root.json".into(), Attack::ArbitrarySoftware)
        );
        repo.root = root;
    }
    assert_untouched(&repo, &before);
    assert_eq!(repo.stored("root.json"), None);

    repo.next_root(two, &[ROOT, 11]);
    repo.next_root(root_of(&[11], TIMESTAMP, SNAPSHOT, TARGETS), &[ROOT, 11]);
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
    fs::remove_dir_all(repo.folder.path().join("store/roots")).unwrap();
    assert_eq!(attack(repo.refresh().await), ("root.json".into(), Attack::Rollback));
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
