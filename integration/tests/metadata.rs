//! `/metadata`: headers, both views, and what is below the prefix.

use std::io::Read;

use serde_json::Value;

use crate::support::{
    gate::{Gate, Setup},
    http,
    nginx::Nginx,
};

fn pair() -> (Nginx, Gate) {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    (nginx, gate)
}

fn json(gate: &Gate, name: &str) -> Value {
    let response = gate.get(&format!("/metadata/{name}"));
    assert_eq!(response.status, 200, "{name}: {response:?}");
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn versioned_files_are_immutable_and_the_timestamp_moves() {
    let (_nginx, gate) = pair();
    gate.publish("/x", b"x");
    let version = json(&gate, "timestamp.json")["signed"]["meta"]["snapshot.json"]["version"]
        .as_u64()
        .unwrap();
    for name in ["1.root.json".to_owned(), format!("{version}.snapshot.json")] {
        let response = gate.get(&format!("/metadata/{name}"));
        assert_eq!(
            response.header("cache-control"),
            Some("public, max-age=31536000, immutable"),
            "{name}"
        );
        assert!(response.header("etag").unwrap().starts_with('"'));
        assert!(response.header("vary").unwrap().eq_ignore_ascii_case("accept-encoding"));
        assert!(response.header("surrogate-key").unwrap().contains("tuf-immutable"));
    }
    for name in ["timestamp.json", "root.json"] {
        let response = gate.get(&format!("/metadata/{name}"));
        assert_eq!(
            response.header("cache-control"),
            Some("public, max-age=1, must-revalidate"),
            "{name}"
        );
    }
    for name in ["2.root.json", "timestamp.jsonx", "", "9999.snapshot.json"] {
        let response = gate.get(&format!("/metadata/{name}"));
        assert_eq!(
            (response.status, response.header("cache-control")),
            (404, Some("no-store")),
            "{name}"
        );
    }
}

#[test]
fn conditions_encodings_and_head() {
    let (_nginx, gate) = pair();
    gate.publish("/x", b"x");
    let plain = gate.get("/metadata/1.targets.json");
    let etag = plain.header("etag").unwrap().to_owned();
    let fresh = http::request(
        gate.addr,
        "GET",
        "/metadata/1.targets.json",
        &[("If-None-Match", &etag)],
        b"",
    );
    assert_eq!((fresh.status, fresh.body.len()), (304, 0));
    let packed = http::request(
        gate.addr,
        "GET",
        "/metadata/1.targets.json",
        &[("Accept-Encoding", "gzip")],
        b"",
    );
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_ne!(
        packed.header("etag"),
        Some(etag.as_str()),
        "each coding has an ETag of its own"
    );
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(packed.body.as_slice())
        .read_to_end(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, plain.body);
    let head = http::request(gate.addr, "HEAD", "/metadata/1.targets.json", &[], b"");
    assert_eq!(head.header("content-length").unwrap(), plain.body.len().to_string());
}

#[test]
fn both_views_share_everything_but_the_delegator() {
    let (_nginx, gate) = pair();
    gate.publish("/x", b"x");
    let timestamp = json(&gate, "timestamp.json");
    assert_eq!(timestamp, json(&gate, "succinct/timestamp.json"));
    let version = timestamp["signed"]["meta"]["snapshot.json"]["version"]
        .as_u64()
        .unwrap();
    let snapshot = json(&gate, &format!("{version}.snapshot.json"));
    assert_eq!(snapshot, json(&gate, &format!("succinct/{version}.snapshot.json")));
    let bins = &snapshot["signed"]["meta"]["bins.json"];
    assert!(bins.get("length").is_none() && bins.get("hashes").is_none(), "{bins}");
    assert!(snapshot["signed"]["meta"]["targets.json"]["hashes"]["sha256"].is_string());
    let delegator = format!("{}.bins.json", bins["version"]);
    let prefixes = json(&gate, &delegator);
    let succinct = json(&gate, &format!("succinct/{delegator}"));
    assert_eq!(prefixes["signed"]["delegations"]["roles"].as_array().unwrap().len(), 16);
    assert_eq!(succinct["signed"]["delegations"]["succinct_roles"]["bit_length"], 4);
    assert_eq!(
        succinct["signed"]["delegations"]["succinct_roles"]["name_prefix"],
        "bins4"
    );
}

#[test]
fn nothing_below_the_prefix_is_proxied_or_recorded() {
    let (nginx, gate) = pair();
    std::fs::create_dir_all(nginx.file("metadata")).unwrap();
    std::fs::write(nginx.file("metadata/secret.json"), b"upstream").unwrap();
    for target in [
        "/metadata/secret.json",
        "/metadata//secret.json",
        "/%6detadata/secret.json",
        "/x/../metadata/secret.json",
    ] {
        assert_eq!(gate.get(target).status, 404, "{target}");
        assert_eq!(gate.put(target, b"x").status, 405, "{target}");
    }
    assert_eq!(std::fs::read(nginx.file("metadata/secret.json")).unwrap(), b"upstream");
}

#[test]
fn flat_layout_lists_all_in_targets_json() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()).extra("[tuf]\nlayout = \"flat\"\n"));
    gate.publish("/a", b"1");
    gate.publish("/b", b"2");
    let timestamp = json(&gate, "timestamp.json");
    let version = timestamp["signed"]["meta"]["snapshot.json"]["version"]
        .as_u64()
        .unwrap();
    let snapshot = json(&gate, &format!("{version}.snapshot.json"));
    let targets = snapshot["signed"]["meta"]["targets.json"]["version"].as_u64().unwrap();
    let targets = json(&gate, &format!("{targets}.targets.json"));
    assert_eq!(targets["signed"]["targets"].as_object().unwrap().len(), 2);
    assert!(targets["signed"].get("delegations").is_none());
    assert!(crate::matrix::fetch_with_tufgate(&gate, "a").is_ok());
}
