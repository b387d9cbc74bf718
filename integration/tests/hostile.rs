//! No request header, credential, query or spelling makes another client's download fail or teaches the gate other bytes.

use std::collections::BTreeSet;

use crate::support::{
    gate::{Gate, Setup, until},
    http,
    nginx::Nginx,
};

/// An upstream as gullible as they come: any of these headers, cookies, credentials or a query gets other bytes.
const GULLIBLE: &str = r#"
    if ($args) { rewrite ^ /evil.bin break; }
    if ($http_authorization) { rewrite ^ /evil.bin break; }
    if ($http_cookie) { rewrite ^ /evil.bin break; }
    if ($http_x_original_url) { rewrite ^ /evil.bin break; }
    if ($http_x_rewrite_url) { rewrite ^ /evil.bin break; }
    if ($http_x_forwarded_host ~ "evil") { rewrite ^ /evil.bin break; }
    if ($http_x_http_method_override) { rewrite ^ /evil.bin break; }
    if ($http_accept_language) { rewrite ^ /evil.bin break; }
    if ($http_x_evil) { rewrite ^ /evil.bin break; }
    if ($http_forwarded) { rewrite ^ /evil.bin break; }
    if ($http_origin) { rewrite ^ /evil.bin break; }
    if ($http_referer) { rewrite ^ /evil.bin break; }
    if ($http_accept ~ "evil") { rewrite ^ /evil.bin break; }
    if ($http_user_agent ~ "evil") { rewrite ^ /evil.bin break; }
    if ($http_host ~ "evil") { rewrite ^ /evil.bin break; }
"#;

/// Header lines an attacker may try.
fn attacks() -> Vec<Vec<(String, String)>> {
    let single = [
        (
            "Authorization",
            vec!["Basic ZXZpbDpldmls", "Bearer evil", "Negotiate evil", "Digest evil"],
        ),
        ("Cookie", vec!["evil=1", "a=b; evil=1", "session="]),
        ("X-Original-URL", vec!["/evil.bin", "/%65vil.bin", "evil"]),
        ("X-Rewrite-URL", vec!["/evil.bin"]),
        ("X-Forwarded-Host", vec!["evil.example", "evil"]),
        ("X-Forwarded-For", vec!["127.0.0.1", "evil", "::1"]),
        ("X-Forwarded-Proto", vec!["https", "evil"]),
        ("X-Forwarded-Prefix", vec!["/evil"]),
        ("X-HTTP-Method-Override", vec!["DELETE", "PUT"]),
        ("Accept-Language", vec!["evil", "de"]),
        ("Accept-Encoding", vec!["gzip", "br", "zstd", "evil", "identity;q=0"]),
        ("X-Evil", vec!["1"]),
        ("Forwarded", vec!["for=evil;host=evil"]),
        ("Origin", vec!["http://evil.example"]),
        ("Referer", vec!["http://evil.example/"]),
        ("Accept", vec!["evil/evil", "text/evil;q=1"]),
        ("User-Agent", vec!["evil", ""]),
        (
            "Range",
            vec![
                "bytes=0-",
                "bytes=0-3",
                "bytes=-4",
                "bytes=4-",
                "bytes=0-0,2-2",
                "bytes=9-1",
                "evil=0-",
            ],
        ),
        ("If-Range", vec!["\"evil\"", "W/\"evil\""]),
        ("If-None-Match", vec!["\"evil\"", "*", "W/\"x\""]),
        ("If-Match", vec!["\"evil\"", "*"]),
        ("If-Modified-Since", vec!["Sun, 22 Nov 2026 00:00:00 GMT", "evil"]),
        ("If-Unmodified-Since", vec!["Thu, 01 Jan 1970 00:00:00 GMT"]),
        (
            "Cache-Control",
            vec!["no-cache", "no-store", "only-if-cached", "max-age=0"],
        ),
        ("Pragma", vec!["no-cache"]),
        ("Upgrade", vec!["h2c", "websocket"]),
        ("HTTP2-Settings", vec!["AAMAAABkAAQAAP__"]),
        ("Connection", vec!["close", "X-Evil", "Host", "Upgrade, HTTP2-Settings"]),
        ("TE", vec!["trailers", "gzip"]),
        ("Expect", vec!["100-continue", "evil"]),
        ("Prefer", vec!["wait=1", "wait=0", "wait=evil", "respond-async"]),
        ("Via", vec!["1.1 evil"]),
        ("Max-Forwards", vec!["0"]),
        (
            "X-Checksum-Sha256",
            vec!["0000000000000000000000000000000000000000000000000000000000000000"],
        ),
        ("X-Checksum-Deploy", vec!["true"]),
        ("X-JFrog-Art-Api", vec!["evil"]),
        ("Want-Repr-Digest", vec!["sha-256=1", "sha-512=9"]),
        ("Content-Length", vec!["0"]),
        ("X-Host", vec!["evil"]),
        ("True-Client-IP", vec!["evil"]),
        ("Proxy-Authorization", vec!["Basic ZXZpbDpldmls"]),
        ("Destination", vec!["/evil.bin"]),
        ("Depth", vec!["infinity"]),
        ("Overwrite", vec!["T"]),
    ];
    let mut all: Vec<Vec<(String, String)>> = single
        .iter()
        .flat_map(|(name, values)| {
            values
                .iter()
                .map(|value| vec![((*name).to_owned(), (*value).to_owned())])
        })
        .collect();
    for (first, second) in [
        ("Authorization", "Cookie"),
        ("Range", "X-Evil"),
        ("X-Original-URL", "Accept"),
        ("Origin", "Cookie"),
    ] {
        all.push(vec![
            (first.to_owned(), "evil".to_owned()),
            (second.to_owned(), "evil".to_owned()),
        ]);
    }
    all
}

