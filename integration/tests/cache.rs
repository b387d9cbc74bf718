//! The cache as clients and the upstream see it: what needs no request, what needs a question, what is never kept.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    thread,
    time::{Duration, SystemTime},
};

use tufgate::Digest;

use crate::{
    hostile_origin,
    support::{
        gate::{Gate, Setup, until},
        http::{self, Response},
        nginx::Nginx,
        origin::{Behaviour, Framing, Origin},
    },
};

/// An origin whose answers carry this entity tag.
fn tagged(origin: &Origin, path: &str, tag: &str) {
    let lines = format!("ETag: \"{tag}\"\r\nContent-Type: text/x-test\r\n");
    origin.script(path, Behaviour::ServeWith(Framing::Length, lines));
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n / 3 + n / 1009) as u8).collect()
}

fn ask(gate: &Gate, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    http::request(gate.addr, method, target, headers, b"")
}

/// Published, signed and read once by anybody.
fn warm(gate: &Gate, path: &str, body: &[u8]) {
    gate.publish(path, body);
    assert_eq!(gate.get(path).body, body);
}

#[test]
fn hits_need_no_upstream_in_any_form() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    for (name, length) in [("small", 1_000), ("large", 1_000_000)] {
        let (path, body) = (format!("/d/{name}"), bytes(length));
        gate.publish(&path, &body);
        tagged(&origin, &path, name);
        assert_eq!(gate.get(&path).body, body);
        let asked = origin.count(&path);
        let digest = Digest::of(&body);
        for target in [
            path.clone(),
            format!("/d/{digest}.{name}"),
            format!("/{digest}.d/{name}"),
            format!("/%64/{name}"),
        ] {
            for _ in 0..2 {
                let whole = gate.get(&target);
                assert_eq!((whole.status, &whole.body), (200, &body), "{target}");
                assert_eq!(whole.header("etag"), Some(&*format!("\"{name}\"")), "{target}");
                assert_eq!(whole.header("content-type"), Some("text/x-test"));
                assert!(
                    whole.header("tufgate-status").unwrap().starts_with("signed"),
                    "{target}"
                );
                assert!(whole.header("age").is_some() && whole.header("repr-digest").is_some());
                let head = ask(&gate, "HEAD", &target, &[]);
                assert_eq!(
                    (head.status, head.header("content-length")),
                    (200, Some(&*length.to_string()))
                );
                let part = ask(&gate, "GET", &target, &[("Range", "bytes=10-19")]);
                assert_eq!((part.status, &part.body[..]), (206, &body[10..20]), "{target}");
                let known = ask(&gate, "GET", &target, &[("If-None-Match", &format!("W/\"{name}\""))]);
                assert_eq!((known.status, known.body.len()), (304, 0), "{target}");
                let failed = ask(&gate, "GET", &target, &[("If-Match", "\"x\"")]);
                assert_eq!(failed.status, 412, "{target}");
                let stale = [("Range", "bytes=1-2"), ("If-Range", "\"x\"")];
                assert_eq!(ask(&gate, "GET", &target, &stale).body, body, "{target}");
            }
        }
        assert_eq!(origin.count(&path), asked, "{name}: the upstream was asked again");
    }
}

#[test]
fn several_ranges_come_in_parts() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    let body = bytes(400_000);
    warm(&gate, "/r.bin", &body);
    let several = ask(&gate, "GET", "/r.bin", &[("Range", "bytes=0-9, 300000-300004,-1")]);
    assert_eq!((several.status, several.whole), (206, true));
    let kind = several.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut expected = Vec::new();
    for (from, to) in [(0, 9), (300_000, 300_004), (399_999, 399_999)] {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {from}-{to}/400000\r\n\r\n"
        );
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&body[from..=to]);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(several.body == expected, "{}", String::from_utf8_lossy(&several.body));
    assert!(several.header("repr-digest").is_some());
    // What costs more than the whole gets the whole.
    for bomb in [
        "bytes=0-,0-",
        &format!("bytes={}", "0-0,".repeat(1000)),
        "bytes=0-9,5-14",
    ] {
        let whole = ask(&gate, "GET", "/r.bin", &[("Range", bomb)]);
        assert_eq!((whole.status, &whole.body), (200, &body), "{bomb}");
    }
}

