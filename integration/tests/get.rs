//! Reads: learning, verifying, the three name forms, ranges, conditions, queries, waiting, redirects, broken upstreams.

use std::{
    fs,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tufgate::Digest;

use crate::{
    hostile_origin,
    support::{
        gate::{Gate, Setup, signal, until},
        http,
        nginx::Nginx,
        origin::{Behaviour, Framing},
    },
};

fn signed(response: &http::Response) -> bool {
    response
        .header("tufgate-status")
        .is_some_and(|status| status.starts_with("signed"))
}

#[test]
fn the_first_whole_fetch_teaches() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    for (name, body) in [
        ("small", b"small".to_vec()),
        ("large", vec![5; 2_000_000]),
        ("empty", Vec::new()),
    ] {
        fs::write(nginx.file(name), &body).unwrap();
        let first = gate.get(&format!("/{name}"));
        assert_eq!((first.status, &first.body, first.whole), (200, &body, true), "{name}");
        assert_eq!(first.header("tufgate-status"), Some("pending"), "{name}");
        until("its signature", || signed(&gate.get(&format!("/{name}"))));
        assert_eq!(gate.get(&format!("/{name}")).body, body);
    }
    assert!(gate.get("/missing").status == 404);
}

#[test]
fn learn_publish_ignores_fetches_and_none_ignores_both() {
    let nginx = Nginx::start();
    let gate = Gate::start(
        &Setup::learning(nginx.url())
            .rules("[[rule]]\npath = \"p/**\"\nkind = \"immutable\"\n[[rule]]\npath = \"m/**\"\nkind = \"mutable\"\n"),
    );
    for folder in ["p", "m", "u"] {
        fs::create_dir_all(nginx.file(folder)).unwrap();
        fs::write(nginx.file(&format!("{folder}/x")), b"1").unwrap();
        assert_eq!(gate.get(&format!("/{folder}/x")).body, b"1");
        fs::write(nginx.file(&format!("{folder}/x")), b"2").unwrap();
        assert_eq!(gate.get(&format!("/{folder}/x")).body, b"2", "{folder}");
    }
    assert_eq!(gate.get("/p/x").header("tufgate-status"), Some("untracked"));
    gate.publish("/p/y", b"published");
    for folder in ["m", "u"] {
        assert_eq!(gate.put(&format!("/{folder}/z"), b"1").status, 201);
        assert_eq!(
            gate.put(&format!("/{folder}/z"), b"2").status,
            204,
            "untracked paths may change"
        );
    }
    assert_eq!(gate.status()["targets"], 1);
}

#[test]
fn all_three_name_forms_get_the_bytes_and_no_other_hash_does() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    let body = b"named bytes".to_vec();
    let digest = Digest::of(&body);
    gate.publish("/dir/sub/name.txt", &body);
    gate.publish("/top.txt", &body);
    for target in [
        "/dir/sub/name.txt".to_owned(),
        format!("/dir/sub/{digest}.name.txt"),
        format!("/{digest}.dir/sub/name.txt"),
        format!("/{digest}.top.txt"),
    ] {
        let response = gate.get(&target);
        assert_eq!((response.status, &response.body), (200, &body), "{target}");
        assert!(signed(&response), "{target}");
    }
    let wrong = Digest::of(b"other");
    assert_eq!(gate.get(&format!("/dir/sub/{wrong}.name.txt")).status, 404);
    // A file that is really called so upstream is passed, and never recorded.
    fs::write(nginx.file(&format!("{wrong}.real")), b"literal").unwrap();
    let literal = gate.get(&format!("/{wrong}.real"));
    assert_eq!((literal.status, literal.body.as_slice()), (200, &b"literal"[..]));
    assert!(!signed(&literal));
}

