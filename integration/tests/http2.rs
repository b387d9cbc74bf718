//! Clients of HTTP/2: reads, uploads, aborts, trailers, what is withheld; and those that mean harm (`http2/floods.rs`).

#[path = "http2/floods.rs"]
mod floods;

use std::{fs, io::Write as _, time::Duration};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue};

use crate::{
    hostile_origin,
    support::{
        curl::{Got, curl},
        gate::{Gate, Setup, until},
        http as http1,
        http2::{answer, connect, exchange, request, runtime},
        nginx::Nginx,
        origin::{Behaviour, Framing},
    },
};

const KNOWN: &str = "http2_prior_knowledge = true";
const RULES: &str = "[[rule]]\npath = \"repo/**\"\nkind = \"immutable\"\nlearn = \"fetch\"\n";

fn site() -> (Nginx, Gate) {
    let nginx =
        Nginx::start_with("location /echo { return 200 \"$server_protocol $http_host $http_x_forwarded_host\"; }");
    let gate = Gate::start(&Setup::learning(nginx.url()).rules(RULES).gate(KNOWN));
    (nginx, gate)
}

fn curl2(gate: &Gate, path: &str, args: &[&str], input: &[u8]) -> Got {
    let url = format!("{}{path}", gate.url());
    curl(&[&["--http2-prior-knowledge"], args, &[&url]].concat(), input)
}

/// Headers that tell neither connection nor time.
fn told(headers: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut told: Vec<_> = headers
        .filter(|(name, _)| {
            !matches!(
                name.as_str(),
                "age" | "connection" | "date" | "keep-alive" | "transfer-encoding"
            )
        })
        .collect();
    told.sort();
    told
}

#[test]
fn every_read_is_answered_as_by_http_1() {
    let (nginx, gate) = site();
    let large = vec![9; 500_000];
    fs::write(nginx.file("plain/file"), "plain").unwrap();
    gate.publish("/repo/small", b"small");
    gate.publish("/repo/large", &large);
    gate.publish("/repo/empty", b"");
    // Read once before they are compared: what is at hand is answered with more fields than what is fetched.
    for path in ["/repo/large", "/repo/empty"] {
        gate.get(path);
    }
    let etag = gate.get("/repo/small").header("etag").unwrap().to_owned();
    type Lines<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, &str, Lines<'_>); 16] = [
        ("GET", "/repo/small", &[]),
        ("HEAD", "/repo/small", &[]),
        ("GET", "/repo/small", &[("if-none-match", &etag)]),
        ("GET", "/repo/small", &[("range", "bytes=1-2")]),
        ("GET", "/repo/small", &[("range", "bytes=90-")]),
        ("GET", "/repo/large", &[]),
        ("HEAD", "/repo/large", &[]),
        ("GET", "/repo/large", &[("range", "bytes=-70000")]),
        ("GET", "/repo/empty", &[]),
        ("GET", "/repo/none", &[]),
        ("GET", "/repo/%2e%2e/x", &[]),
        ("GET", "/metadata/timestamp.json", &[]),
        ("HEAD", "/metadata/timestamp.json", &[]),
        ("GET", "/metadata/none.json", &[]),
        ("GET", "/plain/file", &[]),
        ("HEAD", "/plain/file", &[]),
    ];
    for (method, path, headers) in cases {
        let first = http1::request(gate.addr, method, path, headers, b"");
        let second = exchange(gate.addr, request(gate.addr, method, path, headers), None);
        let what = format!("{method} {path} {headers:?}");
        assert_eq!((second.status, second.end), (first.status, Ok(())), "{what}");
        assert!(
            second.body == first.body,
            "{what}: {} {}",
            second.body.len(),
            first.body.len()
        );
        let named = second.headers.iter();
        let named = named.map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()));
        assert_eq!(told(named), told(first.headers.into_iter()), "{what}");
    }
}

