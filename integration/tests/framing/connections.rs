//! What happens between messages: uploads that stop, answers that come before the body, connections used again.

use super::{
    Wire, gate, recorded,
    recorder::{Recorder, Script, body_of},
};
use crate::support::gate::until;

fn script(bytes: &str, early: bool, close: bool) -> Script {
    Script {
        bytes: bytes.as_bytes().to_vec(),
        close,
        early,
        late: Vec::new(),
    }
}

#[test]
fn an_upload_that_stops_is_nobody_elses_beginning() {
    let upstream = Recorder::start();
    for known in ["/t/canary", "/u/canary"] {
        upstream.know(known);
    }
    let gate = gate(upstream.url(), "");
    for (at, folder) in ["t", "u"].into_iter().cycle().take(20).enumerate() {
        let lines = match at % 3 {
            0 => "Content-Length: 400\r\n\r\nhello",
            1 => "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            _ => "Transfer-Encoding: chunked\r\n\r\n50\r\nhello",
        };
        let mut wire = Wire::open(gate.addr);
        wire.send(format!("PUT /{folder}/stopped-{at} HTTP/1.1\r\nHost: h\r\n{lines}").as_bytes());
        drop(wire);
        for folder in ["t", "u"] {
            let path = format!("/{folder}/canary-{at}");
            assert_eq!(gate.get(&path).body, body_of(&path));
            let path = format!("/{folder}/put-{at}");
            assert_eq!(gate.put(&path, b"whole").status, 201);
        }
    }
    let whole = upstream
        .messages()
        .into_iter()
        .filter(|message| message.method == "PUT" && message.whole);
    assert!(
        whole.clone().all(|message| message.body == b"whole"),
        "half an upload was taken for a whole one"
    );
    assert_eq!(whole.count(), 40);
    assert_eq!(upstream.faults(), [""; 0]);
    until("nothing to be pending", || gate.status()["pending"] == 0);
    assert!(recorded(&gate).keys().all(|path| !path.contains("stopped")));
}

/// The upstream answers at the head and keeps its connection open, as if it had read the body: were the connection used
/// again, it would take the body for a request.
#[test]
fn an_answer_before_the_body_leaves_no_body_behind() {
    let upstream = Recorder::start();
    for known in ["/t/canary", "/u/canary"] {
        upstream.know(known);
    }
    let gate = gate(upstream.url(), "");
    let evil = "GET /u/canary-evil HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut asked = 0;
    for (at, status) in [
        "401 Unauthorized",
        "417 Expectation Failed",
        "413 Content Too Large",
        "201 Created",
    ]
    .iter()
    .enumerate()
    {
        for folder in ["t", "u"] {
            for (expect, method) in [
                ("", "PUT"),
                ("Expect: 100-continue\r\n", "PUT"),
                ("Expect: 100-continue\r\n", "POST"),
            ] {
                asked += 1;
                let path = format!("/{folder}/early-{at}-{asked}");
                let reply = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                upstream.script(&path, script(&reply, true, false));
                let mut wire = Wire::open(gate.addr);
                let length = evil.len();
                wire.send(
                    format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{expect}Content-Length: {length}\r\n\r\n")
                        .as_bytes(),
                );
                let answer = match expect {
                    // The body only after the answer, as one does who waits for 100.
                    "" => {
                        wire.send(evil.as_bytes());
                        wire.answer(false)
                    }
                    _ => {
                        let answer = wire.answer(false);
                        wire.send(evil.as_bytes());
                        answer
                    }
                };
                assert!(
                    answer.is_some_and(|answer| status.starts_with(&answer.status.to_string())),
                    "{path}"
                );
                for folder in ["t", "u"] {
                    let canary = format!("/{folder}/canary-{asked}");
                    assert_eq!(gate.get(&canary).body, body_of(&canary), "after {path}");
                }
            }
        }
    }
    assert!(
        upstream
            .messages()
            .iter()
            .all(|message| !message.target.contains("evil")),
        "a body was taken for a request"
    );
    assert_eq!(upstream.faults(), [""; 0]);
}

