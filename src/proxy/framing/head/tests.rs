use proptest::prelude::*;

use super::*;

fn put(lines: &str) -> Result<Body, Fault> {
    judge(format!("PUT /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n").as_bytes())
}

#[test]
fn a_body_ends_in_one_way() {
    assert_eq!(put(""), Ok(Body::None));
    assert_eq!(put("Content-Length: 0007\r\n"), Ok(Body::Length(7)));
    assert_eq!(put("transfer-encoding:\t CHUNKED \r\n"), Ok(Body::Chunked));
    for (lines, fault) in [
        ("Content-Length: 7\r\nTransfer-Encoding: chunked\r\n", Fault::Both),
        ("Transfer-Encoding: chunked\r\nContent-Length: 7\r\n", Fault::Both),
        ("Content-Length: 7\r\nContent-Length: 7\r\n", Fault::Length),
        ("Content-Length: 7, 7\r\n", Fault::Length),
        ("Content-Length: +7\r\n", Fault::Length),
        ("Content-Length:\r\n", Fault::Length),
        ("Content-Length: 9223372036854775808\r\n", Fault::Length),
        ("Transfer-Encoding: gzip, chunked\r\n", Fault::Coding),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            Fault::Coding,
        ),
        ("Transfer-Encoding: chunked, chunked\r\n", Fault::Chunked),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Fault::Chunked,
        ),
        ("Transfer-Encoding: chunked, identity\r\n", Fault::Chunked),
        ("Transfer-Encoding: chunked,\r\n", Fault::Chunked),
        ("Transfer-Encoding: \"chunked\"\r\n", Fault::Chunked),
        ("Transfer-Encoding:\r\n", Fault::Chunked),
    ] {
        assert_eq!(put(lines), Err(fault), "{lines}");
    }
}

#[test]
fn a_line_is_one_to_everybody() {
    for lines in [
        "X: a\nY: b\r\n",
        "X: a\rY: b\r\n",
        "X: a\0\r\n",
        "X: a\x1b[31m\r\n",
        "X: a\x07\r\n",
        "X: \x01\r\n",
        "X: a\x7fb\r\n",
        "X : a\r\n",
        ": a\r\n",
        "X\r\n",
        "X\x0b: a\r\n",
    ] {
        assert_eq!(put(lines), Err(Fault::Line), "{lines:?}");
    }
    assert_eq!(put("X: a\tb \u{e9}\r\n"), Ok(Body::None));
    assert_eq!(put("Content_Length: 5\r\n"), Err(Fault::Twin));
    assert_eq!(put("X: a\r\n b\r\n"), Err(Fault::Fold));
    assert_eq!(put(&format!("X: {}\r\n", "a".repeat(MAX_HEAD - 42))), Ok(Body::None));
    assert_eq!(put(&format!("X: {}\r\n", "a".repeat(MAX_HEAD))), Err(Fault::Large));
    assert_eq!(put("X: a\r\n\tContent-Length: 1\r\n"), Err(Fault::Fold));
    for line in [
        "GET  / HTTP/1.1",
        "GET / HTTP/1.2",
        "GET /",
        "GET / HTTP/1.1 ",
        "GET /\n HTTP/1.1",
        "G(T / HTTP/1.1",
    ] {
        assert_eq!(
            judge(format!("{line}\r\nHost: h\r\n\r\n").as_bytes()),
            Err(Fault::Line),
            "{line:?}"
        );
    }
    assert_eq!(judge(b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), Ok(Body::None));
    assert_eq!(judge(b"put / HTTP/1.1\r\nHost: h\r\n\r\n"), Err(Fault::Method));
    assert_eq!(judge(b"GET / HTTP/1.1\r\n\r\n"), Err(Fault::Host));
    assert_eq!(judge(b"GET / HTTP/1.0\r\n\r\n"), Ok(Body::None));
    let old = judge(b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old, Err(Fault::Old));
}

#[test]
fn a_host_is_a_host() {
    for good in [
        "h",
        "h:",
        "h:80",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:80",
        "a%20b",
        "x_y.example",
    ] {
        assert!(is_host(good.as_bytes()), "{good}");
    }
    for bad in [
        "", ":80", "h/x", "u@h", "h:8x", "h?", "h#", "h h", "::1", "[::1", "[::1]x", "h\\x", "h:80:80",
    ] {
        assert!(!is_host(bad.as_bytes()), "{bad}");
    }
}

