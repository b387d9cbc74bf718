//! Every check broken once: the error names the attack, and nothing was written.

use std::fs;

use serde_json::json;

use super::{assert_untouched, state, *};
use crate::tuf::{
    layout,
    verify::testing::{key, keys, sign, signature},
};

#[tokio::test]
async fn expired_metadata_is_a_freeze() {
    let mut repo = Repo::new().await;
    repo.refresh().await.unwrap();
    let before = state(&repo);
    let late = || json!("2029-06-01T00:00:00Z");

    repo.publish();
    let good = repo.served("timestamp.json");
    let mut timestamp = good.clone();
    timestamp["expires"] = late();
    repo.put_timestamp(&timestamp);
    assert_eq!(attack(repo.refresh().await), ("timestamp.json".into(), Attack::Freeze));
    assert_untouched(&repo, &before);

    let mut snapshot = repo.served("2.snapshot.json");
    snapshot["expires"] = late();
    repo.put_snapshot(&snapshot);
    assert_eq!(attack(repo.refresh().await), ("snapshot.json".into(), Attack::Freeze));
    assert_eq!(repo.stored("snapshot.json"), before[1]);

    repo.publish();
    let bin = repo.bin_of("top.txt");
    let mut expired = repo.served(&layout::file(&bin, 3));
    expired["expires"] = late();
    repo.put_metadata(&layout::file(&bin, 3), sign(&expired, &[&key(BINS)]));
    assert_eq!(
        attack(repo.download("top.txt").await),
        (format!("{bin}.json"), Attack::Freeze)
    );
    assert!(!repo.output().exists());

    repo.publish();
    repo.download("top.txt").await.unwrap();
    fs::remove_file(repo.output()).unwrap();
    repo.clock.advance(2 * 86_400);
    assert_eq!(
        attack(repo.download("top.txt").await),
        ("1.root.json".into(), Attack::Freeze)
    );
    let mut root = root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS);
    root["expires"] = json!("2040-01-01T00:00:00Z");
    repo.next_root(root, &[ROOT]);
    assert_eq!(
        attack(repo.download("top.txt").await),
        ("timestamp.json".into(), Attack::Freeze),
        "kept, but stale"
    );
}

#[tokio::test]
async fn missing_and_foreign_signatures_are_refused() {
    let mut repo = Repo::new().await;
    repo.refresh().await.unwrap();
    repo.publish();
    let before = state(&repo);
    let bin = repo.bin_of("top.txt");
    for (name, file) in [
        ("timestamp.json", "timestamp.json".to_owned()),
        ("bins.json", "2.bins.json".to_owned()),
        (&*format!("{bin}.json"), layout::file(&bin, 2)),
    ] {
        let signed = repo.served(&file);
        let good = repo.site.files.lock().unwrap()[&format!("/metadata/{file}")].clone();
        // Nobody's, another role's, and a good key's signature of something else.
        let mut stolen = signature(&json!({}), &key(TIMESTAMP));
        stolen["keyid"] = signature(&signed, &key(BINS))["keyid"].clone();
        for signatures in [json!([]), json!([signature(&signed, &key(TARGETS))]), json!([stolen])] {
            let envelope = json!({"signed": signed, "signatures": signatures}).to_string();
            repo.put_metadata(&file, envelope.into_bytes());
            assert_eq!(
                attack(repo.download("top.txt").await),
                (name.to_owned(), Attack::ArbitrarySoftware)
            );
            assert!(!repo.output().exists());
        }
        if name == "timestamp.json" {
            assert_untouched(&repo, &before);
        }
        repo.site.set(&format!("/metadata/{file}"), good);
    }
    repo.download("top.txt").await.unwrap();
}