#[test]
fn a_herd_makes_one_request_and_all_stream() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    let body = bytes(4_000_000);
    gate.publish("/stalled", &body);
    let before = origin.count("/stalled");
    origin.script("/stalled", Behaviour::Stall(Framing::Length, body.len() / 2));
    let mut readers: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = http::connect(gate.addr);
            write!(stream, "GET /stalled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            stream
        })
        .collect();
    // All get what there is, although the upstream has sent half.
    for stream in &mut readers {
        let mut begin = vec![0; 1_000_000];
        stream.read_exact(&mut begin).unwrap();
        assert!(
            begin.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&begin[..40])
        );
    }
    assert_eq!(origin.count("/stalled"), before + 1);
    // Once nobody waits for it any more it is given up.
    drop(readers);
    until("the fetch to be given up", || {
        gate.metric("tufgate_cache_fills_total{outcome=\"aborted\"}") >= 1.0
    });
    origin.script("/stalled", Behaviour::Serve(Framing::Length));
    assert!(gate.get("/stalled").body == body);
    for (name, length) in [("small", 10_000), ("large", 3_000_000)] {
        let (path, body) = (format!("/{name}"), bytes(length));
        gate.publish(&path, &body);
        let before = origin.count(&path);
        thread::scope(|scope| {
            let all: Vec<_> = (0..100).map(|_| scope.spawn(|| gate.get(&path))).collect();
            for reader in all {
                let response = reader.join().unwrap();
                assert!(response.whole && response.body == body, "{name}");
            }
        });
        assert_eq!(origin.count(&path), before + 1, "{name}");
    }
}

#[test]
fn nobody_in_a_herd_gets_the_last_chunk_of_other_bytes() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    for (name, length) in [("small", 10_000), ("large", 3_000_000)] {
        let (path, body) = (format!("/{name}"), bytes(length));
        gate.publish(&path, &body);
        let mut other = body.clone();
        other[length / 2] ^= 1;
        origin.put_file(&path, other);
        thread::scope(|scope| {
            let all: Vec<_> = (0..40).map(|_| scope.spawn(|| gate.get(&path))).collect();
            for reader in all {
                let response = reader.join().unwrap();
                assert!(
                    response.status == 502 || (!response.whole && response.body.len() < length),
                    "{name}: {} {}",
                    response.status,
                    response.body.len()
                );
            }
        });
    }
    until("the drift to be confirmed", || {
        gate.metric("tufgate_drifts_total") >= 2.0
    });
}

#[test]
fn drifted_paths_go_on_serving_what_is_kept() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()).extra("[cache]\nfresh_for = \"0s\"\n"));
    for (name, length) in [("small", 1_000), ("large", 1_000_000)] {
        let (path, body) = (format!("/{name}"), bytes(length));
        warm(&gate, &path, &body);
        for other in [vec![b'x'; length], vec![b'y'; length + 1]] {
            fs::write(nginx.file(name), other).unwrap();
            // nginx makes its validators from a date in seconds: another one, so that the change shows.
            let file = fs::File::options().append(true).open(nginx.file(name)).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(length))
                .unwrap();
            let drifts = gate.metric("tufgate_drifts_total");
            for _ in 0..20 {
                let response = gate.get(&path);
                assert!(
                    response.status == 200 && response.body == body,
                    "{name}: {}",
                    response.status
                );
            }
            until("the drift to be noticed", || {
                gate.get(&path);
                drifts > 0.0 || gate.metric("tufgate_drifts_total") > drifts
            });
        }
        let part = ask(&gate, "GET", &path, &[("Range", "bytes=5-6")]);
        assert_eq!((part.status, &part.body[..]), (206, &body[5..7]));
        // What the upstream does not give is not for the gate to give.
        fs::remove_file(nginx.file(name)).unwrap();
        assert_eq!(gate.get(&path).status, 404, "{name}");
    }
}

