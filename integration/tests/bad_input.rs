//! What a client may be sent, and that each of it is refused with a reason, in bounded memory, with nothing written: no
//! output, and nothing of it in what the client trusts.

mod repository;

use std::{fs, io::Write as _, os::unix::fs::chown, path::Path, time::Duration};

use serde_json::{Map, json};
use tufgate::internals::client::{Client, ClientOptions, Timeouts, Trust};

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
        for (name, length, news) in [
            ("timestamp.json", 16_384, FILES[1].1),
            ("2.targets.json", 5_000_000, FILES[3].1),
        ] {
            let depth = (length - 100) / (open.len() + close.len());
            let bomb = format!(
                "{{\"signatures\":[],\"signed\":{}1{}}}",
                open.repeat(depth),
                close.repeat(depth)
            );
            let mut repository = Repository::new();
            repository.publish();
            repository.put(name, bomb);
            repository.refused("levels", news);
        }
    }
}

#[test]
fn encodings_nobody_asked_for_are_refused_unread() {
    for (name, news) in FILES {
        for bomb in [true, false] {
            let mut repository = Repository::new();
            repository.publish();
            let honest = repository.origin.stored(&format!("/metadata/{name}"));
            let body = match bomb {
                // A gigabyte of spaces in a megabyte: gzip's members follow each other.
                true => gzip(&[b' '; 1 << 20]).repeat(1 << 10),
                false => gzip(&honest.unwrap_or_default()),
            };
            let gzipped = Behaviour::ServeWith(Framing::Length, "Content-Encoding: gzip\r\n".to_owned());
            repository.put(name, body);
            repository.script(name, gzipped);
            repository.refused("content encoding `gzip`", news);
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn redirects_move_no_metadata_and_no_other_bytes() {
    let (_runtime, elsewhere) = crate::hostile_origin();
    for (name, news) in FILES {
        let mut repository = Repository::new();
        repository.publish();
        let path = format!("/metadata/{name}");
        elsewhere.put_file(&path, repository.origin.stored(&path).unwrap_or_default());
        repository.script(name, Behaviour::Redirect(format!("{}{path}", elsewhere.url())));
        repository.refused("is redirected", news);
    }
    assert!(elsewhere.requests().is_empty(), "{:?}", elsewhere.requests());
    // A target may lie elsewhere, since its bytes are checked wherever they come from.
    let mut repository = Repository::new();
    repository.publish();
    let target = format!("/{}.second", sha256(b"bytes of second"));
    elsewhere.put_file(&target, "bytes of 2econd");
    let moved = Behaviour::Redirect(format!("{}{target}", elsewhere.url()));
    repository.origin.script(&target, moved);
    repository.refused("sha256", &["snapshot.json", "targets.json", "timestamp.json"]);
    assert_eq!(elsewhere.count(&target), 1);
}

#[test]
fn ten_thousand_delegations_are_not_walked() {
    let mut repository = Repository::new();
    let names: Vec<_> = (0..10_000).map(|n| format!("team-{n}")).collect();
    // More of them than may be visited.
    let published = &names[..40];
    repository.roles = published
        .iter()
        .map(|name| (name.clone(), json!({"targets": {}})))
        .collect();
    let roles: Vec<_> = names.iter().map(|name| delegate(name)).collect();
    repository.delegations = Some(json!({"keys": keys(&[TEAM]), "roles": roles}));
    repository.publish();
    let ended = repository.get("third");
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert!(ended.said.contains("is not in this repository"), "{}", ended.said);
    let asked = repository.origin.requests().into_iter();
    assert_eq!(asked.filter(|seen| seen.target.contains("team-")).count(), 32);
    // What `targets` lists itself is found all the same.
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
    let names = [
        "../evil",
        "../../evil",
        "/evil",
        "a/../../evil",
        "a/..",
        "..",
        ".",
        "a/",
        "%2e%2e/evil",
        "a\\..\\..\\evil",
    ];
    let targets: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), listed.clone())).collect();
    repository
        .roles
        .insert("../../up".to_owned(), json!({"targets": targets}));
    repository.delegations = Some(json!({"keys": keys(&[TEAM]), "roles": [{
        "name": "../../up", "keyids": [id(TEAM)], "threshold": 1, "terminating": true, "path_hash_prefixes": [""],
    }]}));
    repository.publish();

    let base = repository.origin.url();
    let metadata = format!("{base}/metadata/");
    let root = repository.root();
    let suite = repository.folder.path().join("suite");
    let (suite, root) = (suite.to_str().unwrap(), root.to_str().unwrap());
    let init = repository.tufgate(&["tuf", "--metadata-dir", suite, "init", root]);
    assert_eq!(init.code, Some(0), "{}", init.said);
    let mut written = 0;
    for name in names {
        // What is asked for at first is then there.
        for _ in 0..2 {
            repository.get(name);
            let download = [
                "--target-name",
                name,
                "--target-base-url",
                &base,
                "--target-dir",
                "targets",
                "download",
            ];
            let options = ["tuf", "--metadata-dir", suite, "--metadata-url", &metadata];
            repository.tufgate(&[&options[..], &download].concat());
            for asked in repository.origin.requests() {
                if !asked.target.starts_with("/metadata/") {
                    repository.origin.put_file(asked.path(), bytes);
                }
            }
        }
        let folder = repository.folder.path();
        let mut found: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(
            found,
            ["downloads", "peak", "root.json", "store", "suite"],
            "after `{name}`"
        );
        assert!(!Path::new("/evil").exists() && !folder.parent().unwrap().join("evil").exists());
    }
    let state = repository.state();
    for (name, content) in &state {
        written += usize::from(name.starts_with("downloads/") && content == bytes);
    }
    assert!(
        written > names.len(),
        "hardly anything was downloaded: {:?}",
        state.keys()
    );
    assert!(state.contains_key("store/..%2F..%2Fup.json"), "{:?}", state.keys());
}

