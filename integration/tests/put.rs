//! PUT, DELETE, MOVE and COPY in front of an unmodified nginx with DAV.

use std::fs;

use crate::support::{
    gate::{Gate, Setup, until},
    http,
    nginx::Nginx,
};

fn pair() -> (Nginx, Gate) {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    (nginx, gate)
}

#[test]
fn an_accepted_put_is_stored_and_signed() {
    let (nginx, gate) = pair();
    let response = gate.publish("/a/b.txt", b"bytes");
    assert_eq!(response.status, 201);
    assert_eq!(response.header("preference-applied"), Some("wait=20"));
    assert_eq!(fs::read(nginx.file("a/b.txt")).unwrap(), b"bytes");
    let read = gate.get("/a/b.txt");
    assert_eq!((read.status, read.body.as_slice()), (200, &b"bytes"[..]));
    assert!(read.header("tufgate-status").unwrap().starts_with("signed; snapshot="));
    assert_eq!(
        read.header("repr-digest").unwrap(),
        format!("sha-256=:{}:", digest64(b"bytes"))
    );
    // The same bytes again need no other publication.
    let again = gate.put("/a/b.txt", b"bytes");
    assert!(
        again.header("tufgate-status").unwrap().starts_with("signed; snapshot="),
        "{again:?}"
    );
}

fn digest64(bytes: &[u8]) -> String {
    use base64ct::{Base64, Encoding};
    Base64::encode_string(tufgate::Digest::of(bytes).as_bytes())
}

#[test]
fn other_bytes_are_409_and_the_upstream_keeps_the_old_ones() {
    let (nginx, gate) = pair();
    let large = vec![7_u8; 3_000_000];
    for (name, old) in [("small", b"old".to_vec()), ("large", large)] {
        let path = format!("/{name}");
        assert_eq!(gate.put(&path, &old).status, 201);
        let mut other = old.clone();
        other[0] ^= 1;
        for attempt in [
            http::put(gate.addr, &path, &other),
            http::put_chunked(gate.addr, &path, &other, 1000),
            http::put(gate.addr, &path, b""),
            http::put(gate.addr, &path, b"x"),
        ] {
            assert_eq!(attempt.status, 409, "{attempt:?}");
            assert_eq!(attempt.problem().as_deref(), Some("conflict"));
            assert_eq!(fs::read(nginx.file(name)).unwrap(), old, "{name} changed upstream");
        }
        let again = gate.put(&path, &old);
        assert!((200..300).contains(&again.status), "the same bytes again: {again:?}");
    }
    assert_eq!(gate.metric("tufgate_conflicts_total"), 8.0);
}

#[test]
fn every_framing_is_recorded_with_the_same_digest() {
    let (_nginx, gate) = pair();
    let body: Vec<u8> = (0..700_001_u32).map(|n| n as u8).collect();
    assert_eq!(gate.put("/length", &body).status, 201);
    for (at, piece) in [1_usize << 16, 4096, 700_001, 333_333].into_iter().enumerate() {
        assert_eq!(
            http::put_chunked(gate.addr, &format!("/chunked{at}"), &body, piece).status,
            201
        );
    }
    assert_eq!(gate.put("/empty", b"").status, 201);
    assert_eq!(http::put_chunked(gate.addr, "/empty-chunked", b"", 1).status, 201);
    for name in ["length", "chunked0", "chunked1", "chunked2", "chunked3"] {
        let read = gate.get(&format!("/{name}"));
        assert_eq!((read.status, read.body.len()), (200, body.len()), "{name}");
        assert_eq!(
            read.header("repr-digest").unwrap(),
            format!("sha-256=:{}:", digest64(&body))
        );
    }
    for name in ["empty", "empty-chunked"] {
        let read = gate.get(&format!("/{name}"));
        assert_eq!((read.status, read.body.len()), (200, 0), "{name}");
        assert_eq!(
            read.header("repr-digest").unwrap(),
            format!("sha-256=:{}:", digest64(b""))
        );
    }
}