#[test]
fn what_the_upstream_forbids_to_keep_is_asked_for_each_time() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    for (number, lines) in [
        "Cache-Control: no-store\r\n",
        "Cache-Control: private\r\n",
        "Cache-Control: max-age=9, private=\"x\"\r\n",
        "Vary: *\r\n",
    ]
    .iter()
    .enumerate()
    {
        for length in [100, 400_000] {
            let (path, body) = (format!("/{number}-{length}"), bytes(length));
            gate.publish(&path, &body);
            origin.script(
                &path,
                Behaviour::ServeWith(Framing::Length, format!("ETag: \"a\"\r\n{lines}")),
            );
            let before = origin.count(&path);
            for asked in 1..=3 {
                assert_eq!(gate.get(&path).body, body);
                assert_eq!(origin.count(&path), before + asked, "{lines}");
            }
            let last = origin.requests().into_iter().rfind(|seen| seen.path() == path).unwrap();
            assert_eq!(
                last.header("if-none-match"),
                None,
                "{lines}: nothing is kept that could be asked about"
            );
        }
    }
}

#[test]
fn writes_through_the_gate_and_operators_end_what_is_ready() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    for name in ["deleted", "retracted"] {
        warm(&gate, &format!("/{name}"), name.as_bytes());
        // Often enough to be answered without any look-up.
        (0..5).for_each(|_| assert_eq!(gate.get(&format!("/{name}")).status, 200));
    }
    let deleted = http::request(gate.addr, "DELETE", "/deleted", &[], b"");
    assert_eq!(deleted.status, 204);
    assert_eq!(gate.get("/deleted").status, 404, "at once");
    let config = gate.dir.join("tufgate.toml");
    let args = [
        "retract",
        "retracted",
        "--reason",
        "test",
        "--config",
        config.to_str().unwrap(),
    ];
    let done = crate::support::gate::tufgate(&gate.dir, &args);
    assert!(done.status.success(), "{done:?}");
    until("the retraction", || gate.get("/retracted").status == 410);
    let digest = Digest::of(b"retracted");
    for target in [format!("/{digest}.retracted"), "/%72etracted".to_owned()] {
        assert_eq!(gate.get(&target).status, 410, "{target}");
    }
}

/// Files of artifacts in the cache's folder.
fn kept_files(gate: &Gate) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![gate.dir.join("cache")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false if entry.metadata().unwrap().len() > 1000 => found.push(entry.path()),
                false => {}
            }
        }
    }
    found
}

#[test]
fn kept_files_survive_a_kill_and_tampering_never_shows() {
    let (_runtime, origin) = hostile_origin();
    let mut gate = Gate::start(&Setup::learning(origin.url()));
    let body = bytes(2_000_000);
    gate.publish("/kept", &body);
    tagged(&origin, "/kept", "a");
    assert_eq!(gate.get("/kept").body, body);
    until("the file", || kept_files(&gate).len() == 1);
    gate.kill();
    gate.run();
    gate.until_ready();
    assert_eq!(gate.get("/kept").body, body);
    assert!(
        gate.metric("tufgate_cache_hits_total{place=\"disk\"}") >= 1.0,
        "from disk"
    );
    gate.kill();
    let file = kept_files(&gate).remove(0);
    let mut wrong = body.clone();
    wrong[1_000_000] ^= 1;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, &wrong).unwrap();
    gate.run();
    gate.until_ready();
    for _ in 0..3 {
        assert!(gate.get("/kept").body == body, "tampered bytes were served");
        let part = ask(&gate, "GET", "/kept", &[("Range", "bytes=1000000-1000009")]);
        assert_eq!(&part.body[..], &body[1_000_000..1_000_010]);
    }
    assert!(gate.metric("tufgate_cache_damaged_total") >= 1.0);
}