#[test]
fn a_server_that_drips_is_left() {
    let mut repository = Repository::new();
    repository.publish();
    let target = format!("/{}.second", sha256(b"bytes of second"));
    for (dripping, path) in ["/metadata/2.root.json", "/metadata/timestamp.json", &target]
        .into_iter()
        .enumerate()
    {
        repository
            .origin
            .script(path, Behaviour::Drip(Duration::from_millis(500)));
        let store = repository.folder.path().join(format!("store-{dripping}"));
        let output = repository.folder.path().join("output");
        let base = repository.origin.url();
        let trust = Trust::RootFile(repository.root());
        let mut options = ClientOptions::new(format!("{base}/metadata/"), format!("{base}/"), trust, store);
        // A byte comes well within each wait; it is the sum of them that is too long.
        options.timeouts = Timeouts {
            idle: Duration::from_secs(20),
            total: Duration::from_secs(2),
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
    let asked = repository.origin.requests().len();
    repository.refused("belongs to", &[]);
    assert_eq!(repository.origin.requests().len(), asked);
}

#[test]
fn signatures_that_are_not_enough_change_nothing() {
    let targets = metadata("targets", 2, &json!({"targets": {}}));
    let line = |sig: String| json!({"keyid": id(TARGETS), "sig": sig});
    let good = signature(&targets, TARGETS);
    for (lines, why) in [
        (json!([]), "0 of 1 needed signatures"),
        (json!([line(signature(&targets, TEAM))]), "0 of 1 needed signatures"),
        (json!([line(String::new())]), "0 of 1 needed signatures"),
        (json!([line(good.clone()), line(good)]), "signs twice"),
    ] {
        let mut repository = Repository::new();
        repository.publish_targets(envelope(&targets, &lines));
        repository.refused(why, &["snapshot.json", "timestamp.json"]);
    }
}
