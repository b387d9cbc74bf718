//! Heads that do not come whole, or hold what others must not see; answers that are heads alone.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::Shutdown,
    time::Duration,
};

use crate::{
    hostile_origin,
    support::{
        gate::{Gate, Setup, until},
        http,
        origin::{Behaviour, Framing},
    },
};

const PASSED: &str = "[[rule]]\npath = \"m/**\"\nkind = \"mutable\"\n[[rule]]\npath = \"**\"\nkind = \"immutable\"\n";

#[test]
fn a_value_holds_no_control_character_whoever_answers() {
    let (_runtime, origin) = hostile_origin();
    origin.put_file("/m/a", "a");
    let gate = Gate::start(&Setup::learning(origin.url()).rules(PASSED));
    let status = |path: &str, name: &str, value: &[u8]| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{name}: ");
        http::raw(gate.addr, &[head.as_bytes(), value, b"\r\n\r\n"].concat()).status
    };
    for path in ["/metadata/timestamp.json", "/metadata/timestamp.json", "/m/a"] {
        for name in ["User-Agent", "X-Any"] {
            for value in [&b"a\x1b[31m"[..], b"\x07a", b"a\x01b", b"a\x7f"] {
                assert_eq!(status(path, name, value), 400, "{path} {name} {value:?}");
            }
            for value in [&b"a\tb c"[..], b"a\xff", "a\u{9b}\u{202e}".as_bytes()] {
                assert_eq!(status(path, name, value), 200, "{path} {name} {value:?}");
            }
        }
    }
}

#[test]
fn no_client_writes_what_it_wants_into_the_log() {
    let (_runtime, origin) = hostile_origin();
    for json in [false, true] {
        let setup = Setup::learning(origin.url())
            .rules(PASSED)
            .extra(&format!("json = {json}\n"));
        let gate = Gate::start(&setup);
        let agent = "forged\" http.status=999 \u{9b}31m\u{202e}";
        for path in [
            "/metadata/timestamp.json",
            "/metadata/timestamp.json",
            "/m/\u{9b}\u{202e}",
        ] {
            http::request(gate.addr, "GET", path, &[("User-Agent", agent)], b"");
        }
        let forged = || gate.log().lines().filter(|line| line.contains("forged")).count();
        until("the log to tell of all", || forged() == 3);
        let log = gate.log();
        let lines = log.lines().filter(|line| line.contains("forged"));
        for line in lines {
            assert!(!line.contains(['\u{9b}', '\u{202e}']), "{line}");
            // The quote is one that the line's own quotes take for text.
            assert!(line.contains("forged\\\" http.status=999"), "{line}");
        }
    }
}

#[test]
fn what_has_no_body_has_no_length_that_nobody_told() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).rules(PASSED).uncached());
    gate.publish("/a", b"bytes");
    for (method, lines, status, length) in [
        ("GET", "304 Not Modified\r\nETag: \"e\"\r\n", 304, None),
        ("HEAD", "304 Not Modified\r\nETag: \"e\"\r\n", 304, None),
        ("HEAD", "403 Forbidden\r\nTransfer-Encoding: chunked\r\n", 403, None),
        ("HEAD", "403 Forbidden\r\n", 403, None),
        ("HEAD", "403 Forbidden\r\nContent-Length: 7\r\n", 403, Some("7")),
        ("GET", "403 Forbidden\r\nContent-Length: 0\r\n", 403, Some("0")),
    ] {
        origin.script("/a", Behaviour::Raw(format!("HTTP/1.1 {lines}\r\n").into_bytes()));
        let got = http::request(gate.addr, method, "/a", &[("If-None-Match", "\"e\"")], b"");
        assert_eq!(got.status, status, "{method} {lines}");
        assert_eq!(got.header("content-length"), length, "{method} {lines}");
        assert_eq!(got.header("transfer-encoding"), None, "{method} {lines}");
    }
}

#[test]
fn who_stops_sending_gets_no_error_for_it() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).rules(PASSED).uncached());
    gate.publish("/a", b"bytes");
    origin.script("/a", Behaviour::Stall(Framing::Length, 0));
    let half = |sent: &str| {
        let mut stream = http::connect(gate.addr);
        stream.write_all(sent.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    };
    // Whether it has left or only has no more to say, nobody can tell.
    assert_eq!(half("GET /a HTTP/1.1\r\nHost: h\r\n\r\n"), "");
    for part in ["", "G", "GET /a HTTP/1.1\r\nHo", "GET /a HTTP/1.1\r\nHost: h\r\n"] {
        assert_eq!(half(part), "", "{part:?}");
    }
    // What is at hand is answered.
    for _ in 0..2 {
        let answer = half("GET /metadata/timestamp.json HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(!gate.log().contains("ERROR"), "{}", gate.log());
}

#[test]
fn a_head_is_short_and_comes_in_time() {
    let (_runtime, origin) = hostile_origin();
    let setup = Setup::learning(origin.url())
        .rules(PASSED)
        .gate("client_timeout = \"2s\"\n");
    origin.put_file("/m/a", "a");
    let gate = Gate::start(&setup);
    let begun = "GET /m/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";
    let lines = |count: usize| {
        (0..count)
            .map(|at| format!("X-{at}: {}\r\n", "a".repeat(1000)))
            .collect::<String>()
    };
    let sent = |text: String| http::raw(gate.addr, text.as_bytes());
    assert_eq!(sent(format!("{begun}{}\r\n", lines(60))).status, 200);
    for end in ["", "\r\n"] {
        let refused = sent(format!("{begun}{}{end}", lines(200)));
        assert_eq!((refused.status, refused.problem().as_deref()), (431, Some("request")));
    }
    // What begins as no request does is not waited for.
    assert_eq!(http::raw(gate.addr, b"\x16\x03\x01\x02\x00\x01").status, 400);
    // A byte now and then is no head; with empty lines before it neither.
    for begun in [begun.to_owned(), "\r\n".repeat(500)] {
        let mut stream = http::connect(gate.addr);
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut answer = [0; 12];
        for byte in begun.bytes().chain(lines(1).bytes()) {
            stream.write_all(&[byte]).unwrap();
            match stream.read(&mut answer) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                other => {
                    other.unwrap();
                    break;
                }
            }
        }
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 408");
    }
}

#[test]
fn a_credential_for_a_proxy_is_none_for_the_upstream() {
    let (_runtime, origin) = hostile_origin();
    origin.put_file("/m/a", "a");
    let gate = Gate::start(&Setup::learning(origin.url()).rules(PASSED));
    gate.publish("/a", b"bytes");
    assert_eq!(gate.get("/a").body, b"bytes");
    let asked = origin.count("/a");
    let proxy = ("Proxy-Authorization", "Basic eDp5");
    for _ in 0..3 {
        assert_eq!(http::request(gate.addr, "GET", "/a", &[proxy], b"").body, b"bytes");
    }
    assert_eq!(origin.count("/a"), asked, "it is an anonymous reader's");
    for path in ["/m/a", "/a"] {
        let both = [proxy, ("Authorization", "Basic eDp5")];
        assert_eq!(http::request(gate.addr, "GET", path, &both, b"").status, 200);
        let seen = origin.requests().into_iter().rfind(|seen| seen.target == path).unwrap();
        assert_eq!(seen.header("authorization"), Some("Basic eDp5"), "{path}");
        assert_eq!(seen.header("proxy-authorization"), None, "{path}");
    }
}