#[test]
fn many_messages_on_one_connection_stay_apart() {
    let upstream = Recorder::start();
    upstream.know("/u/");
    upstream.know("/t/");
    let gate = gate(upstream.url(), "");
    let mut wire = Wire::open(gate.addr);
    for at in 0..60 {
        let folder = if at % 2 == 0 { "t" } else { "u" };
        let path = format!("/{folder}/kept-{at}");
        match at % 3 {
            0 => wire.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()),
            1 => wire.send(format!("PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello").as_bytes()),
            _ => wire.send(format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()),
        }
        let answer = wire
            .answer(at % 3 == 2)
            .unwrap_or_else(|| panic!("closed before {path}"));
        let expected = if at % 3 == 0 { body_of(&path) } else { Vec::new() };
        assert_eq!(answer.body, expected, "{path}: {answer:?}");
        assert!(!answer.closes(), "{path}: {answer:?}");
    }
    assert_eq!(upstream.faults(), [""; 0]);
}

/// RFC 9112 section 6.1: no Transfer-Encoding for a client of HTTP/1.0; section 15.2 of RFC 9110: no informational answer.
#[test]
fn clients_of_http_1_0_get_no_chunks() {
    let upstream = Recorder::start();
    let gate = gate(upstream.url(), "");
    let chunked =
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let close = "HTTP/1.1 200 OK\r\n\r\nhello";
    for folder in ["t", "u"] {
        for (name, reply, closes) in [("chunked", chunked, false), ("close", close, true)] {
            for connection in ["", "Connection: keep-alive\r\n"] {
                let path = format!("/{folder}/old-{name}-{}", connection.len());
                upstream.script(&path, script(reply, false, closes));
                let stream = &mut crate::support::http::connect(gate.addr);
                let request = format!("GET {path} HTTP/1.0\r\n{connection}\r\n");
                std::io::Write::write_all(stream, request.as_bytes()).unwrap();
                let mut text = String::new();
                std::io::Read::read_to_string(stream, &mut text).unwrap();
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                assert!(head.starts_with("HTTP/1.1 200"), "{path}: {text}");
                assert!(
                    !head.to_ascii_lowercase().contains("transfer-encoding"),
                    "{path}: {text}"
                );
                assert!(
                    head.to_ascii_lowercase().contains("connection: close"),
                    "{path}: {text}"
                );
                assert_eq!(body, "hello", "{path}");
            }
        }
    }
}

/// RFC 9110 section 15.2.2: protocols are switched when both sides want it, and on no path that the gate answers for.
#[test]
fn protocols_are_switched_only_when_asked() {
    let upstream = Recorder::start();
    let gate = gate(upstream.url(), "");
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
    let asking = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    for (folder, method, lines, switched) in [
        ("u", "GET", asking, true),
        ("u", "GET", "", false),
        ("u", "POST", "Upgrade: h2c\r\n", false),
        ("t", "GET", asking, false),
        ("t", "HEAD", asking, false),
        ("t", "PUT", asking, false),
        ("t", "PUT", "", false),
        ("t", "DELETE", asking, false),
    ] {
        let path = format!("/{folder}/switch-{method}-{}", lines.len());
        upstream.script(&path, script(switch, false, true));
        let stream = &mut crate::support::http::connect(gate.addr);
        let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        std::io::Write::write_all(stream, request.as_bytes()).unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"hello") {
            let mut byte = [0];
            match std::io::Read::read(stream, &mut byte) {
                Ok(1) => text.push(byte[0]),
                _ => break,
            }
        }
        let text = String::from_utf8_lossy(&text);
        let expected = if switched { "HTTP/1.1 101 " } else { "HTTP/1.1 5" };
        assert!(
            text.starts_with(expected) && text.ends_with("hello") == switched,
            "{method} {path} {lines}: {text}"
        );
    }
    assert!(recorded(&gate).is_empty());
}
