//! Clients of HTTP/1.0 and of no HTTP at all, with and without HTTP/2 beside them; heads that do not come whole, and answers
//! without bodies (`http1/heads.rs`).

#[path = "http1/heads.rs"]
mod heads;

use std::io::{Read as _, Write as _};

use crate::{
    hostile_origin,
    support::{
        gate::{Gate, Setup, until},
        http,
        nginx::Nginx,
        origin::{Behaviour, Framing},
    },
};

const RULES: &str = "[[rule]]\npath = \"repo/**\"\nkind = \"immutable\"\nlearn = \"fetch\"\n";

/// What comes until the gate closes.
fn to_the_end(gate: &Gate, request: &str) -> String {
    let mut stream = http::connect(gate.addr);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A gate, with and without HTTP/2 by prior knowledge: the look for it must not change what others see.
fn gates(setup: &Setup) -> [Gate; 2] {
    [setup.clone(), setup.clone().gate("http2_prior_knowledge = true")].map(|setup| Gate::start(&setup))
}

#[test]
fn a_client_of_http_1_0_never_gets_chunks() {
    let (_runtime, origin) = hostile_origin();
    let long = "0123456789".repeat(50_000);
    for path in ["/repo/long", "/plain/long"] {
        origin.put_file(path, long.clone());
    }
    for gate in gates(&Setup::learning(origin.url()).rules(RULES)) {
        for path in ["/repo/long", "/plain/long"] {
            for framing in [Framing::Chunked, Framing::Close, Framing::Old, Framing::Length] {
                origin.script(path, Behaviour::Serve(framing));
                // Eighteen bytes and some: less than the start of HTTP/2.
                let answer = to_the_end(&gate, &format!("GET {path} HTTP/1.0\r\n\r\n"));
                let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                let head = head.to_ascii_lowercase();
                assert!(
                    head.contains(" 200 ") && !head.contains("transfer-encoding"),
                    "{path} {framing:?}: {head}"
                );
                assert!(body == long, "{path} {framing:?}: {} bytes", body.len());
            }
        }
    }
}

#[test]
fn short_requests_are_answered_whatever_else_may_come() {
    let nginx = Nginx::start();
    for gate in gates(&Setup::learning(nginx.url())) {
        for request in [
            "GET / HTTP/1.0\r\n\r\n",
            "P / HTTP/1.0\r\n\r\n",
            "PRI / HTTP/1.0\r\n\r\n",
            "x\r\n\r\n",
        ] {
            let answer = to_the_end(&gate, request);
            assert!(answer.starts_with("HTTP/1.1 4"), "{request:?}: {answer:?}");
        }
    }
}

#[test]
fn keep_alive_is_for_those_who_ask_and_can_tell_where_a_body_ends() {
    let (_runtime, origin) = hostile_origin();
    origin.put_file("/plain/a", "short");
    let gate = Gate::start(&Setup::learning(origin.url()).rules(RULES));
    let ask = "GET /plain/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let mut stream = http::connect(gate.addr);
    for _ in 0..3 {
        stream.write_all(ask.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\nshort") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.contains("connection: keep-alive"), "{head}");
    }
    // Without a length the end of the connection is the end of the body.
    origin.script("/plain/a", Behaviour::Serve(Framing::Chunked));
    let answer = to_the_end(&gate, ask);
    assert!(answer.ends_with("\r\n\r\nshort"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("keep-alive"), "{answer}");
    // Unasked.
    origin.script("/plain/a", Behaviour::Serve(Framing::Length));
    assert!(to_the_end(&gate, "GET /plain/a HTTP/1.0\r\n\r\n").ends_with("short"));
}

#[test]
fn a_put_by_http_1_0_is_recorded_and_cut_ones_are_not() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    let put =
        |path: &str, head: &str, body: &str| to_the_end(&gate, &format!("PUT {path} HTTP/1.0\r\n{head}\r\n{body}"));
    assert!(put("/a", "Content-Length: 5\r\n", "bytes").contains(" 201 "));
    assert!(put("/a", "Content-Length: 5\r\n", "other").contains(" 409 "));
    assert_eq!(gate.get("/a").body, b"bytes");
    assert!(put("/empty", "Content-Length: 0\r\n", "").contains(" 201 "));
    assert_eq!(gate.get("/empty").header("content-length"), Some("0"));
    // HTTP/1.0 knows no chunks: where such a body ends is anybody's guess.
    let refused = put("/b", "Transfer-Encoding: chunked\r\n", "5\r\nbytes\r\n0\r\n\r\n");
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 4"), "{refused}");
    assert_eq!(gate.get("/b").status, 404);
}

#[test]
fn a_drifted_artifact_stays_short_for_http_1_0() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    let long = vec![b'a'; 400_000];
    origin.put_file("/repo/long", long.clone());
    assert_eq!(gate.get("/repo/long").body, long);
    origin.put_file("/repo/long", vec![b'b'; 400_000]);
    let answer = to_the_end(&gate, "GET /repo/long HTTP/1.0\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let announced = head.to_ascii_lowercase().contains("content-length: 400000");
    assert!(
        (announced && body.len() < 400_000) || head.contains(" 502 "),
        "{head} {}",
        body.len()
    );
}

/// The body of the next answer on a connection, and its head in small letters.
fn next(stream: &mut impl std::io::Read) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

/// What is ready and what is not, by turns on one connection and several in one packet: each answer is that of its request.
#[test]
fn ready_and_other_answers_take_turns_on_one_connection() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    let (small, large): (Vec<u8>, Vec<u8>) = (b"small".to_vec(), (0..700_000_u32).map(|n| (n % 251) as u8).collect());
    for (path, body) in [("/d/small", &small), ("/d/large", &large)] {
        gate.publish(path, body);
        for _ in 0..2 {
            assert_eq!(gate.get(path).body, *body);
        }
    }
    let asked = origin.count("/d/small") + origin.count("/d/large");
    let timestamp = gate.get("/metadata/timestamp.json").body;
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n{more}\r\n");
    let mut stream = http::connect(gate.addr);
    // Ready ones in one packet, and one whose head comes in three.
    let packet = [
        get("/d/small", ""),
        get("/d/large", ""),
        get("/metadata/timestamp.json", ""),
    ]
    .concat();
    stream.write_all(packet.as_bytes()).unwrap();
    for body in [&small, &large, &timestamp] {
        let (head, came) = next(&mut stream);
        assert!(
            head.starts_with("http/1.1 200 ok\r\n") && head.contains("\r\ndate: "),
            "{head}"
        );
        assert!(head.contains("\r\nconnection: keep-alive\r\n"), "{head}");
        assert_eq!(came, *body);
    }
    let slow = get("/d/small", "");
    for piece in [&slow[..9], &slow[9..20], &slow[20..]] {
        stream.write_all(piece.as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(next(&mut stream).1, small);
    // By turns with what goes through Pingora.
    stream
        .write_all(get("/d/small", "Range: bytes=1-2\r\n").as_bytes())
        .unwrap();
    assert_eq!(next(&mut stream).1, b"ma");
    stream.write_all(get("/d/small", "").as_bytes()).unwrap();
    assert_eq!(next(&mut stream).1, small);
    stream.write_all(b"HEAD /d/large HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut head = [0; 17];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK\r\n");
    let after = origin.count("/d/small") + origin.count("/d/large");
    assert_eq!(after, asked, "none of these needed the upstream");
    // What follows a request that goes through Pingora is not answered on this connection.
    let mut stream = http::connect(gate.addr);
    let packet = [
        get("/d/small", ""),
        get("/d/small", "Range: bytes=0-0\r\n"),
        get("/d/small", ""),
    ]
    .concat();
    stream.write_all(packet.as_bytes()).unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    let answers = String::from_utf8_lossy(&answers);
    assert!(
        answers.starts_with("HTTP/1.1 200 OK\r\n") && answers.contains("smallHTTP/1.1 206 "),
        "{answers}"
    );
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
}

#[test]
fn ready_answers_are_counted() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    gate.publish("/d/a", b"a");
    for _ in 0..2 {
        assert_eq!(gate.get("/d/a").body, b"a");
    }
    let counted = || gate.metric("tufgate_requests_total{status=\"200\"}");
    let (before, mut stream) = (counted(), http::connect(gate.addr));
    for _ in 0..7 {
        stream.write_all(b"GET /d/a HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!(next(&mut stream).1, b"a");
    }
    until("all are counted", || counted() == before + 7.0);
}