#[test]
fn a_reader_that_leaves_cuts_nobody_and_a_slow_one_holds_nobody_up() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    let body = bytes(20_000_000);
    gate.publish("/shared", &body);
    let open = || {
        let mut stream = http::connect(gate.addr);
        write!(stream, "GET /shared HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    let mut first = open();
    let mut begin = [0; 100];
    first.read_exact(&mut begin).unwrap();
    let slow = open();
    thread::scope(|scope| {
        let others: Vec<_> = (0..8).map(|_| scope.spawn(|| gate.get("/shared"))).collect();
        drop(first);
        for reader in others {
            assert!(reader.join().unwrap().body == body);
        }
    });
    thread::sleep(Duration::from_millis(10));
    assert!(http::read(slow, false).body == body, "the slow one gets it whole too");
}

#[test]
fn other_validators_of_a_large_artifact_lead_to_a_neutral_read() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).extra("[cache]\nfresh_for = \"0s\"\n"));
    let body = bytes(1_000_000);
    gate.publish("/large", &body);
    tagged(&origin, "/large", "a");
    assert!(gate.get("/large").body == body);
    // The same validator says the same bytes: a question a reader, and nothing else.
    let before = origin.count("/large");
    for _ in 0..5 {
        assert!(gate.get("/large").body == body);
    }
    assert_eq!(origin.count("/large"), before + 5);
    let mut other = body.clone();
    other[500_000] ^= 1;
    origin.put_file("/large", other);
    tagged(&origin, "/large", "b");
    assert!(gate.get("/large").body == body);
    until("the drift to be confirmed", || {
        gate.metric("tufgate_drifts_total") >= 1.0
    });
    assert!(gate.get("/large").body == body);
}

#[test]
fn what_is_kept_is_read_while_the_ledger_fails() {
    let (_runtime, origin) = hostile_origin();
    let rules = "[[rule]]\npath = \"repo/**\"\nkind = \"immutable\"\nlearn = \"fetch\"\n";
    let gate = Gate::start(
        &Setup::learning(origin.url())
            .rules(rules)
            .extra("[cache]\nfresh_for = \"0s\"\n"),
    );
    origin.put_file("/plain", "plain");
    let (small, large) = (bytes(1_000), bytes(1_000_000));
    for (path, body) in [
        ("/repo/small", &small),
        ("/repo/large", &large),
        ("/repo/unread", &small),
    ] {
        gate.publish(path, body);
        tagged(&origin, path, "a");
        if path != "/repo/unread" {
            assert!(gate.get(path).body == *body);
        }
    }
    let ledger = |sql: &str| {
        let hand = rusqlite::Connection::open(gate.dir.join("ledger.db")).unwrap();
        hand.busy_timeout(Duration::from_secs(30)).unwrap();
        hand.execute_batch(sql).unwrap();
    };
    ledger("ALTER TABLE target RENAME TO lost");
    assert_eq!(gate.get("/repo/unread").status, 503, "nobody knows what it is");
    for (name, body) in [("small", &small), ("large", &large)] {
        let path = format!("/repo/{name}");
        let hashed = format!("/repo/{}.{name}", Digest::of(body));
        for target in [&path, &hashed] {
            let read = gate.get(target);
            assert!((read.status, &read.body) == (200, body), "{target}: {}", read.status);
            assert_eq!(read.header("tufgate-status"), Some("pending"), "who knows?");
            let part = ask(&gate, "GET", target, &[("Range", "bytes=3-4")]);
            assert_eq!((part.status, &part.body[..]), (206, &body[3..5]), "{target}");
        }
        let other = gate.get(&format!("/repo/{}.{name}", Digest::of(b"other")));
        assert_eq!(other.status, 503, "{name}");
        assert_eq!(gate.get(&format!("{path}?a=b")).status, 400, "{name}: as ever");
        // Other bytes are not taken for those.
        origin.put_file(&path, vec![1; body.len()]);
        tagged(&origin, &path, "b");
        assert!(gate.get(&path).body == *body, "{name}");
        // Whom the upstream refuses, the gate refuses too.
        origin.script(&path, Behaviour::WriteOnly);
        assert_eq!(gate.get(&path).status, 401, "{name}");
        let put = gate.put(&path, b"other");
        assert_eq!((put.status, put.problem().as_deref()), (503, Some("ledger")), "{name}");
        assert!(origin.stored(&path).unwrap() != b"other", "{name}");
    }
    assert_eq!(gate.get("/plain").body, b"plain");
    assert_eq!(gate.get("/metadata/timestamp.json").status, 200);
    ledger("ALTER TABLE lost RENAME TO target");
    assert!(gate.get("/repo/unread").body == small);
    assert_eq!(gate.put("/repo/after", b"healed").status, 201);
}