#[test]
fn expect_100_continue_is_honoured() {
    let (_nginx, gate) = pair();
    let expecting = [("Expect", "100-continue")];
    assert_eq!(http::request(gate.addr, "PUT", "/e", &expecting, b"body").status, 201);
    // A conflict after `100 Continue` still reaches the client as its own answer.
    let conflict = http::request(gate.addr, "PUT", "/e", &expecting, b"bodz");
    assert_eq!(conflict.status, 409, "{conflict:?}");
}

#[test]
fn uploads_to_one_path_are_serialised() {
    let (nginx, gate) = pair();
    let bodies: Vec<Vec<u8>> = (0..16_u8).map(|n| vec![n; 50_000]).collect();
    let addr = gate.addr;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let uploads: Vec<_> = bodies
            .iter()
            .map(|body| scope.spawn(move || http::put(addr, "/contended", body).status))
            .collect();
        uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 201).count(),
        1,
        "{statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| [201, 409].contains(status)),
        "{statuses:?}"
    );
    let winner = statuses.iter().position(|status| *status == 201).unwrap();
    assert_eq!(fs::read(nginx.file("contended")).unwrap(), bodies[winner]);
    assert_eq!(gate.get("/contended").body, bodies[winner]);
}

#[test]
fn a_deleted_path_leaves_a_tombstone() {
    let (_nginx, gate) = pair();
    gate.publish("/gone", b"one");
    assert_eq!(http::request(gate.addr, "DELETE", "/gone", &[], b"").status, 204);
    assert_eq!(gate.get("/gone").status, 404);
    assert_eq!(gate.put("/gone", b"two").status, 409);
    assert_eq!(gate.put("/gone", b"one").status, 201, "its old bytes may return");
    assert_eq!(gate.get("/gone").body, b"one");
    assert_eq!(http::request(gate.addr, "DELETE", "/gone", &[], b"").status, 204);
    let forget = gate.command(&["drift", "forget", "gone"]);
    assert!(forget.status.success(), "{forget:?}");
    until("the path to be forgotten", || gate.put("/gone", b"two").status == 201);
}

#[test]
fn a_deleted_target_leaves_the_metadata() {
    let (_nginx, gate) = pair();
    gate.publish("/listed", b"one");
    assert!(crate::matrix::fetch_with_tufgate(&gate, "listed").is_ok());
    assert_eq!(http::request(gate.addr, "DELETE", "/listed", &[], b"").status, 204);
    until("the next publication", || {
        crate::matrix::fetch_with_tufgate(&gate, "listed").is_err()
    });
}

#[test]
fn move_and_copy_never_land_on_a_recorded_path() {
    let (nginx, gate) = pair();
    gate.publish("/from", b"source");
    gate.publish("/onto", b"recorded");
    let onto = format!("{}/onto", gate.url());
    for method in ["COPY", "MOVE"] {
        let refused = http::request(gate.addr, method, "/from", &[("Destination", onto.as_str())], b"");
        assert_eq!(refused.status, 409, "{method}: {refused:?}");
        assert_eq!(fs::read(nginx.file("onto")).unwrap(), b"recorded");
    }
    let copy = format!("{}/copy", gate.url());
    assert_eq!(
        http::request(gate.addr, "COPY", "/from", &[("Destination", copy.as_str())], b"").status,
        204
    );
    until("the copy to be read again and signed", || {
        gate.get("/copy")
            .header("tufgate-status")
            .is_some_and(|status| status.starts_with("signed"))
    });
    let moved = format!("{}/moved", gate.url());
    assert_eq!(
        http::request(gate.addr, "MOVE", "/from", &[("Destination", moved.as_str())], b"").status,
        204
    );
    until("the moved file to be signed", || {
        gate.get("/moved")
            .header("tufgate-status")
            .is_some_and(|status| status.starts_with("signed"))
    });
    assert_eq!(gate.get("/from").status, 404);
}