#[tokio::test]
async fn no_version_is_taken_back() {
    let mut repo = Repo::new().await;
    let old = repo.served("timestamp.json");
    repo.publish();
    let new = repo.served("timestamp.json");
    repo.refresh().await.unwrap();
    let before = state(&repo);

    repo.put_timestamp(&old);
    assert_eq!(
        attack(repo.refresh().await),
        ("timestamp.json".into(), Attack::Rollback)
    );
    // Neither one that lists the same snapshot, nor a newer one that lists an older.
    let mut renewed = old.clone();
    renewed["meta"] = new["meta"].clone();
    repo.put_timestamp(&renewed);
    assert_eq!(
        attack(repo.refresh().await),
        ("timestamp.json".into(), Attack::Rollback)
    );
    let mut cunning = old.clone();
    cunning["version"] = 9.into();
    repo.put_timestamp(&cunning);
    assert_eq!(
        attack(repo.refresh().await),
        ("timestamp.json".into(), Attack::Rollback),
        "an older snapshot"
    );
    assert_untouched(&repo, &before);

    // The same version again: what is trusted stays, whatever the new one says.
    let mut same = new.clone();
    same["meta"]["snapshot.json"]["version"] = 77.into();
    repo.put_timestamp(&same);
    repo.refresh().await.unwrap();
    assert_untouched(&repo, &before);

    let snapshot = repo.served("2.snapshot.json");
    let lowered = {
        let mut snapshot = snapshot.clone();
        snapshot["version"] = 3.into();
        snapshot["meta"]["bins.json"]["version"] = 1.into();
        snapshot
    };
    let dropped = {
        let mut snapshot = snapshot.clone();
        snapshot["version"] = 4.into();
        snapshot["meta"].as_object_mut().unwrap().remove("bins2-0.json");
        snapshot
    };
    for bad in [lowered, dropped] {
        repo.put_snapshot(&bad);
        assert_eq!(attack(repo.refresh().await), ("snapshot.json".into(), Attack::Rollback));
        assert_eq!(repo.stored("snapshot.json"), before[1]);
    }
}

#[tokio::test]
async fn files_that_were_never_published_together_are_refused() {
    let mut repo = Repo::new().await;
    repo.publish();
    let file = |name: &str| {
        let files = repo.site.files.lock().unwrap();
        let Reply::Bytes(bytes) = &files[&format!("/metadata/{name}")] else {
            panic!()
        };
        bytes.clone()
    };
    let bin = repo.bin_of("top.txt");
    for role in ["snapshot", "targets", "bins", &bin] {
        let (one, two) = (layout::file(role, 1), layout::file(role, 2));
        let good = file(&two);
        repo.put_metadata(&two, file(&one));
        assert_eq!(
            attack(repo.download("top.txt").await),
            (format!("{role}.json"), Attack::MixAndMatch)
        );
        repo.site.put(&format!("/metadata/{two}"), good);
    }
    // Right version, rightly signed, but not the bytes that the timestamp lists.
    let mut other = repo.served("2.snapshot.json");
    other["version"] = 3.into();
    repo.put_snapshot(&other);
    other["expires"] = json!("2030-01-01T00:00:01Z");
    repo.put_metadata("3.snapshot.json", sign(&other, &[&key(SNAPSHOT)]));
    assert_eq!(
        attack(repo.refresh().await),
        ("snapshot.json".into(), Attack::MixAndMatch)
    );
}

#[tokio::test]
async fn wrong_bytes_never_reach_the_output() {
    let repo = Repo::new().await;
    let target = repo.client().find("top.txt").await.unwrap().unwrap();
    let url = repo.client().target_url(&target);
    let path = &url[repo.url.len() - 1..];
    let good = repo.files["top.txt"].clone();
    let mut flipped = good.clone();
    flipped[3] ^= 1;
    for wrong in [flipped, good[1..].to_vec(), Vec::new()] {
        repo.site.put(path, wrong);
        assert_eq!(
            attack(repo.download("top.txt").await),
            ("top.txt".into(), Attack::ArbitrarySoftware)
        );
        assert!(!repo.output().exists());
    }
    for broken in [
        Reply::Cut(good.len() as u64, good[..4].to_vec()),
        Reply::Encoded(good.clone()),
        Reply::Status(302),
    ] {
        repo.site.set(path, broken);
        let refused = repo.download("top.txt").await.unwrap_err();
        assert!(matches!(refused, ClientError::Fetch(_)), "{refused}");
        assert!(!repo.output().exists());
    }
    fs::write(repo.output(), "what was there before").unwrap();
    repo.download("top.txt").await.unwrap_err();
    assert_eq!(fs::read(repo.output()).unwrap(), b"what was there before");
    // Of the download that was cut something stays to go on with, beside the output.
    let part = super::super::partial::name(&Digest::of(&good).into());
    assert_eq!(
        names(repo.folder.path()),
        [&*part, "output", "store", "trusted-root.json"]
    );
}

