#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, time::Duration};

use serde_json::{Value, json};

use super::{testing::*, *};
use crate::tuf::{
    layout,
    verify::testing::{key, keys, role, sign, signature},
};

/// What every failed check must leave behind: the last trusted state, and no output.
#[track_caller]
fn assert_untouched(repo: &Repo, before: &[Option<Vec<u8>>; 2]) {
    assert_eq!(&[repo.stored("timestamp.json"), repo.stored("snapshot.json")], before);
    assert!(!repo.output().exists());
}

fn state(repo: &Repo) -> [Option<Vec<u8>>; 2] {
    [repo.stored("timestamp.json"), repo.stored("snapshot.json")]
}

#[tokio::test]
async fn both_views_and_all_names_lead_to_the_same_bytes() {
    let repo = Repo::new().await;
    for view in ["metadata/", "metadata/succinct/"] {
        for naming in [TargetNaming::Bare, TargetNaming::HashedFolder, TargetNaming::HashedName] {
            for (path, bytes) in &repo.files {
                let options = ClientOptions {
                    metadata_url: format!("{}{view}", repo.url),
                    store: repo.folder.path().join(view),
                    naming,
                    ..repo.options()
                };
                let mut heard = Vec::new();
                let _ = fs::remove_file(repo.output());
                let mut client = Client::open(options).unwrap();
                let done = client
                    .download(path, &repo.output(), |at, of| heard.push((at, of)))
                    .await
                    .unwrap();
                assert_eq!(&fs::read(repo.output()).unwrap(), bytes, "{view} {naming:?} {path}");
                assert!(!done.present);
                assert_eq!(done.target.role, repo.bin_of(path));
                assert_eq!(heard.last(), Some(&(bytes.len() as u64, bytes.len() as u64)));
                assert_eq!((client.root_version(), client.snapshot_version()), (Some(1), Some(1)));
            }
        }
    }
    assert_eq!(
        names(repo.folder.path()),
        ["metadata", "output", "trusted-root.json"],
        "no temporary file stays"
    );
}

#[tokio::test]
async fn only_the_bin_that_is_needed_is_fetched_and_only_once() {
    let mut repo = Repo::new().await;
    repo.site.asked();
    let mut client = repo.client();
    client.find("top.txt").await.unwrap().unwrap();
    let bin = repo.bin_of("top.txt");
    let lazily = |version: u64| {
        let versioned = ["snapshot", "targets", "bins", &bin].map(|role| format!("/metadata/{version}.{role}.json"));
        let mut asked = vec!["/metadata/timestamp.json".to_owned()];
        asked.extend(versioned);
        asked
    };
    assert_eq!(repo.site.asked(), lazily(1));
    client.find("top.txt").await.unwrap().unwrap();
    assert_eq!(repo.site.asked(), [] as [String; 0], "a finished update serves again");
    repo.client().find("top.txt").await.unwrap().unwrap();
    assert_eq!(
        repo.site.asked(),
        ["/metadata/timestamp.json"],
        "the store holds the rest"
    );
    repo.publish();
    repo.client().find("top.txt").await.unwrap().unwrap();
    assert_eq!(repo.site.asked(), lazily(2));
}

#[tokio::test]
async fn a_file_that_is_there_already_is_not_fetched_again() {
    let repo = Repo::new().await;
    assert!(!repo.download("top.txt").await.unwrap().present);
    repo.site.asked();
    assert!(repo.download("top.txt").await.unwrap().present);
    assert_eq!(repo.site.asked(), ["/metadata/timestamp.json"]);
    fs::write(repo.output(), "bytes of TOP.txt").unwrap();
    assert!(!repo.download("top.txt").await.unwrap().present);
    assert_eq!(fs::read(repo.output()).unwrap(), repo.files["top.txt"]);
}

#[tokio::test]
async fn what_no_role_lists_is_not_found() {
    let repo = Repo::new().await;
    let missing = repo.download("nowhere").await.unwrap_err();
    assert!(matches!(missing, ClientError::NotFound(path) if path == "nowhere"));
    assert!(!repo.output().exists());
}