#[test]
fn an_aborted_upload_records_nothing() {
    use std::io::Write;
    let (nginx, gate) = pair();
    for head in [
        "PUT /aborted HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
        "PUT /aborted HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
    ] {
        let mut stream = http::connect(gate.addr);
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&[1; 60_000]).unwrap();
        drop(stream);
    }
    let other = gate.put("/aborted", b"what was meant");
    assert_eq!(other.status, 201, "{other:?}");
    assert_eq!(fs::read(nginx.file("aborted")).unwrap(), b"what was meant");
}

#[test]
fn a_put_the_upstream_refuses_is_released() {
    let nginx = Nginx::start_with("location /closed/ { dav_methods off; limit_except GET { deny all; } }");
    let gate = Gate::start(&Setup::learning(nginx.url()));
    let refused = gate.put("/closed/x", b"one");
    assert_eq!(refused.status, 403, "{refused:?}");
    fs::create_dir_all(nginx.file("closed")).unwrap();
    fs::write(nginx.file("closed/x"), b"two").unwrap();
    until("the fetch to teach", || {
        gate.get("/closed/x")
            .header("tufgate-status")
            .is_some_and(|status| status.starts_with("signed"))
    });
    assert_eq!(gate.get("/closed/x").body, b"two");
}

#[test]
fn names_without_canonical_form_are_400_and_queries_are_never_recorded() {
    let (nginx, gate) = pair();
    assert_eq!(gate.put("/a/../b", b"x").status, 400);
    assert_eq!(gate.put("/a%2fb", b"x").status, 400);
    assert!(!nginx.file("b").exists());
    let query = gate.put("/q?x=1", b"x");
    assert_eq!(query.status, 201);
    assert!(query.header("tufgate-status").is_none());
}

#[test]
fn checksum_deploys_are_re_read() {
    // nginx knows no checksum deploy: the body-less PUT truncates. What matters is what the gate makes of it.
    let (nginx, gate) = pair();
    gate.publish("/deployed", b"bytes");
    let other = tufgate::Digest::of(b"other").to_string();
    let refused = http::request(
        gate.addr,
        "PUT",
        "/deployed",
        &[("X-Checksum-Deploy", "true"), ("X-Checksum-Sha256", &other)],
        b"",
    );
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(fs::read(nginx.file("deployed")).unwrap(), b"bytes");
    let fresh = http::request(gate.addr, "PUT", "/fresh", &[("X-Checksum-Deploy", "true")], b"");
    assert_eq!(fresh.status, 201);
    until("the re-read", || {
        gate.get("/fresh")
            .header("tufgate-status")
            .is_some_and(|status| status.starts_with("signed"))
    });
}

#[test]
fn a_published_name_takes_the_place_of_a_fetched_one() {
    let (nginx, gate) = pair();
    fs::write(nginx.file("squatted"), b"old").unwrap();
    until("the fetch to teach", || {
        gate.get("/squatted")
            .header("tufgate-status")
            .is_some_and(|status| status.starts_with("signed"))
    });
    let published = gate.publish("/squatted", b"new");
    assert!((200..300).contains(&published.status));
    assert_eq!(gate.get("/squatted").body, b"new");
    assert_eq!(gate.put("/squatted", b"newer").status, 409);
}

#[test]
fn quotas_refuse_before_the_upstream_hears() {
    let nginx = Nginx::start();
    let gate = Gate::start(
        &Setup::learning(nginx.url()).rules("[[rule]]\npath = \"few/*\"\nkind = \"immutable\"\nmax_targets = 2\n"),
    );
    assert_eq!(gate.put("/few/1", b"1").status, 201);
    assert_eq!(gate.put("/few/2", b"2").status, 201);
    let third = gate.put("/few/3", b"3");
    assert_eq!(third.status, 507, "{third:?}");
    assert!(!nginx.file("few/3").exists());
    assert!(
        (200..300).contains(&gate.put("/few/1", b"1").status),
        "a recorded name needs no room"
    );
}