/// Spellings of a path and queries after it.
fn spellings(path: &str) -> Vec<String> {
    let encoded: String = path
        .bytes()
        .map(|b| if b == b'/' { "/".to_owned() } else { format!("%{b:02x}") })
        .collect();
    let last = path.rsplit('/').next().unwrap();
    let mut all = vec![
        format!("//{}", &path[1..]),
        format!("/.{path}"),
        format!("/x/..{path}"),
        format!("/%2e{path}"),
        format!("/x/%2e%2e{path}"),
        path.replacen('/', "/\\", 1),
        path.replace('/', "%2f"),
        path.replace('/', "%5c"),
        format!("{path}/"),
        format!("{path}/."),
        format!("{path}%00"),
        format!("{path}%20"),
        format!("{path}%2e"),
        format!("{path}."),
        format!("{path};evil=1"),
        format!("{path}%3fevil"),
        format!("{path}%23evil"),
        format!("{path}#evil"),
        path.to_uppercase(),
        encoded.clone(),
        encoded.to_uppercase().replace("%2F", "/"),
        format!("http://evil.example{path}"),
        format!("/{}.{last}", "0".repeat(64)),
        format!("/{}{path}", "a".repeat(64)),
    ];
    for query in [
        "",
        "evil",
        "evil=1",
        "v=1&evil=1",
        "?",
        "a%26b",
        "%3f",
        "download=true",
        "X-Amz-Signature=evil",
        "_=1",
    ] {
        all.push(format!("{path}?{query}"));
    }
    all
}

#[test]
fn no_request_harms_or_teaches_another() {
    let nginx = Nginx::start_with(&GULLIBLE.replace('\n', " "));
    // The gate is told the truth of recorded paths by uploads; fetches teach too, so that there is something to poison.
    let gate = Gate::start(&Setup::learning(nginx.url()));
    let good = b"the good bytes\n".repeat(40);
    let large = b"the good large bytes\n".repeat(30_000);
    std::fs::write(nginx.file("evil.bin"), b"evil bytes, evil bytes\n").unwrap();
    gate.publish("/dir/small.bin", &good);
    gate.publish("/dir/large.bin", &large);
    let mut tries = 0;
    let mut statuses = BTreeSet::new();
    let victim = |what: &str| {
        for (path, body) in [("/dir/small.bin", &good), ("/dir/large.bin", &large)] {
            let response = gate.get(path);
            assert!(
                response.status == 200 && response.whole && response.body == *body,
                "after {what}: {path}: {}",
                response.status
            );
        }
    };
    let judge = |what: &str, response: &http::Response, genuine: &[u8]| {
        let text = String::from_utf8_lossy(&response.body);
        let passed_evil = response.status == 200 && response.whole && text.contains("evil bytes");
        if let Some(status) = response.header("tufgate-status") {
            assert!(
                !(passed_evil && status.starts_with("signed")),
                "{what}: evil bytes as signed"
            );
        }
        if response.status == 200
            && response.whole
            && response.header("repr-digest").is_some()
            && !response.body.is_empty()
        {
            assert_eq!(response.body, genuine, "{what}");
        }
    };
    for headers in attacks() {
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        for (path, body) in [("/dir/small.bin", &good), ("/dir/large.bin", &large)] {
            let what = format!("{path} with {headers:?}");
            let response = http::request(gate.addr, "GET", path, &headers, b"");
            statuses.insert(response.status);
            judge(
                &what,
                &response,
                if response.status == 206 { &response.body } else { body },
            );
            tries += 1;
        }
        victim(&format!("{headers:?}"));
    }
    for path in ["/dir/small.bin", "/dir/large.bin"] {
        let body = if path.contains("small") { &good } else { &large };
        for spelling in spellings(path) {
            let response = http::request(gate.addr, "GET", &spelling, &[], b"");
            statuses.insert(response.status);
            judge(&spelling, &response, body);
            tries += 1;
            victim(&spelling);
        }
    }
    // Paths nobody has asked for: an attacker asks first, in every way; then the gate must know the good bytes or none.
    for (at, headers) in attacks().into_iter().enumerate() {
        let name = format!("fresh-{at}.bin");
        std::fs::write(nginx.file(&name), &good).unwrap();
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let _ = http::request(gate.addr, "GET", &format!("/{name}"), &headers, b"");
        let _ = http::request(gate.addr, "GET", &format!("/{name}?evil=1"), &headers, b"");
        tries += 2;
        let honest = gate.get(&format!("/{name}"));
        assert_eq!(
            (honest.status, &honest.body),
            (200, &good),
            "{headers:?} poisoned {name}"
        );
        assert!(honest.whole);
    }
    until("all to be signed", || gate.status()["pending"] == 0);
    for at in 0..attacks().len() {
        let response = gate.get(&format!("/fresh-{at}.bin"));
        assert_eq!(response.body, good);
    }
    assert_eq!(
        gate.metric("tufgate_drifts_total"),
        0.0,
        "no request accused the upstream"
    );
    assert!(tries >= 200, "{tries}");
    crate::figure(&format!("hostile: {tries} requests, statuses {statuses:?}, no harm"));
}