#[tokio::test]
async fn trust_begins_with_a_file_a_digest_or_the_store() {
    let mut repo = Repo::new().await;
    let nothing = ClientOptions {
        trust: Trust::Stored,
        ..repo.options()
    };
    let refused = Client::open(nothing.clone()).unwrap().refresh().await.unwrap_err();
    assert!(matches!(refused, ClientError::NoRoot(_)));
    repo.next_root(root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS), &[ROOT]);
    let second = {
        let files = repo.site.files.lock().unwrap();
        let Reply::Bytes(bytes) = &files["/metadata/2.root.json"] else {
            panic!()
        };
        Digest::of(bytes)
    };
    let by_digest = |digest, store: &str| ClientOptions {
        trust: Trust::RootSha256(digest),
        store: repo.folder.path().join(store),
        ..repo.options()
    };
    for digest in [Digest::of(fs::read(repo.root_file()).unwrap()), second] {
        let mut client = Client::open(by_digest(digest, &digest.to_string())).unwrap();
        client.refresh().await.unwrap();
        assert_eq!(client.root_version(), Some(2));
    }
    let other = Client::open(by_digest(Digest::of("x"), "other"))
        .unwrap()
        .refresh()
        .await
        .unwrap_err();
    assert!(matches!(other, ClientError::NoRoot(_)));
    repo.refresh().await.unwrap();
    Client::open(nothing).unwrap().refresh().await.unwrap();
}

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
            matches!(broken, ClientError::Fetch(FetchError::Status { .. })),
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
async fn a_role_that_the_snapshot_does_not_list_is_refused() {
    let mut repo = Repo::new().await;
    repo.publish();
    let bin = repo.bin_of("top.txt");
    let mut snapshot = repo.served("2.snapshot.json");
    snapshot["meta"].as_object_mut().unwrap().remove(&format!("{bin}.json"));
    repo.put_snapshot(&snapshot);
    assert_eq!(
        attack(repo.download("top.txt").await),
        (format!("{bin}.json"), Attack::MixAndMatch)
    );
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
async fn endless_data_ends_at_the_limit() {
    let repo = Repo::new().await;
    let zeros = || Reply::Endless(vec![b' '; 50_000]);
    for (path, name) in [
        ("/metadata/2.root.json", "2.root.json"),
        ("/metadata/timestamp.json", "timestamp.json"),
        ("/metadata/1.snapshot.json", "snapshot.json"),
        ("/metadata/1.bins.json", "bins.json"),
    ] {
        let good = repo.site.files.lock().unwrap().get(path).cloned();
        repo.site.set(path, zeros());
        assert_eq!(
            attack(repo.download("top.txt").await),
            (name.to_owned(), Attack::EndlessData)
        );
        repo.site.set(path, good.unwrap_or(Reply::Status(404)));
    }
    let target = repo.client().find("top.txt").await.unwrap().unwrap();
    let url = repo.client().target_url(&target);
    for reply in [zeros(), Reply::Bytes(vec![0; 500])] {
        repo.site.set(&url[repo.url.len() - 1..], reply);
        assert_eq!(
            attack(repo.download("top.txt").await),
            ("top.txt".into(), Attack::EndlessData)
        );
        assert!(!repo.output().exists());
    }
    assert_eq!(names(repo.folder.path()), ["store", "trusted-root.json"]);
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
    assert_eq!(names(repo.folder.path()), ["output", "store", "trusted-root.json"]);
}

#[tokio::test]
async fn a_server_that_stalls_is_left() {
    let repo = Repo::new().await;
    repo.site.set("/stall", Reply::Stall(900, b"{".to_vec()));
    let fetcher = Fetcher::new(Timeouts {
        idle: Duration::from_millis(500),
        ..Timeouts::default()
    });
    let mut stream = fetcher.open(&format!("{}stall", repo.url), 1_000).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "{");
    let stalled = stream.next().await.unwrap_err();
    assert!(
        matches!(stalled, FetchError::Timeout { what: "stalled", .. }),
        "{stalled}"
    );
}

#[tokio::test]
async fn a_server_that_drips_is_left() {
    let repo = Repo::new().await;
    // One byte a time for ever would keep the idle timer happy.
    repo.site.set("/drip", Reply::Endless(b" ".to_vec()));
    let fetcher = Fetcher::new(Timeouts {
        total: Duration::from_millis(60),
        min_rate: u64::MAX,
        ..Timeouts::default()
    });
    let slow = fetcher.bytes(&format!("{}drip", repo.url), u64::MAX).await.unwrap_err();
    assert!(matches!(slow, FetchError::Timeout { what: "too slow", .. }), "{slow}");
}

fn nested(roles: &[Value], seeds: &[u8], targets: Value) -> Value {
    let seeds: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    json!({"targets": targets, "delegations": {"keys": keys(&seeds.iter().collect::<Vec<_>>()), "roles": roles}})
}