#[test]
fn the_authority_is_the_host() {
    let (nginx, gate) = site();
    let host = gate.addr.to_string();
    let echoed = curl2(&gate, "/echo", &[], b"");
    assert_eq!(echoed.version, "2");
    assert_eq!(
        String::from_utf8(echoed.body).unwrap(),
        format!("HTTP/1.1 {} {host}", nginx.address())
    );
    let preserving = Setup::learning(nginx.url())
        .rules(RULES)
        .gate(KNOWN)
        .upstream_keys("preserve_host = true");
    let gate = Gate::start(&preserving);
    let host = gate.addr.to_string();
    let echoed = curl2(&gate, "/echo", &[], b"");
    assert_eq!(
        String::from_utf8(echoed.body).unwrap(),
        format!("HTTP/1.1 {host} {host}")
    );
}

#[test]
fn uploads_are_recorded_whatever_tells_their_length() {
    let (nginx, gate) = site();
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| (at >> 8) as u8 ^ at as u8).collect();
    for (name, body) in [("large", &large[..]), ("small", b"small"), ("empty", b"")] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::File::create(&file).unwrap().write_all(body).unwrap();
        let known = curl2(
            &gate,
            &format!("/repo/known/{name}"),
            &["-T", file.to_str().unwrap()],
            b"",
        );
        assert_eq!((known.code, known.status), (0, 201), "{name}: {known:?}");
        // Of unknown length: an empty DATA frame ends it (Pingora issue 935).
        let unknown = curl2(&gate, &format!("/repo/unknown/{name}"), &["-T", "-"], body);
        assert_eq!((unknown.code, unknown.status), (0, 201), "{name}: {unknown:?}");
        for how in ["known", "unknown"] {
            assert!(
                fs::read(nginx.file(&format!("repo/{how}/{name}"))).unwrap() == body,
                "{how} {name}"
            );
            let got = curl2(&gate, &format!("/repo/{how}/{name}"), &[], b"");
            assert!(got.body == body && got.code == 0, "{how} {name}");
        }
        let again = curl2(&gate, &format!("/repo/unknown/{name}"), &["-T", "-"], body);
        assert_eq!(again.status, 204, "the same bytes: {again:?}");
        let other = curl2(
            &gate,
            &format!("/repo/unknown/{name}"),
            &["-T", "-"],
            &[body, b"more"].concat(),
        );
        assert_eq!(other.status, 409, "{name}: {other:?}");
        assert!(
            fs::read(nginx.file(&format!("repo/unknown/{name}"))).unwrap() == body,
            "{name}"
        );
    }
}

#[test]
fn a_put_that_ends_with_its_head_is_decided_before_the_upstream_hears_of_it() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).gate(KNOWN));
    let put = |path: &str| exchange(gate.addr, request(gate.addr, "PUT", path, &[]), None);
    assert_eq!(put("/empty").status, 201);
    assert_eq!(origin.stored("/empty").unwrap(), b"");
    assert_eq!(gate.put("/full", b"full").status, 201);
    let asked = origin.count("/full");
    assert_eq!(put("/full").status, 409);
    assert_eq!(origin.count("/full"), asked, "the upstream heard of it");
    assert_eq!(origin.stored("/full").unwrap(), b"full");
    // With a head that does not end it and no bytes after it, the last chunk is the empty one.
    let late = |path: &str| exchange(gate.addr, request(gate.addr, "PUT", path, &[]), Some(Bytes::new()));
    assert_eq!(late("/late").status, 201);
    assert_eq!(origin.stored("/late").unwrap(), b"");
    for _ in 0..20 {
        assert_eq!(late("/full").status, 409);
        assert_eq!(origin.stored("/full").unwrap(), b"full");
    }
    // However late: the upstream has heard of it, and waits for an end that does not come.
    runtime().block_on(async {
        let mut send = connect(gate.addr).await.ready().await.unwrap();
        let asked = origin.count("/full");
        let (response, mut stream) = send
            .send_request(request(gate.addr, "PUT", "/full", &[]), false)
            .unwrap();
        until("the upstream to hear of it", || origin.count("/full") > asked);
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(answer(response).await.status, 409);
    });
    assert_eq!(origin.stored("/full").unwrap(), b"full");
}