#[test]
fn ranges_come_from_verified_bytes_only() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    let body: Vec<u8> = (0..1_000_000_u32).map(|n| (n / 7) as u8).collect();
    gate.publish("/r.bin", &body);
    let range = |value: &str| http::request(gate.addr, "GET", "/r.bin", &[("Range", value)], b"");
    let part = range("bytes=10-19");
    assert_eq!((part.status, part.body.as_slice()), (206, &body[10..20]));
    assert_eq!(part.header("content-range"), Some("bytes 10-19/1000000"));
    assert_eq!(range("bytes=-5").body, &body[999_995..]);
    assert_eq!(range("bytes=999000-").body, &body[999_000..]);
    assert_eq!(range("bytes=2000000-").status, 416);
    assert_eq!((range("bytes=0-1,5-6").status, range("lines=1").status), (206, 200));
    let etag = gate.get("/r.bin").header("etag").unwrap().to_owned();
    let conditional = |condition: &str| {
        http::request(
            gate.addr,
            "GET",
            "/r.bin",
            &[("Range", "bytes=0-0"), ("If-Range", condition)],
            b"",
        )
        .status
    };
    assert_eq!((conditional(&etag), conditional("\"other\"")), (206, 200));
    let mut other = body.clone();
    other[500_000] ^= 1;
    fs::write(nginx.file("r.bin"), &other).unwrap();
    // Nobody has read this one yet, so nothing is kept of it.
    let unread = [&body[..], b"."].concat();
    gate.publish("/unread.bin", &unread);
    fs::write(nginx.file("unread.bin"), [&other[..], b"."].concat()).unwrap();
    for value in ["bytes=0-", "bytes=499999-500001", "bytes=0-0"] {
        let kept = range(value);
        assert_eq!((kept.status, kept.whole), (206, true), "{value}: {kept:?}");
        assert!(body.windows(kept.body.len()).any(|part| part == kept.body), "{value}");
        let drifted = http::request(gate.addr, "GET", "/unread.bin", &[("Range", value)], b"");
        assert_eq!(drifted.status, 502, "{value}: {drifted:?}");
    }
}

#[test]
fn heads_and_conditions_on_recorded_paths() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/h.txt", b"0123456789");
    let head = http::request(gate.addr, "HEAD", "/h.txt", &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    assert!(signed(&head));
    let etag = head.header("etag").unwrap().to_owned();
    let fresh = http::request(gate.addr, "GET", "/h.txt", &[("If-None-Match", &etag)], b"");
    assert_eq!((fresh.status, fresh.body.len()), (304, 0));
    let stale = http::request(gate.addr, "GET", "/h.txt", &[("If-None-Match", "\"x\"")], b"");
    assert_eq!((stale.status, stale.body.as_slice()), (200, &b"0123456789"[..]));
    gate.publish("/unread.txt", b"abcdefghij");
    for (name, status) in [("h.txt", 200), ("unread.txt", 502)] {
        fs::write(nginx.file(name), b"01234567890").unwrap();
        let head = http::request(gate.addr, "HEAD", &format!("/{name}"), &[], b"");
        assert_eq!(head.status, status, "{name}: a length that differs");
        assert!(status == 502 || head.header("content-length") == Some("10"));
    }
}

#[test]
fn ranges_and_heads_of_unknown_paths_lead_to_a_neutral_read() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    for (name, method, headers) in [
        ("one", "HEAD", vec![]),
        ("two", "GET", vec![("Range", "bytes=1-2")]),
        ("three", "GET", vec![("Authorization", "Basic eDp5")]),
        ("four", "GET", vec![("If-None-Match", "\"x\"")]),
    ] {
        fs::write(nginx.file(name), b"0123456789").unwrap();
        let first = http::request(gate.addr, method, &format!("/{name}"), &headers, b"");
        assert!(first.status < 300, "{first:?}");
        assert!(!signed(&first));
        until("the neutral read to teach", || signed(&gate.get(&format!("/{name}"))));
    }
}

#[test]
fn queries_never_teach_and_are_refused_on_recorded_paths() {
    let nginx = Nginx::start();
    let gate = Gate::start(
        &Setup::learning(nginx.url())
            .rules("[[rule]]\npath = \"**\"\nkind = \"immutable\"\nlearn = \"fetch\"\nquery = [\"v\"]\n"),
    );
    fs::write(nginx.file("q"), b"1").unwrap();
    assert_eq!(gate.get("/q?x=1").body, b"1");
    assert_eq!(gate.status()["targets"], 0);
    gate.publish("/q2", b"2");
    assert_eq!(gate.get("/q2?x=1").status, 400);
    assert_eq!(gate.get("/q2?v=1").body, b"2");
    assert_eq!(gate.get("/q2?v=1&x=2").status, 400);
}

#[test]
fn prefer_wait_reads_then_waits_then_answers() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    fs::write(nginx.file("w"), b"waited for").unwrap();
    let response = http::request(gate.addr, "GET", "/w", &[("Prefer", "wait=20")], b"");
    assert_eq!((response.status, response.body.as_slice()), (200, &b"waited for"[..]));
    assert!(signed(&response), "{response:?}");
    assert_eq!(response.header("preference-applied"), Some("wait=20"));
}

