//! Heads of HTTP/2 are judged as those of HTTP/1 are: what reaches an upstream means one thing there.

use bytes::Bytes;

use crate::{
    hostile_origin,
    support::{
        gate::{Gate, Setup},
        http as http1,
        http2::{exchange, request},
    },
};

const RULES: &str = "[[rule]]\npath = \"m/**\"\nkind = \"mutable\"\n[[rule]]\npath = \"**\"\nkind = \"immutable\"\n";

fn setup(upstream: String) -> Setup {
    Setup::learning(upstream)
        .rules(RULES)
        .gate("http2_prior_knowledge = true")
}

#[test]
fn a_method_in_small_letters_goes_past_no_rule() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&setup(origin.url()));
    gate.publish("/a", b"good");
    let asked = origin.requests().len();
    for method in ["put", "Put", "delete", "get", "move"] {
        for path in ["/a", "/m/a", "/a/"] {
            let sent = request(gate.addr, method, path, &[]);
            let got = exchange(gate.addr, sent, Some(Bytes::from_static(b"evil")));
            assert_eq!(got.status, 501, "{method} {path}");
            assert_eq!(
                http1::request(gate.addr, method, path, &[], b"evil").status,
                501,
                "{method} {path}"
            );
        }
    }
    assert_eq!(origin.requests().len(), asked, "{:?}", origin.requests());
    assert_eq!(origin.stored("/a").unwrap(), b"good");
}

#[test]
fn a_field_means_to_the_upstream_what_it_means_to_the_gate() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&setup(origin.url()).upstream_keys("preserve_host = true"));
    let heard = origin.requests().len();
    for (field, status) in [
        (("content_length", "1"), 400),
        (("transfer_encoding", "chunked"), 400),
        (("expect", "200-ok"), 417),
    ] {
        for (method, path) in [("POST", "/m/x"), ("POST", "/x"), ("PUT", "/x")] {
            let got = exchange(
                gate.addr,
                request(gate.addr, method, path, &[field]),
                Some(Bytes::from_static(b"abc")),
            );
            assert_eq!(got.status, status, "{method} {path} {field:?}");
            assert_eq!(
                http1::request(gate.addr, method, path, &[field], b"abc").status,
                status,
                "{method} {path} {field:?}"
            );
        }
    }
    assert_eq!(origin.requests().len(), heard, "{:?}", origin.requests());
}

#[test]
fn a_cookie_in_crumbs_is_one() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&setup(origin.url()));
    origin.put_file("/m/x", "x");
    gate.publish("/a", b"bytes");
    for path in ["/a", "/m/x"] {
        let crumbs = [("cookie", "a=1"), ("cookie", "sid=2"), ("cookie", "b=3")];
        assert_eq!(
            exchange(gate.addr, request(gate.addr, "GET", path, &crumbs), None).status,
            200
        );
        let asked = origin.requests();
        let head = &asked.iter().rfind(|seen| seen.target == path).unwrap().head;
        let cookies: Vec<_> = head
            .split("\r\n")
            .filter(|line| line.to_ascii_lowercase().starts_with("cookie:"))
            .collect();
        assert_eq!(cookies.len(), 1, "{head}");
        assert!(cookies[0].ends_with(": a=1; sid=2; b=3"), "{head}");
    }
}
