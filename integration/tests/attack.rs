//! Attacks by clients, publishers and upstreams that once worked: each of these failed before it was fixed.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use tufgate::internals::ledger::{Ledger, sqlite::SqliteLedger};

use crate::{
    hostile_origin,
    support::{
        gate::{Gate, Setup, until},
        http,
        nginx::Nginx,
        origin::{Behaviour, Framing},
    },
};

const PUBLISHED: &str = "[[rule]]\npath = \"**\"\nkind = \"immutable\"\n";
const SERVE: Behaviour = Behaviour::Serve(Framing::Length);

fn signed(gate: &Gate, path: &str) -> bool {
    gate.get(path)
        .header("tufgate-status")
        .is_some_and(|status| status.starts_with("signed"))
}

/// Reads an answer's head and leaves its body.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn no_move_or_copy_lands_on_recorded_bytes() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()).rules(&format!(
        "[[rule]]\npath = \"scratch/**\"\nkind = \"mutable\"\n{PUBLISHED}"
    )));
    gate.publish("/rel/onto", b"recorded");
    let hashed = format!("/rel/{}.evil", "0a".repeat(32));
    for source in ["/scratch/evil", &hashed] {
        for method in ["COPY", "MOVE"] {
            assert!(gate.put(source, b"evil").status < 300);
            let onto = format!("{}/rel/onto", gate.url());
            let refused = http::request(gate.addr, method, source, &[("Destination", &onto)], b"");
            assert_eq!(refused.status, 409, "{method} {source}: {refused:?}");
        }
    }
    // A whole folder in place of another that holds recorded paths.
    assert_eq!(gate.put("/scratch/rel/onto", b"evil").status, 201);
    for method in ["COPY", "MOVE"] {
        let onto = format!("{}/rel/", gate.url());
        let refused = http::request(gate.addr, method, "/scratch/rel/", &[("Destination", &onto)], b"");
        assert!(refused.status >= 400, "{method}: {refused:?}");
    }
    assert_eq!(fs::read(nginx.file("rel/onto")).unwrap(), b"recorded");
    let below = format!("{}/metadata/timestamp.json", gate.url());
    let refused = http::request(gate.addr, "COPY", "/rel/onto", &[("Destination", &below)], b"");
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(http::request(gate.addr, "MOVE", "/rel/onto", &[], b"").status, 400);
}

#[test]
fn no_header_query_or_method_changes_recorded_bytes() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/p", b"recorded");
    let sum = tufgate::Digest::of(b"recorded").to_string();
    let stated = ("X-Checksum-Sha256", sum.as_str());
    for trick in [
        ("X-Checksum-Deploy", "true"),
        ("Content-Encoding", "aws-chunked"),
        ("Content-Range", "bytes 0-3/4"),
        ("X-Explode-Archive", "true"),
    ] {
        let refused = http::request(gate.addr, "PUT", "/p", &[trick, stated], b"evil");
        assert_eq!(refused.status, 409, "{trick:?}: {refused:?}");
    }
    // Artifactory's clients send the bytes after a 404.
    let bare = http::request(gate.addr, "PUT", "/p", &[("X-Checksum-Deploy", "true"), stated], b"");
    assert_eq!(bare.status, 404, "{bare:?}");
    assert_eq!(gate.put("/p", b"recorded").status, 204);
    for (method, target) in [("PUT", "/p?x=1"), ("PUT", "/p?"), ("PATCH", "/p"), ("DELETE", "/p?x=1")] {
        let refused = http::request(gate.addr, method, target, &[], b"evil");
        assert_eq!(refused.status, 409, "{method} {target}: {refused:?}");
    }
    // Some servers find a path in a target that names none.
    for target in ["p", "x/../p"] {
        let request = format!("PUT {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nevil");
        assert_eq!(http::raw(gate.addr, request.as_bytes()).status, 400, "{target}");
    }
    assert_eq!(fs::read(nginx.file("p")).unwrap(), b"recorded");
    // A tombstone takes its old bytes only, whatever the form.
    assert_eq!(http::request(gate.addr, "DELETE", "/p", &[], b"").status, 204);
    let deploy = http::request(gate.addr, "PUT", "/p", &[("X-Checksum-Deploy", "true")], b"");
    assert_eq!(deploy.status, 409, "{deploy:?}");
}