#[test]
fn unsigned_targets_wait_or_are_denied_as_the_rule_says() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()).rules(
        "[[rule]]\npath = \"deny/*\"\nkind = \"immutable\"\nlearn = \"fetch\"\nunsigned = \"deny\"\n\
         [[rule]]\npath = \"wait/*\"\nkind = \"immutable\"\nlearn = \"fetch\"\nunsigned = \"wait\"\n",
    ));
    // The signer stands still, so that nothing is signed meanwhile.
    let signer = gate.signer_pid().unwrap();
    crate::support::gate::signal("STOP", signer);
    assert_eq!(gate.put("/deny/x", b"x").status, 201);
    assert_eq!(gate.put("/wait/x", b"x").status, 201);
    // The read that teaches is no exception.
    for name in ["deny/first", "wait/first"] {
        fs::write(nginx.file(name), b"first").unwrap();
    }
    for target in ["/deny/x", "/deny/first"] {
        assert_eq!(gate.get(target).status, 403, "{target}");
    }
    let addr = gate.addr;
    let waiting = ["/wait/x", "/wait/first"].map(|target| std::thread::spawn(move || http::get(addr, target)));
    crate::support::gate::signal("CONT", signer);
    for waiting in waiting {
        let waited = waiting.join().unwrap();
        assert!(waited.status == 200 && signed(&waited), "{waited:?}");
    }
    for target in ["/deny/x", "/deny/first"] {
        until("the signature", || gate.get(target).status == 200);
    }
}

#[test]
fn retracted_paths_are_410_in_every_form_and_leave_the_metadata() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/d/bad.txt", b"bad");
    let digest = Digest::of(b"bad");
    let output = gate.command(&["retract", "d/bad.txt", "--reason", "found to be bad"]);
    assert!(output.status.success(), "{output:?}");
    for target in [
        "/d/bad.txt".to_owned(),
        format!("/d/{digest}.bad.txt"),
        format!("/{digest}.d/bad.txt"),
    ] {
        assert_eq!(gate.get(&target).status, 410, "{target}");
    }
    assert_eq!(gate.put("/d/bad.txt", b"bad").status, 409);
    until("it to leave the metadata", || {
        crate::matrix::fetch_with_tufgate(&gate, "d/bad.txt").is_err()
    });
}

#[test]
fn a_retraction_is_obeyed_when_the_command_returns() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    for name in ["a", "b", "c"] {
        let target = format!("/{name}");
        gate.publish(&target, name.as_bytes());
        // Until it is answered without any look-up.
        (0..5).for_each(|_| assert_eq!(gate.get(&target).status, 200));
        let mut client = http::connect(gate.addr);
        // The gate sleeps through it: what it looked at before must not count, whether or not it has looked again.
        signal("STOP", gate.pid());
        let output = gate.command(&["retract", name, "--reason", "test"]);
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        signal("CONT", gate.pid());
        assert_eq!(http::read(client, false).status, 410, "{output:?}");
    }
}

#[test]
fn no_answer_names_a_snapshot_that_withdrew_it() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    // Several, since the gate looks around at moments of its own.
    for name in ["a", "b", "c", "d", "e"] {
        let target = format!("/{name}");
        gate.publish(&target, name.as_bytes());
        (0..5).for_each(|_| assert_eq!(gate.get(&target).status, 200));
        let (addr, done) = (gate.addr, Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&done);
        let reader = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !told.load(Ordering::Acquire) {
                seen.push(http::get(addr, &target));
            }
            seen
        });
        let output = gate.command(&["retract", name, "--reason", "test", "--json"]);
        done.store(true, Ordering::Release);
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let gone = said["snapshot"].as_u64().unwrap();
        for response in reader.join().unwrap().iter().filter(|seen| seen.status == 200) {
            let status = response.header("tufgate-status").unwrap();
            let snapshot: u64 = status.strip_prefix("signed; snapshot=").unwrap().parse().unwrap();
            assert!(snapshot < gone, "{status}, but snapshot {gone} does not list it");
        }
    }
}

#[test]
fn track_follows_changes_and_never_goes_back() {
    let nginx = Nginx::start();
    let gate = Gate::start(
        &Setup::learning(nginx.url()).rules("[[rule]]\npath = \"**\"\nkind = \"track\"\nlearn = \"fetch\"\n"),
    );
    gate.publish("/t", b"one");
    assert!((200..300).contains(&gate.put("/t", b"two").status));
    assert_eq!(gate.get("/t").body, b"two");
    assert_eq!(gate.put("/t", b"one").status, 409, "a return to superseded bytes");
    fs::write(nginx.file("t"), b"three, behind the gate").unwrap();
    until("the change to be learned", || {
        let response = gate.get("/t");
        response.status == 200 && response.body == b"three, behind the gate"
    });
    fs::write(nginx.file("t"), b"two").unwrap();
    until("the drift", || {
        gate.metric("tufgate_drifts_total") >= 1.0 || {
            let _ = gate.get("/t");
            false
        }
    });
    // Neither those bytes nor nothing: the recorded ones are at hand.
    assert_eq!(gate.get("/t").body, b"three, behind the gate");
    // What a client with older metadata asks for by its hash is there for a while.
    let old = gate.get(&format!("/{}.t", Digest::of(b"two")));
    assert_eq!((old.status, old.body.as_slice()), (200, &b"two"[..]));
}