#[test]
fn a_connection_names_what_is_its_own() {
    assert_eq!(
        put("Connection: keep-alive, TE, x-absent\r\nTE: trailers\r\n"),
        Ok(Body::None)
    );
    for lines in [
        "Connection: Host\r\n",
        "Connection: close, content-length\r\nContent-Length: 1\r\n",
        "X-User: a\r\nConnection: x-user\r\n",
    ] {
        assert_eq!(put(lines), Err(Fault::Connection), "{lines}");
    }
    assert_eq!(put("Expect: 100-Continue\r\n"), Ok(Body::None));
    assert_eq!(put("Expect: y 100-continue\r\n"), Err(Fault::Expectation));
}

#[test]
fn requests_of_http_2_are_judged_by_the_same_rules() {
    let judged = |method: &str, fields: &[(&str, &str)]| {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        judge_framed(method.as_bytes(), fields)
    };
    let host = ("host", "h:80");
    assert_eq!(
        judged("PUT", &[host, ("content-length", "3"), ("te", "trailers")]),
        Ok(())
    );
    for method in ["put", "Put", "get", "move"] {
        assert_eq!(judged(method, &[host]), Err(Fault::Method), "{method}");
    }
    for (fields, fault) in [
        (&[host, ("content_length", "1")][..], Fault::Twin),
        (&[host, ("transfer_encoding", "chunked")], Fault::Twin),
        (&[host, ("expect", "200-ok")], Fault::Expectation),
        (&[host, ("content-length", "3"), ("content-length", "3")], Fault::Length),
        (&[("host", "a b/../evil")], Fault::Host),
        (&[("host", "u@evil")], Fault::Host),
        (&[host, host], Fault::Host),
        (&[], Fault::Host),
    ] {
        assert_eq!(judged("POST", fields), Err(fault), "{fields:?}");
    }
}

#[test]
fn a_head_ends_with_an_empty_line() {
    let whole = |came: &str| end_of_head(came.as_bytes(), 0);
    for head in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /\n\n",
        "GET / HTTP/1.1\r\nA: b\n\r\n",
    ] {
        assert_eq!(whole(&format!("{head}body\r\n\r\n")), Ok(Some(head.len())), "{head:?}");
        for seen in 0..head.len() {
            assert_eq!(whole(&head[..seen]), Ok(None), "{head:?} {seen}");
            assert_eq!(
                end_of_head(head.as_bytes(), seen),
                Ok(Some(head.len())),
                "{head:?} {seen}"
            );
        }
    }
    for other in ["\u{16}\u{3}\u{1}", "\n", "\rG", " GET", "x\r\n\r\n"] {
        assert_eq!(whole(other), Err(Fault::Line), "{other:?}");
    }
    let long = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(MAX_HEAD));
    assert_eq!(whole(&long[..MAX_HEAD]), Ok(None));
    assert_eq!(whole(&long[..MAX_HEAD + 1]), Err(Fault::Large));
    assert_eq!(whole(&format!("{long}\r\n\r\n")), Err(Fault::Large));
}

proptest! {
    #[test]
    fn no_head_is_read_in_two_ways(head in "(GET|PUT) /a HTTP/1[.][01]\r\n(Host: h\r\n|Content-Length: [0-9+, ]{1,3}\r?\n|Transfer-Encoding: (chunked|x)\r\n|X: [ -~\r\n\t]{0,3}\r\n){0,5}\r\n") {
        if let Ok(body) = judge(head.as_bytes()) {
            // What a reader that takes any LF for a line's end makes of it is the same.
            let lines: Vec<&str> = head.split('\n').map(|line| line.trim_end_matches('\r')).collect();
            let of = |name: &str| lines.iter().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
            let (lengths, codings) = (of("Content-Length: "), of("Transfer-Encoding: "));
            match body {
                Body::None => prop_assert!(lengths.is_empty() && codings.is_empty()),
                Body::Chunked => prop_assert!(lengths.is_empty() && codings == ["chunked"]),
                Body::Length(length) => {
                    prop_assert!(codings.is_empty() && lengths.len() == 1);
                    prop_assert_eq!(lengths[0].trim().parse::<u64>().unwrap(), length);
                }
            }
        }
    }

    #[test]
    fn any_bytes_have_a_verdict(head: Vec<u8>) {
        let _ = judge(&head);
        let _ = end_of_head(&head, 0);
    }
}
