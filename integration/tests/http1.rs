//! Clients of HTTP/1.0 and of no HTTP at all, with and without HTTP/2 beside them.

use std::io::{Read as _, Write as _};

use crate::{
    hostile_origin,
    support::{
        gate::{Gate, Setup},
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
