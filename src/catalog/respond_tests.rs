#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::*;

fn document(class: Class) -> Arc<Document> {
    let document = Arc::new(Document::new(Bytes::from("metadata ".repeat(500)), class));
    for encoding in Encoding::ALL {
        document.encode(encoding).now_or_never().unwrap();
    }
    document
}

fn ask(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
    lines.iter().map(line).collect()
}

fn answer(lines: &[(&'static str, &str)]) -> Reply {
    respond(&Method::GET, &ask(lines), Some(&document(Class::Immutable)), 1)
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn versioned_files_are_cached_for_ever_and_the_pointer_for_a_second() {
    let fixed = respond(&Method::GET, &HeaderMap::new(), Some(&document(Class::Immutable)), 7);
    assert_eq!(fixed.status, StatusCode::OK);
    assert_eq!(
        header(&fixed, "cache-control"),
        Some("public, max-age=31536000, immutable")
    );
    assert_eq!(header(&fixed, "surrogate-key"), Some("tuf tuf-immutable"));
    assert_eq!(header(&fixed, "content-type"), Some("application/json"));
    assert_eq!(header(&fixed, "vary"), Some("Accept-Encoding"));
    assert_eq!(header(&fixed, "content-length"), Some("4500"));
    assert_eq!(header(&fixed, "content-encoding"), None);
    for (age, control) in [
        (1, "public, max-age=1, must-revalidate"),
        (7, "public, max-age=7, must-revalidate"),
    ] {
        let moving = respond(&Method::GET, &HeaderMap::new(), Some(&document(Class::Moving)), age);
        assert_eq!(header(&moving, "cache-control"), Some(control));
        assert_eq!(header(&moving, "surrogate-key"), Some("tuf tuf-timestamp"));
    }
}

#[test]
fn what_is_missing_may_not_be_stored() {
    let missing = respond(&Method::GET, &HeaderMap::new(), None, 1);
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(header(&missing, "cache-control"), Some("no-store"));
    let head = respond(&Method::HEAD, &HeaderMap::new(), None, 1);
    assert_eq!((head.status, head.body.len()), (StatusCode::NOT_FOUND, 0));
}

#[test]
fn other_methods_are_refused() {
    let post = respond(&Method::POST, &HeaderMap::new(), Some(&document(Class::Moving)), 1);
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(header(&post, "allow"), Some("GET, HEAD"));
}

#[test]
fn head_says_what_get_would_send() {
    for encoding in ["identity", "gzip", "zstd"] {
        let lines = ask(&[("accept-encoding", encoding)]);
        let get = respond(&Method::GET, &lines, Some(&document(Class::Immutable)), 1);
        let head = respond(&Method::HEAD, &lines, Some(&document(Class::Immutable)), 1);
        assert_eq!(head.headers, get.headers);
        assert_eq!(header(&head, "content-length").unwrap(), get.body.len().to_string());
        assert!(head.body.is_empty());
    }
}

#[test]
fn encodings_are_sent_only_when_asked() {
    for (accept, expected) in [
        ("", None),
        ("identity", None),
        ("gzip", Some("gzip")),
        ("x-gzip", Some("gzip")),
        ("zstd", Some("zstd")),
        ("GZIP;Q=0.5", Some("gzip")),
        ("gzip, deflate, br", Some("gzip")),
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip;q=1.0, zstd;q=0.5", Some("gzip")),
        ("gzip;q=0", None),
        ("gzip;q=0, *", Some("zstd")),
        ("*;q=0", None),
        ("zstd;q=0, gzip;q=0, identity;q=0", None),
        ("identity;q=1, gzip;q=0.5", None),
        ("gzip;q=2", None),
        ("gzip;q=x", None),
        ("br", None),
    ] {
        let reply = answer(&[("accept-encoding", accept)]);
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(header(&reply, "content-encoding"), expected, "{accept:?}");
    }
    let two_lines = {
        let mut lines = ask(&[("accept-encoding", "br")]);
        lines.append(ACCEPT_ENCODING, HeaderValue::from_static("zstd"));
        respond(&Method::GET, &lines, Some(&document(Class::Immutable)), 1)
    };
    assert_eq!(header(&two_lines, "content-encoding"), Some("zstd"));
}

#[test]
fn a_known_etag_gets_304_without_a_body() {
    let etag = header(&answer(&[]), "etag").unwrap().to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'));
    for known in [
        etag.clone(),
        format!("W/{etag}"),
        format!("\"x\", {etag}"),
        "*".to_owned(),
    ] {
        let reply = answer(&[("if-none-match", &known)]);
        assert_eq!(reply.status, StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(header(&reply, "etag"), Some(&*etag));
        assert_eq!(
            header(&reply, "cache-control"),
            Some("public, max-age=31536000, immutable")
        );
        assert_eq!(header(&reply, "vary"), Some("Accept-Encoding"));
        assert_eq!(header(&reply, "content-length"), None);
        assert!(reply.body.is_empty());
    }
    for unknown in ["\"x\"", "x", "", etag.trim_matches('"')] {
        assert_eq!(
            answer(&[("if-none-match", unknown)]).status,
            StatusCode::OK,
            "{unknown}"
        );
    }
}

#[test]
fn each_encoding_has_an_etag_of_its_own() {
    let gzip = answer(&[("accept-encoding", "gzip")]);
    let tag = header(&gzip, "etag").unwrap();
    assert_ne!(header(&answer(&[]), "etag"), Some(tag));
    let plain = answer(&[("if-none-match", tag)]);
    assert_eq!(
        plain.status,
        StatusCode::OK,
        "the gzip tag says nothing of the plain bytes"
    );
    let same = answer(&[("if-none-match", tag), ("accept-encoding", "gzip")]);
    assert_eq!(same.status, StatusCode::NOT_MODIFIED);
}

proptest! {
    #[test]
    fn no_header_breaks_the_answer(accept in "[ -~]{0,60}", tag in "[ -~]{0,60}") {
        let reply = answer(&[("accept-encoding", &accept), ("if-none-match", &tag)]);
        prop_assert!(matches!(reply.status, StatusCode::OK | StatusCode::NOT_MODIFIED));
        if reply.status == StatusCode::OK {
            prop_assert_eq!(header(&reply, "content-length").unwrap(), reply.body.len().to_string());
        }
    }
}