#[tokio::test]
async fn delegations_are_searched_in_order_and_in_depth() {
    let mut repo = Repo::new().await;
    let list = |text: &str| json!({"x/1": listing(text.as_bytes())});
    let leaf = |text: &str| (json!({"targets": list(text)}), 31);
    let to = |name: &str, terminating| delegate(name, 31, terminating, &["x/*"]);
    let find = async |repo: &mut Repo, roles: &[Value]| {
        repo.delegations = Some(nested(roles, &[31], json!({}))["delegations"].take());
        repo.publish();
        repo.client().find("x/1").await.unwrap().map(|target| target.role)
    };
    repo.roles.insert("deep".into(), leaf("deep"));
    repo.roles.insert("flat".into(), leaf("flat"));
    repo.roles.insert("empty".into(), (json!({"targets": {}}), 31));
    repo.roles.insert(
        "over".into(),
        (nested(&[to("empty", false), to("deep", false)], &[31], json!({})), 31),
    );
    repo.roles.insert(
        "stop".into(),
        (nested(&[to("empty", true), to("deep", false)], &[31], json!({})), 31),
    );

    assert_eq!(
        find(&mut repo, &[to("over", false), to("flat", false)])
            .await
            .as_deref(),
        Some("deep")
    );
    assert_eq!(
        find(&mut repo, &[to("flat", false), to("over", false)])
            .await
            .as_deref(),
        Some("flat")
    );
    assert_eq!(
        find(&mut repo, &[to("empty", false), to("flat", false)])
            .await
            .as_deref(),
        Some("flat")
    );
    assert_eq!(find(&mut repo, &[to("empty", true), to("flat", false)]).await, None);
    assert_eq!(
        find(&mut repo, &[to("stop", false), to("flat", false)]).await,
        None,
        "it ends the whole search"
    );
    assert_eq!(
        find(&mut repo, &[delegate("flat", 31, false, &["*"])]).await,
        None,
        "a star stops at a slash"
    );
}

#[tokio::test]
async fn cycles_and_crowds_of_delegations_end() {
    let mut repo = Repo::new().await;
    let to = |name: &str| delegate(name, 31, false, &["*"]);
    repo.roles
        .insert("ping".into(), (nested(&[to("pong")], &[31], json!({})), 31));
    repo.roles.insert(
        "pong".into(),
        (nested(&[to("ping"), to("pong"), to("last")], &[31], json!({})), 31),
    );
    repo.roles
        .insert("last".into(), (json!({"targets": {"x": listing(b"x")}}), 31));
    repo.delegations = Some(nested(&[to("ping")], &[31], json!({}))["delegations"].take());
    repo.publish();
    assert_eq!(repo.client().find("x").await.unwrap().unwrap().role, "last");
    assert_eq!(repo.client().find("y").await.unwrap(), None);

    // The 32nd role, `targets` among them, is the last that is asked.
    let crowd: Vec<_> = (0..40).map(|n| format!("r{n}")).collect();
    for name in &crowd {
        repo.roles
            .insert(name.clone(), (json!({"targets": {name: listing(b"x")}}), 31));
    }
    let roles: Vec<_> = crowd.iter().map(|name| to(name)).collect();
    repo.delegations = Some(nested(&roles, &[31], json!({}))["delegations"].take());
    repo.publish();
    assert!(repo.client().find("r30").await.unwrap().is_some());
    assert!(repo.client().find("r31").await.unwrap().is_none());
}

#[tokio::test]
async fn a_role_is_judged_by_whoever_delegated_to_it() {
    let mut repo = Repo::new().await;
    repo.roles
        .insert("team".into(), (json!({"targets": {"x": listing(b"x")}}), 31));
    repo.roles.insert(
        "over".into(),
        (nested(&[delegate("team", 31, false, &["*"])], &[31], json!({})), 31),
    );
    // The same role name, but under a key that did not sign it.
    let roles = [delegate("team", 32, false, &["x"]), delegate("over", 31, false, &["*"])];
    repo.delegations = Some(nested(&roles, &[31, 32], json!({}))["delegations"].take());
    repo.publish();
    assert_eq!(
        attack(repo.client().find("x").await),
        ("team.json".into(), Attack::ArbitrarySoftware)
    );
}

#[tokio::test]
async fn without_consistent_snapshots_plain_names_are_asked() {
    let mut repo = Repo::new().await;
    let mut root = root_of(&[ROOT], TIMESTAMP, SNAPSHOT, TARGETS);
    root["consistent_snapshot"] = false.into();
    repo.next_root(root, &[ROOT]);
    let files = repo.site.files.lock().unwrap().clone();
    for (path, reply) in files {
        if let Some(name) = path
            .strip_prefix("/metadata/1.")
            .filter(|name| !name.ends_with("root.json"))
        {
            repo.site.set(&format!("/metadata/{name}"), reply);
            repo.site.remove(&path);
        }
    }
    repo.site.asked();
    repo.download("top.txt").await.unwrap();
    assert_eq!(repo.site.asked().last().map(String::as_str), Some("/top.txt"));
}

#[tokio::test]
async fn a_damaged_store_is_no_obstacle() {
    let repo = Repo::new().await;
    repo.download("top.txt").await.unwrap();
    for name in names(&repo.folder.path().join("store")) {
        if name != "roots" {
            fs::write(repo.folder.path().join("store").join(&name), "{\"half").unwrap();
        }
    }
    fs::remove_file(repo.output()).unwrap();
    repo.download("top.txt").await.unwrap();
}

#[test]
fn errors_name_the_attack() {
    let text = |attack| refused("1.x.json", attack, "it is old").to_string();
    assert_eq!(
        text(Attack::Rollback),
        "`1.x.json` is refused: it is old; this looks like a rollback attack"
    );
    assert_eq!(
        text(Attack::EndlessData),
        "`1.x.json` is refused: it is old; this looks like an endless data attack"
    );
}