#[test]
fn an_upload_without_a_body_has_a_length_for_servers_that_ask() {
    let (nginx, gate) = site();
    let empty = exchange(gate.addr, request(gate.addr, "PUT", "/repo/empty", &[]), None);
    assert_eq!((empty.status, empty.end), (201, Ok(())));
    assert_eq!(fs::read(nginx.file("repo/empty")).unwrap(), b"");
    // Also where nothing is tracked.
    let plain = exchange(gate.addr, request(gate.addr, "PUT", "/plain/empty", &[]), None);
    assert_eq!(plain.status, 201);
}

#[test]
fn trailers_of_a_request_are_no_part_of_its_body() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).gate(KNOWN));
    let put = |path: &str, body: &'static [u8]| {
        runtime().block_on(async {
            let mut send = connect(gate.addr).await.ready().await.unwrap();
            let (response, mut stream) = send.send_request(request(gate.addr, "PUT", path, &[]), false).unwrap();
            if !body.is_empty() {
                stream.send_data(Bytes::from_static(body), false).unwrap();
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum-sha256", HeaderValue::from_static("0000"));
            trailers.insert("content-length", HeaderValue::from_static("99"));
            stream.send_trailers(trailers).unwrap();
            answer(response).await
        })
    };
    for (path, body) in [("/bytes", &b"bytes"[..]), ("/none", b"")] {
        assert_eq!(put(path, body).status, 201, "{path}");
        assert_eq!(origin.stored(path).unwrap(), body, "{path}");
        assert!(
            !origin
                .requests()
                .iter()
                .any(|seen| seen.header("x-checksum-sha256").is_some())
        );
        assert_eq!(gate.get(path).body, body);
    }
}

#[test]
fn an_upload_that_its_client_gives_up_leaves_what_was_there() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).rules(RULES).gate(KNOWN));
    origin.put_file("/repo/old", "old");
    for (path, length) in [("/repo/old", None), ("/repo/new", None), ("/repo/told", Some("900000"))] {
        let headers: Vec<(&str, &str)> = length.map(|length| ("content-length", length)).into_iter().collect();
        runtime().block_on(async {
            let mut send = connect(gate.addr).await.ready().await.unwrap();
            let put = request(gate.addr, "PUT", path, &headers);
            let (response, mut stream) = send.send_request(put, false).unwrap();
            stream.send_data(Bytes::from(vec![1; 60_000]), false).unwrap();
            until("the upstream to hear of it", || origin.count(path) > 0);
            stream.send_reset(Reason::CANCEL);
            assert!(answer(response).await.end.is_err());
        });
    }
    assert_eq!(origin.stored("/repo/old").unwrap(), b"old");
    assert_eq!(gate.get("/repo/old").body, b"old");
    for path in ["/repo/new", "/repo/told"] {
        assert_eq!(gate.put(path, b"whole").status, 201, "{path}");
        assert_eq!(origin.stored(path).unwrap(), b"whole");
    }
}

#[test]
fn an_upload_that_stalls_ends_with_the_upstreams_patience() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(
        &Setup::learning(origin.url())
            .rules(RULES)
            .gate(KNOWN)
            .upstream_keys("io_timeout = \"1s\"\n"),
    );
    for path in ["/repo/stalled", "/plain/stalled"] {
        runtime().block_on(async {
            let mut send = connect(gate.addr).await.ready().await.unwrap();
            let put = request(gate.addr, "PUT", path, &[]);
            let (response, mut stream) = send.send_request(put, false).unwrap();
            stream.send_data(Bytes::from(vec![1; 30_000]), false).unwrap();
            let got = tokio::time::timeout(Duration::from_secs(30), answer(response)).await;
            let got = got.expect("nobody ends it");
            assert_eq!(got.status, 504, "{path}: {got:?}");
        });
        assert!(origin.stored(path).is_none(), "{path}");
        assert_eq!(gate.put(path, b"whole").status, 201, "{path}: it holds nothing");
    }
}

