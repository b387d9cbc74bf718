//! What a client may be sent, and that each of it is refused with a reason, in bounded memory, with nothing written: no
//! output, and nothing of it in what the client trusts.

mod repository;

use std::{fs, os::unix::fs::chown, path::Path, time::Duration};

use serde_json::{Map, json};
use tufgate::client::{Client, ClientOptions, Timeouts, Trust};

use self::repository::{Repository, SNAPSHOT, TARGETS, TEAM, TIMESTAMP, delegate, file};
use crate::{
    fuzz::forge::{envelope, id, keys, metadata, sha256, sign, signature},
    operate::Tmpfs,
    support::origin::{Behaviour, Framing},
};

/// All that a client asks for on its way to `second`, and which of it is new to the store when the file fails.
const FILES: [(&str, &[&str]); 4] = [
    ("2.root.json", &[]),
    ("timestamp.json", &[]),
    ("2.snapshot.json", &["timestamp.json"]),
    ("2.targets.json", &["snapshot.json", "timestamp.json"]),
];

#[test]
fn a_gigabyte_is_refused_at_its_limit() {
    for (name, news) in FILES {
        for framing in [Framing::Length, Framing::Chunked, Framing::Close] {
            let mut repository = Repository::new();
            repository.publish();
            repository.script(name, Behaviour::Endless(framing));
            repository.refused("endless data", news);
        }
    }
    let mut repository = Repository::new();
    repository.publish();
    let target = format!("/{}.second", sha256(b"bytes of second"));
    repository.origin.script(&target, Behaviour::Endless(Framing::Chunked));
    let news = ["snapshot.json", "targets.json", "timestamp.json"];
    repository.refused("endless data", &news);
}

#[test]
fn json_that_two_readers_see_differently_is_refused() {
    let listing = |version: i64| {
        let mut timestamp = metadata("timestamp", 2, &json!({"meta": {"snapshot.json": {"version": 2}}}));
        timestamp["version"] = version.into();
        String::from_utf8(sign(&timestamp, &[TIMESTAMP])).unwrap()
    };
    // The signature is good for what a lax reader makes of the text.
    let honest = listing(2);
    let honest = honest.strip_suffix("\"version\":2}}").unwrap();
    for (text, why) in [
        (format!("{honest}\"version\":2,\"version\":2}}}}"), "stands twice"),
        (format!("{honest}\"version\":1,\"version\":2}}}}"), "stands twice"),
        (format!("{honest}\"version\":2.0}}}}"), "no integer"),
        (format!("{honest}\"version\":2e0}}}}"), "no integer"),
        (format!("{honest}\"version\":18446744073709551616}}}}"), "no integer"),
        (format!("{honest}\"version\":2}}}} {{}}"), "trailing"),
        (listing(-2), "invalid value: integer `-2`"),
        (listing(0), "invalid value: integer `0`"),
    ] {
        let mut repository = Repository::new();
        repository.publish_timestamp(text.into_bytes());
        repository.refused(why, &[]);
    }
}

#[test]
fn versions_and_lengths_are_counts() {
    for (field, value) in [("version", json!(-1)), ("version", json!(0)), ("length", json!(-1))] {
        let mut repository = Repository::new();
        let mut listed = json!({"version": 2});
        listed[field] = value;
        let snapshot = metadata("snapshot", 2, &json!({"meta": {"targets.json": listed}}));
        repository.publish_snapshot(sign(&snapshot, &[SNAPSHOT]));
        repository.refused("invalid value", &["timestamp.json"]);
    }
}

#[test]
fn depth_bombs_are_refused() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        // As deep as a timestamp and a targets file are long.
        for (name, length, news) in [("timestamp.json", 16_384, FILES[1].1), ("2.targets.json", 5_000_000, FILES[3].1)] {
            let depth = (length - 100) / (open.len() + close.len());
            let bomb = format!("{{\"signatures\":[],\"signed\":{}1{}}}", open.repeat(depth), close.repeat(depth));
            let mut repository = Repository::new();
            repository.publish();
            repository.put(name, bomb);
            repository.refused("levels", news);
        }
    }
}