#[test]
fn a_deletion_whose_body_never_ends_holds_nobody_up() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    let mut endless = Vec::new();
    for method in ["DELETE", "MOVE"] {
        let mut stream = http::connect(gate.addr);
        let head =
            format!("{method} /victim HTTP/1.1\r\nHost: x\r\nDestination: /elsewhere\r\nContent-Length: 9\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        assert!(self::head(&mut stream).starts_with("HTTP/1.1 415"));
        endless.push(stream);
    }
    let began = Instant::now();
    assert_eq!(gate.put("/victim", b"bytes").status, 201);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_upload_accepted_early_is_recorded_once_it_is_whole() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).rules(PUBLISHED));
    let body = vec![4; 300_000];
    origin.script("/slow", Behaviour::Early(201));
    let mut stream = http::connect(gate.addr);
    write!(
        stream,
        "PUT /slow HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(&body[..100_000]).unwrap();
    assert!(head(&mut stream).starts_with("HTTP/1.1 201"));
    // The gate looks before there is anything to see.
    let reads = || {
        origin
            .requests()
            .iter()
            .filter(|seen| seen.method == "GET" && seen.path() == "/slow")
            .count()
    };
    until("the first neutral read", || reads() > 0);
    stream.write_all(&body[100_000..]).unwrap();
    until("the record", || signed(&gate, "/slow"));
    assert_eq!(origin.stored("/slow").unwrap(), body);
    // Nor does an early answer let other bytes through.
    let other = vec![5; 300_000];
    let _ = gate.put("/slow", &other);
    assert_eq!(origin.stored("/slow").unwrap(), body);
}

#[test]
fn refused_uploads_use_up_no_quota() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(
        &Setup::learning(origin.url()).rules("[[rule]]\npath = \"few/*\"\nkind = \"immutable\"\nmax_targets = 2\n"),
    );
    for n in 0..5 {
        let path = format!("/few/denied{n}");
        origin.script(&path, Behaviour::Status(403));
        assert_eq!(gate.put(&path, b"x").status, 403);
    }
    assert_eq!(gate.put("/few/1", b"1").status, 201);
    assert_eq!(gate.put("/few/2", b"2").status, 201);
    assert_eq!(gate.put("/few/3", b"3").status, 507);
}

#[test]
fn an_aborted_upload_keeps_no_path_that_the_gate_may_not_read() {
    let (runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).rules(PUBLISHED));
    let ledger = SqliteLedger::open(&gate.dir.join("ledger.db")).unwrap();
    origin.script("/kept", Behaviour::Silent);
    let mut stream = http::connect(gate.addr);
    stream
        .write_all(b"PUT /kept HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nevil")
        .unwrap();
    until("the reservation", || {
        !runtime.block_on(ledger.reservations()).unwrap().is_empty()
    });
    // What an origin does is settled when it reads a head.
    until("the origin to take it", || origin.count("/kept") == 1);
    origin.script("/kept", Behaviour::WriteOnly);
    drop(stream);
    until("another upload", || gate.put("/kept", b"good").status == 201);
    assert_eq!(origin.stored("/kept").unwrap(), b"good");
}

#[test]
fn a_full_cache_fails_no_reader() {
    let (_runtime, origin) = hostile_origin();
    let cache = "[cache]\ndisk = \"40MiB\"\nmax_object = \"40MiB\"\n";
    let gate = Gate::start(&Setup::learning(origin.url()).extra(cache));
    let body = vec![7; 32 << 20];
    // The first reader takes what room there is and reads no further than the head.
    let mut readers = Vec::new();
    for name in ["first", "second", "third"] {
        gate.publish(&format!("/{name}"), &body);
        let mut stream = http::connect(gate.addr);
        let request = format!("GET /{name} HTTP/1.1\r\nHost: x\r\nRange: bytes=9-\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let head = head(&mut stream);
        assert!(
            head.starts_with("HTTP/1.1 206") || head.starts_with("HTTP/1.1 200"),
            "{head}"
        );
        readers.push(stream);
        let part = http::request(gate.addr, "GET", &format!("/{name}"), &[("Range", "bytes=0-9")], b"");
        let expected = if part.status == 206 { 10 } else { body.len() };
        assert_eq!(
            (part.whole, part.body.len()),
            (true, expected),
            "{name}: {}",
            part.status
        );
    }
}

#[test]
fn too_many_waiters_fail_no_reader() {
    let (_runtime, origin) = hostile_origin();
    origin.put_file("/fresh", b"bytes".to_vec());
    let gate = Gate::start(&Setup::learning(origin.url()).gate("max_waiters = 0\n"));
    for _ in 0..3 {
        let response = http::request(gate.addr, "GET", "/fresh", &[("Prefer", "wait=5")], b"");
        assert_eq!((response.status, response.body.as_slice()), (200, &b"bytes"[..]));
    }
}

#[test]
fn no_redirect_leads_a_reader_past_the_gate() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    gate.publish("/led", b"recorded");
    for status in [300, 305, 306] {
        let answer = format!("HTTP/1.1 {status} Go\r\nLocation: http://evil.example/x\r\nContent-Length: 0\r\n\r\n");
        origin.script("/led", Behaviour::Raw(answer.into_bytes()));
        for headers in [&[][..], &[("Range", "bytes=0-1")][..]] {
            let response = http::request(gate.addr, "GET", "/led", headers, b"");
            assert_eq!((response.status, response.header("location")), (502, None), "{status}");
        }
    }
}