#[test]
fn a_reader_keeps_to_the_least_rate_or_is_cut() {
    let nginx = Nginx::start();
    // A piece may take thirteen seconds.
    let keys = format!("{KNOWN}\nmin_rate = 20000\nclient_timeout = \"1s\"\n");
    let gate = Gate::start(&Setup::learning(nginx.url()).rules(RULES).gate(&keys));
    let large: Vec<u8> = (0..500_000).map(|n| (n / 3 + n / 1009) as u8).collect();
    gate.publish("/repo/large", &large);
    // What a reader gets who takes so many bytes ten times a second.
    let read = |lines: &[(&str, &str)], step: usize| {
        runtime().block_on(async {
            let mut send = connect(gate.addr).await.ready().await.unwrap();
            let get = request(gate.addr, "GET", "/repo/large", lines);
            let (response, _) = send.send_request(get, true).unwrap();
            let mut body = response.await.unwrap().into_body();
            let (mut got, mut owed) = (Vec::new(), 0);
            loop {
                let chunk = tokio::time::timeout(Duration::from_millis(100), body.data()).await;
                match chunk {
                    Ok(Some(Ok(chunk))) => {
                        owed += chunk.len();
                        got.extend_from_slice(&chunk);
                    }
                    Ok(Some(Err(_)) | None) => return got,
                    Err(_) => {
                        let taken = owed.min(step);
                        owed -= taken;
                        let _ = body.flow_control().release_capacity(taken);
                    }
                }
            }
        })
    };
    // At hand, whole and in part.
    assert!(gate.get("/repo/large").body == large);
    for lines in [&[][..], &[("range", "bytes=0-")]] {
        assert!(read(lines, 8_000) == large, "slow, and fast enough: {lines:?}");
    }
    assert!(read(&[], 100).len() < large.len(), "nobody cuts it");
}

#[test]
fn a_body_of_another_length_than_announced_is_nothing() {
    let (nginx, gate) = site();
    for (path, length, body) in [("/repo/short", "10", &b"123"[..]), ("/repo/long", "2", b"123")] {
        let put = request(gate.addr, "PUT", path, &[("content-length", length)]);
        let answer = exchange(gate.addr, put, Some(Bytes::from_static(body)));
        assert!(answer.end.is_err() || answer.status >= 400, "{path}: {answer:?}");
        assert!(!nginx.file(&path[1..]).exists(), "{path}");
        assert_eq!(gate.put(path, b"whole").status, 201, "{path}");
    }
}

#[test]
fn a_drifted_artifact_is_reset_and_never_ended() {
    let (_runtime, origin) = hostile_origin();
    let recorded = vec![b'a'; 600_000];
    for framing in [Framing::Length, Framing::Chunked] {
        let gate = Gate::start(&Setup::learning(origin.url()).gate(KNOWN));
        let path = format!("/{framing:?}");
        origin.put_file(&path, recorded.clone());
        origin.script(&path, Behaviour::Serve(framing));
        assert_eq!(gate.get(&path).body, recorded);
        for drifted in [
            [vec![b'a'; 599_999], vec![b'b']].concat(),
            vec![b'a'; 700_000],
            vec![b'a'; 500_000],
        ] {
            origin.put_file(&path, drifted.clone());
            let got = exchange(gate.addr, request(gate.addr, "GET", &path, &[]), None);
            match got.status {
                // Refused whole, by its length or since the drift is confirmed.
                502 => assert_eq!(got.end, Ok(())),
                200 => {
                    assert!(matches!(got.end, Err(Some(_))), "{:?} {}", got.end, got.body.len());
                    assert!(got.body.len() < recorded.len(), "{}", got.body.len());
                }
                other => panic!("{other}"),
            }
            let shown = curl2(&gate, &path, &[], b"");
            assert!(shown.code != 0 || shown.status == 502, "{shown:?}");
        }
    }
}