#[tokio::test]
async fn what_was_seen_counts_when_it_has_expired() {
    let mut repo = Repo::new().await;
    repo.publish();
    let old = repo.served("timestamp.json");
    repo.publish();
    let soon = json!("2029-12-31T00:00:10Z");
    let mut timestamp = repo.served("timestamp.json");
    let mut snapshot = repo.served("3.snapshot.json");
    snapshot["expires"] = soon.clone();
    repo.put_snapshot(&snapshot);
    timestamp["meta"] = repo.served("timestamp.json")["meta"].take();
    timestamp["expires"] = soon;
    repo.put_timestamp(&timestamp);
    repo.refresh().await.unwrap();
    let before = state(&repo);
    repo.clock.advance(60);
    repo.put_timestamp(&old);
    assert_eq!(
        attack(repo.refresh().await),
        ("timestamp.json".into(), Attack::Rollback)
    );
    assert_untouched(&repo, &before);
    let mut lowered = snapshot.clone();
    lowered["version"] = 4.into();
    lowered["expires"] = json!(EXPIRES);
    lowered["meta"]["targets.json"]["version"] = 2.into();
    repo.put_snapshot(&lowered);
    assert_eq!(attack(repo.refresh().await), ("snapshot.json".into(), Attack::Rollback));
    assert_eq!(repo.stored("snapshot.json"), before[1]);
}

#[tokio::test]
async fn one_point_in_time_holds_for_the_whole_update() {
    let repo = Repo::new().await;
    let mut client = repo.client();
    client.refresh().await.unwrap();
    repo.clock.advance(2 * 86_400);
    client.find("top.txt").await.unwrap().unwrap();
    assert_eq!(attack(client.refresh().await), ("1.root.json".into(), Attack::Freeze));
    assert_eq!(
        attack(client.find("top.txt").await),
        ("1.root.json".into(), Attack::Freeze),
        "a failed refresh leaves no update behind"
    );
}

#[tokio::test]
async fn an_expired_targets_role_is_a_freeze() {
    let mut repo = Repo::new().await;
    repo.publish();
    let mut targets = repo.served("2.targets.json");
    targets["expires"] = json!("2029-06-01T00:00:00Z");
    let targets = sign(&targets, &[&key(TARGETS)]);
    let mut snapshot = repo.served("2.snapshot.json");
    snapshot["version"] = 3.into();
    snapshot["meta"]["targets.json"] = with_version(listing(&targets), 2);
    repo.put_metadata("2.targets.json", targets);
    repo.put_snapshot(&snapshot);
    assert_eq!(attack(repo.refresh().await), ("targets.json".into(), Attack::Freeze));
    assert_eq!(repo.stored("targets.json"), None);
}

#[tokio::test]
async fn every_known_hash_of_a_listed_file_must_match() {
    let mut repo = Repo::new().await;
    let mut version = 1;
    let mut with = async |hashes: serde_json::Value| {
        version += 1;
        repo.version = version - 1;
        repo.publish();
        let files = repo.site.files.lock().unwrap().clone();
        let Reply::Bytes(bytes) = &files[&format!("/metadata/{version}.snapshot.json")] else {
            panic!()
        };
        let good = [Digest::of(bytes).to_string(), sha512(bytes)];
        let text = hashes.to_string().replace("G256", &good[0]).replace("G512", &good[1]);
        let hashes: serde_json::Value = serde_json::from_str(&text).unwrap();
        let meta = json!({"snapshot.json": {"version": version, "hashes": hashes}});
        repo.put_timestamp(&signed("timestamp", version, json!({"meta": meta})));
        repo.refresh().await
    };
    with(json!({"sha256": "G256"})).await.unwrap();
    with(json!({"sha512": "G512"})).await.unwrap();
    with(json!({"sha256": "G256", "sha512": "G512", "blake3": "?"}))
        .await
        .unwrap();
    let (x256, x512) = ("00".repeat(32), "00".repeat(64));
    for torn in [
        json!({"sha512": x512}),
        json!({"sha256": "G256", "sha512": x512}),
        json!({"sha256": x256, "sha512": "G512"}),
    ] {
        assert_eq!(attack(with(torn).await), ("snapshot.json".into(), Attack::MixAndMatch));
    }
    for bad in [
        json!({}),
        json!({"md5": "G256"}),
        json!({"sha256": "G512"}),
        json!({"sha256": "zz"}),
    ] {
        assert_eq!(
            attack(with(bad).await),
            ("snapshot.json".into(), Attack::ArbitrarySoftware)
        );
    }
}

fn sha512(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha512::digest(bytes))
}