#[test]
fn other_successes_pass_where_nothing_is_recorded() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    let answer = b"HTTP/1.1 203 Other\r\nContent-Length: 4\r\n\r\nbody".to_vec();
    origin.script("/other", Behaviour::Raw(answer));
    let response = gate.get("/other");
    assert_eq!((response.status, response.body.as_slice()), (203, &b"body"[..]));
    assert_eq!(response.header("tufgate-status"), Some("untracked"));
}

#[test]
fn only_the_gate_says_how_a_path_stands() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).rules("[[rule]]\npath = \"**\"\nkind = \"mutable\"\n"));
    origin.put_file("/m", b"bytes".to_vec());
    let lie = "Tufgate-Status: signed; snapshot=9\r\n".to_owned();
    origin.script("/m", Behaviour::ServeWith(Framing::Length, lie));
    let response = gate.get("/m");
    assert_eq!((response.status, response.header("tufgate-status")), (200, None));
}

#[test]
fn a_length_that_is_no_number_goes_no_further() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    for length in ["3, 3", "3,4", "+3", "0x3", "3 3"] {
        for method in ["PUT", "POST", "GET"] {
            let request = format!("{method} /len HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\nabc");
            assert_eq!(
                http::raw(gate.addr, request.as_bytes()).status,
                400,
                "{method} {length}"
            );
        }
    }
    assert_eq!(origin.count("/len"), 0);
}

#[test]
fn a_body_that_trickles_is_cut() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).gate("client_timeout = \"1s\"\nmin_rate = 1000\n"));
    let mut stream = http::connect(gate.addr);
    stream
        .write_all(b"PUT /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    // A byte at a time, never silent for long.
    while stream.write_all(b"x").is_ok() {
        assert!(Instant::now() < end, "nobody cuts it");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(origin.stored("/slow").is_none());
}

#[test]
fn learn_none_is_taught_by_no_upload() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(
        &Setup::learning(origin.url()).rules("[[rule]]\npath = \"**\"\nkind = \"immutable\"\nlearn = \"none\"\n"),
    );
    for body in [&b"one"[..], b"two"] {
        let response = gate.put("/n", body);
        assert!((200..300).contains(&response.status));
        assert_eq!(response.header("tufgate-status"), None, "{response:?}");
        assert_eq!(gate.get("/n").body, body);
    }
    origin.script("/n", SERVE);
    assert_eq!(gate.metric("tufgate_observations_total"), 0.0);
}

#[test]
fn names_that_never_end_keep_no_other_path_from_being_looked_at() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(
        &Setup::learning(origin.url()).rules("[[rule]]\npath = \"**\"\nkind = \"track\"\nlearn = \"fetch\"\n"),
    );
    gate.publish("/moving", b"one");
    for n in 0..20 {
        let path = format!("/endless{n}");
        origin.put_file(&path, vec![1; 1000]);
        origin.script(&path, Behaviour::Stall(Framing::Length, 10));
        assert_eq!(http::request(gate.addr, "HEAD", &path, &[], b"").status, 200);
    }
    origin.put_file("/moving", b"two".to_vec());
    until("the path to move on", || gate.get("/moving").body == b"two");
}