#[test]
fn a_body_of_unknown_length_that_is_cut_is_reset() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).rules(RULES).gate(KNOWN));
    for path in ["/plain/cut", "/repo/cut"] {
        origin.put_file(path, vec![5; 400_000]);
        origin.script(path, Behaviour::Truncate(Framing::Chunked, 300_000));
        let got = exchange(gate.addr, request(gate.addr, "GET", path, &[]), None);
        assert!(
            got.end.is_err() || got.status == 502,
            "{path}: {} {:?}",
            got.status,
            got.end
        );
    }
    origin.script("/repo/cut", Behaviour::Serve(Framing::Chunked));
    assert_eq!(gate.get("/repo/cut").body, vec![5; 400_000], "the part was not learned");
}

#[test]
fn a_hundred_streams_share_a_connection() {
    let (_nginx, gate) = site();
    let large = vec![3; 300_000];
    gate.publish("/repo/large", &large);
    gate.publish("/repo/small", b"small");
    runtime().block_on(async {
        let mut send = connect(gate.addr).await.ready().await.unwrap();
        // By its answer the client knows how many streams it may open.
        let (first, _) = send
            .send_request(request(gate.addr, "GET", "/repo/small", &[]), true)
            .unwrap();
        assert_eq!(answer(first).await.status, 200);
        let mut waiting = Vec::new();
        for at in 0..400 {
            send = send.ready().await.unwrap();
            let path = if at % 10 == 0 { "/repo/large" } else { "/repo/small" };
            let (response, _) = send.send_request(request(gate.addr, "GET", path, &[]), true).unwrap();
            waiting.push((path, tokio::spawn(answer(response))));
        }
        for (path, task) in waiting {
            let got = task.await.unwrap();
            assert_eq!((got.status, got.end), (200, Ok(())), "{path}");
            assert_eq!(got.body.len(), if path == "/repo/large" { 300_000 } else { 5 });
        }
    });
    assert_eq!(gate.metric("tufgate_http2_abuse_total"), 0.0);
}

#[test]
fn http_2_is_spoken_only_where_it_was_agreed_on() {
    let (_runtime, origin) = hostile_origin();
    origin.put_file("/plain", "plain");
    let rules = "[[rule]]\npath = \"repo/**\"\nkind = \"immutable\"\n";
    let gate = Gate::start(&Setup::learning(origin.url()).rules(rules));
    let refused = curl2(&gate, "/plain", &[], b"");
    assert_ne!(refused.code, 0, "{refused:?}");
    // An upgrade is not agreed to (RFC 9113 did away with it), and the upstream never hears of the wish.
    for known in [false, true] {
        let gate = Gate::start(
            &Setup::learning(origin.url())
                .rules(rules)
                .gate(if known { KNOWN } else { "" }),
        );
        let url = format!("{}/plain", gate.url());
        let got = curl(&["--http2", &url], b"");
        assert_eq!(
            (got.status, got.version.as_str(), &got.body[..]),
            (200, "1.1", &b"plain"[..]),
            "{got:?}"
        );
        let put = curl(
            &["--http2", "-T", "-", &format!("{}/repo/put{known}", gate.url())],
            b"body",
        );
        assert_eq!(put.status, 201, "{put:?}");
    }
    for seen in origin.requests() {
        let head = seen.head.to_ascii_lowercase();
        assert!(!head.contains("h2c") && !head.contains("http2-settings"), "{head}");
    }
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let (_nginx, mut gate) = site();
    let runtime = runtime();
    let _idle = runtime.block_on(async {
        let mut send = connect(gate.addr).await.ready().await.unwrap();
        let (response, _) = send
            .send_request(request(gate.addr, "GET", "/repo/x", &[]), true)
            .unwrap();
        assert_eq!(answer(response).await.status, 404);
        send
    });
    assert_eq!(gate.terminate(), Some(0), "{}", gate.log());
}