#[tokio::test]
async fn a_target_with_a_sha512_alone_is_asked_for_and_checked_by_it() {
    let mut repo = Repo::new().await;
    let bytes = b"long hash".to_vec();
    let list = |hashes: serde_json::Value| json!({"d/x": {"length": 9, "hashes": hashes, "custom": {"a": 1}}});
    repo.roles.insert(
        "r".into(),
        (json!({"targets": list(json!({"sha512": sha512(&bytes)}))}), 31),
    );
    let roles = json!([delegate("r", 31, false, &["d/*"])]);
    repo.delegations = Some(json!({"keys": keys(&[&key(31)]), "roles": roles}));
    repo.publish();
    repo.site.put(&format!("/d/{}.x", sha512(&bytes)), bytes.clone());
    let done = repo.download("d/x").await.unwrap();
    assert_eq!(done.target.custom, Some(json!({"a": 1})));
    assert!(repo.download("d/x").await.unwrap().present);
    fs::write(repo.output(), "lung hash").unwrap();
    repo.site.put(&format!("/d/{}.x", sha512(&bytes)), "lung hash");
    assert_eq!(
        attack(repo.download("d/x").await),
        ("d/x".into(), Attack::ArbitrarySoftware)
    );
    for bad in [
        json!({}),
        json!({"blake2b-256": "00"}),
        json!({"sha512": "00"}),
        json!({"sha256": "?"}),
    ] {
        repo.roles
            .insert("r".into(), (json!({"targets": list(bad.clone())}), 31));
        repo.publish();
        assert_eq!(
            attack(repo.download("d/x").await),
            ("d/x".into(), Attack::ArbitrarySoftware),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn text_that_two_readers_may_see_differently_is_refused() {
    let mut repo = Repo::new().await;
    repo.refresh().await.unwrap();
    repo.publish();
    let before = state(&repo);
    let good = String::from_utf8(sign(&repo.served("timestamp.json"), &[&key(TIMESTAMP)])).unwrap();
    let (head, tail) = good.split_at(good.len() - 1);
    let deep = ["[".repeat(6_000), "]".repeat(6_000)].concat();
    for bad in [
        good.replacen("\"version\":2", "\"version\":9,\"version\":2", 1),
        format!("{head},\"signed\":{{}}{tail}"),
        format!("{head},\"x\":{deep}{tail}"),
        format!("{head},\"x\":1.5{tail}"),
        format!("{good}{good}"),
        format!("\u{feff}{good}"),
        good[..good.len() / 2].to_owned(),
        "null".to_owned(),
        String::new(),
    ] {
        repo.put_metadata("timestamp.json", bad.clone().into_bytes());
        assert_eq!(
            attack(repo.refresh().await),
            ("timestamp.json".into(), Attack::ArbitrarySoftware),
            "{bad:.60}"
        );
        assert_untouched(&repo, &before);
    }
    repo.put_metadata("timestamp.json", good.into_bytes());
    repo.refresh().await.unwrap();
}

#[tokio::test]
async fn one_key_id_in_two_signatures_is_refused_even_if_enough_sign() {
    let repo = Repo::new().await;
    let timestamp = repo.served("timestamp.json");
    let line = signature(&timestamp, &key(TIMESTAMP));
    let stranger = json!({"keyid": "nobody", "sig": "00"});
    for lines in [[&line, &line, &stranger], [&line, &stranger, &stranger]] {
        let envelope = json!({"signed": timestamp, "signatures": lines});
        repo.put_metadata("timestamp.json", envelope.to_string().into_bytes());
        assert_eq!(
            attack(repo.refresh().await),
            ("timestamp.json".into(), Attack::ArbitrarySoftware)
        );
    }
}

#[tokio::test]
async fn a_listing_without_what_comes_next_is_refused() {
    let mut repo = Repo::new().await;
    repo.publish();
    let mut snapshot = repo.served("2.snapshot.json");
    snapshot["meta"].as_object_mut().unwrap().remove("targets.json");
    repo.put_snapshot(&snapshot);
    assert_eq!(
        attack(repo.refresh().await),
        ("targets.json".into(), Attack::MixAndMatch)
    );
    repo.put_timestamp(&signed("timestamp", 3, json!({"meta": {"other.json": {"version": 1}}})));
    assert_eq!(
        attack(repo.refresh().await),
        ("timestamp.json".into(), Attack::ArbitrarySoftware)
    );
}