#[test]
fn encodings_nobody_asked_for_are_refused_unread() {
    // A gigabyte of spaces in a megabyte, and honest metadata as gzip has it.
    let bomb = gzip(&vec![b' '; 1 << 30]);
    for (name, news) in FILES {
        let mut repository = Repository::new();
        repository.publish();
        let honest = repository.origin.stored(&format!("/metadata/{name}")).unwrap_or_default();
        for body in [bomb.clone(), gzip(&honest)] {
            let gzipped = Behaviour::ServeWith(Framing::Length, "Content-Encoding: gzip\r\n".to_owned());
            repository.script(name, gzipped);
            repository.put(name, body);
            repository.refused("content encoding `gzip`", news);
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn redirects_are_not_followed() {
    let (_runtime, elsewhere) = crate::hostile_origin();
    let target = format!("/{}.second", sha256(b"bytes of second"));
    elsewhere.put_file(&target, "bytes of second");
    for (name, news) in FILES {
        let mut repository = Repository::new();
        repository.publish();
        let path = format!("/metadata/{name}");
        elsewhere.put_file(&path, repository.origin.stored(&path).unwrap_or_default());
        repository.script(name, Behaviour::Redirect(format!("{}{path}", elsewhere.url())));
        repository.refused("302", news);
    }
    let mut repository = Repository::new();
    repository.publish();
    let moved = Behaviour::Redirect(format!("{}{target}", elsewhere.url()));
    repository.origin.script(&target, moved);
    repository.refused("302", &["snapshot.json", "targets.json", "timestamp.json"]);
    assert!(elsewhere.requests().is_empty(), "{:?}", elsewhere.requests());
}

#[test]
fn ten_thousand_delegations_are_not_walked() {
    let mut repository = Repository::new();
    let names: Vec<_> = (0..10_000).map(|n| format!("team-{n}")).collect();
    repository.roles = names.iter().map(|name| (name.clone(), json!({"targets": {}}))).collect();
    let roles: Vec<_> = names.iter().map(|name| delegate(name)).collect();
    repository.delegations = Some(json!({"keys": keys(&[TEAM]), "roles": roles}));
    repository.publish();
    let before = repository.state();
    let ended = repository.get("third");
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert!(ended.said.contains("`third`"), "{}", ended.said);
    let asked: Vec<_> = repository.origin.requests().into_iter().filter(|seen| seen.target.contains("team-")).collect();
    assert_eq!(asked.len(), 32);
    assert!(before.len() < repository.state().len(), "what was good is kept");
    // What the first role lists is found all the same.
    assert_eq!(repository.get("second").code, Some(0));
}

#[test]
fn delegations_in_a_circle_end() {
    let mut repository = Repository::new();
    let to = |names: &[&str]| {
        let roles: Vec<_> = names.iter().map(|name| delegate(name)).collect();
        json!({"targets": {}, "delegations": {"keys": keys(&[TEAM]), "roles": roles}})
    };
    repository.delegations = Some(to(&["a", "b"])["delegations"].clone());
    repository.roles = [("a", to(&["a", "b", "c"])), ("b", to(&["a"])), ("c", to(&["b", "a"]))]
        .map(|(name, rest)| (name.to_owned(), rest))
        .into();
    repository.publish();
    let ended = repository.get("third");
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    let asked = |name: &str| repository.origin.count(&format!("/metadata/{}", file(name, 2)));
    assert_eq!([asked("a"), asked("b"), asked("c")], [1, 1, 1]);

    repository.roles.insert("a".to_owned(), to(&["targets"]));
    repository.publish();
    let ended = repository.get("third");
    assert_eq!(ended.code, Some(1));
    assert!(ended.said.contains("cannot be called `targets`"), "{}", ended.said);
}

#[test]
fn names_that_leave_the_folder_stay_in_it() {
    let mut repository = Repository::new();
    let bytes = b"bytes of evil";
    let listed = json!({"length": bytes.len(), "hashes": {"sha256": sha256(bytes)}});
    let names = ["../evil", "../../evil", "/evil", "a/../../evil", "a/..", "..", "%2e%2e/evil", "a\0b", "a\\..\\..\\evil"];
    let targets: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), listed.clone())).collect();
    repository.roles.insert("../../up".to_owned(), json!({"targets": targets}));
    repository.delegations = Some(json!({"keys": keys(&[TEAM]), "roles": [{
        "name": "../../up", "keyids": [id(TEAM)], "threshold": 1, "terminating": true, "path_hash_prefixes": [""],
    }]}));
    repository.publish();
    repository.origin.script_all(Behaviour::Serve(Framing::Length));
    for name in names.iter().filter(|name| !name.contains('\0')) {
        let _ = repository.get(name);
        let inside = ["downloads", "peak", "root.json", "store"];
        let mut found: Vec<_> = fs::read_dir(repository.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(found, inside, "after `{name}`");
        assert!(!Path::new("/evil").exists() && !repository.folder.path().parent().unwrap().join("evil").exists());
    }
    let stored = repository.state();
    assert!(stored.contains_key("store/..%2F..%2Fup.json"), "{:?}", stored.keys());
}

#[test]
fn a_server_that_drips_is_left() {
    let mut repository = Repository::new();
    repository.publish();
    let target = format!("/{}.second", sha256(b"bytes of second"));
    for (dripping, path) in ["/metadata/2.root.json", "/metadata/timestamp.json", &target].into_iter().enumerate() {
        repository.origin.script(path, Behaviour::Drip(Duration::from_millis(20)));
        let store = repository.folder.path().join(format!("store-{dripping}"));
        let output = repository.folder.path().join("output");
        let base = repository.origin.url();
        let trust = Trust::RootFile(repository.root());
        let mut options = ClientOptions::new(format!("{base}/metadata/"), format!("{base}/"), trust, store);
        // A byte comes well within each wait; it is the sum of them that is too long.
        options.timeouts = Timeouts {
            idle: Duration::from_secs(20),
            total: Duration::from_millis(400),
            min_rate: 1 << 30,
            ..Timeouts::default()
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let error = runtime.block_on(async {
            let mut client = Client::open(options).unwrap();
            client.download("second", &output, |_, _| {}).await.unwrap_err()
        });
        let said = error.to_string();
        assert!(said.contains(path) && said.contains("too slow"), "{said}");
        assert!(!output.exists());
        repository.origin.script(path, Behaviour::Serve(Framing::Length));
    }
}

#[test]
fn a_full_disk_keeps_what_was_trusted() {
    let disk = Tmpfs::new("1m");
    let mut repository = Repository::new();
    let store = disk.0.path().join("store");
    fs::create_dir(&store).unwrap();
    repository.store = store;
    assert_eq!(repository.get("first").code, Some(0));
    // So much that no file system has room for it in what it set aside.
    repository.delegations = Some(json!({"keys": keys(&[TEAM]), "roles": [], "x-filling": "x".repeat(100_000)}));
    repository.publish();
    let filler = disk.fill();
    repository.refused("no space left", &[]);
    fs::remove_file(filler).unwrap();
    let healed = repository.get("second");
    assert_eq!(healed.code, Some(0), "{}", healed.said);
}

#[test]
fn a_folder_of_another_user_is_not_trusted() {
    let mut repository = Repository::new();
    repository.publish();
    chown(&repository.store, Some(65_534), Some(65_534)).unwrap();
    repository.refused("belongs to", &[]);
    assert_eq!(repository.origin.count("/metadata/2.timestamp.json"), 0);
}

#[test]
fn signatures_that_are_not_enough_change_nothing() {
    let mut repository = Repository::new();
    let targets = metadata("targets", 2, &json!({"targets": {}}));
    let line = |sig: String| json!({"keyid": id(TARGETS), "sig": sig});
    let good = signature(&targets, TARGETS);
    for lines in [
        json!([]),
        json!([line(signature(&targets, TEAM))]),
        json!([line(good.clone()), line(good)]),
        json!([line(String::new())]),
    ] {
        let before = repository.state();
        repository.publish_targets(envelope(&targets, &lines));
        let ended = repository.get("second");
        assert_eq!(ended.code, Some(1), "{lines}");
        assert!(ended.said.contains("signature") || ended.said.contains("signs twice"), "{}", ended.said);
        assert_eq!(repository.state().get("store/targets.json"), before.get("store/targets.json"));
    }
}