#[test]
fn redirects_are_followed_within_bounds() {
    let (_runtime, origin) = hostile_origin();
    origin.put_file("/target", b"behind a redirect".to_vec());
    origin.script("/moved", Behaviour::Redirect("/target".to_owned()));
    origin.script("/loop", Behaviour::Redirect("/loop".to_owned()));
    origin.script(
        "/away",
        Behaviour::Redirect("http://127.0.0.2:9/x?signature=secret".to_owned()),
    );
    let gate = Gate::start(&Setup::learning(origin.url()));
    let moved = gate.get("/moved");
    assert_eq!((moved.status, moved.body.as_slice()), (200, &b"behind a redirect"[..]));
    for path in ["/loop", "/away"] {
        let refused = gate.get(path);
        assert_eq!(
            (refused.status, refused.problem().as_deref()),
            (502, Some("upstream-redirect")),
            "{path}"
        );
        assert!(!String::from_utf8_lossy(&refused.body).contains("secret"));
    }
    until("the one that arrived to be signed", || gate.status()["pending"] == 0);
    assert_eq!(gate.status()["targets"], 1);
}

#[test]
fn broken_upstreams_teach_nothing_and_get_their_status() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).upstream_keys("io_timeout = \"2s\"\n"));
    let cases: Vec<(&str, Behaviour, &[u16])> = vec![
        ("/truncated", Behaviour::Truncate(Framing::Length, 500), &[200, 502]),
        (
            "/truncated-chunks",
            Behaviour::Truncate(Framing::Chunked, 500),
            &[200, 502],
        ),
        ("/reset", Behaviour::Reset(500), &[200, 502]),
        ("/stalled", Behaviour::Stall(Framing::Length, 500), &[200, 504]),
        ("/long", Behaviour::Lie(100), &[200, 502]),
        (
            "/garbage",
            Behaviour::Raw(b"\x16\x03\x01 this is not HTTP\r\n\r\n".to_vec()),
            &[502],
        ),
        ("/silent", Behaviour::Silent, &[504]),
        (
            "/gzip",
            Behaviour::ServeWith(Framing::Length, "Content-Encoding: gzip\r\n".to_owned()),
            &[200],
        ),
        (
            "/vary",
            Behaviour::ServeWith(Framing::Length, "Vary: Cookie\r\n".to_owned()),
            &[200],
        ),
        (
            "/no-store",
            Behaviour::ServeWith(Framing::Length, "Cache-Control: no-store\r\n".to_owned()),
            &[200],
        ),
        ("/part", Behaviour::Part(200, 2, 5), &[200, 502]),
        ("/close", Behaviour::Serve(Framing::Close), &[200]),
        ("/old", Behaviour::Serve(Framing::Old), &[200]),
    ];
    for (path, behaviour, statuses) in cases {
        origin.put_file(path, vec![b'x'; 1000]);
        origin.script(path, behaviour);
        let response = gate.get(path);
        assert!(statuses.contains(&response.status), "{path}: {response:?}");
        if response.status >= 500 {
            assert_eq!(
                response.header("content-type"),
                Some("application/problem+json"),
                "{path}"
            );
        }
        if path.contains("trunc") || path == "/reset" || path == "/stalled" || path == "/long" {
            assert!(
                response.status != 200 || !response.whole,
                "{path}: a cut body looked whole"
            );
        }
    }
    assert_eq!(gate.status()["pending"], 0, "nothing was learned");
    assert_eq!(gate.status()["targets"], 0);
}

#[test]
fn an_upstream_that_answers_anything_disables_learning() {
    let (_runtime, origin) = hostile_origin();
    origin.script_all(Behaviour::Raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi".to_vec(),
    ));
    let gate = Gate::start(&Setup::learning(origin.url()));
    assert_eq!(gate.get("/anything").body, b"hi");
    assert_eq!(gate.metric("tufgate_learning_disabled"), 1.0);
    assert_eq!(gate.status()["pending"], 0);
    assert_eq!(gate.status()["targets"], 0);
}
