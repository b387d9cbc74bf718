//! Bytes changed behind the gate: refused to every reader, whatever the upstream's framing; ended by the old bytes or an
//! operator.

use std::{fs, process::Command};

use crate::{
    hostile_origin,
    support::{
        gate::{Gate, Setup, until},
        http,
        nginx::Nginx,
        origin::{Behaviour, Framing},
    },
};

/// Tries of each kind; the promise is 200.
const TRIES: usize = 200;

fn changed(body: &[u8], at: usize) -> Vec<u8> {
    let mut other = body.to_vec();
    let place = at % other.len();
    other[place] ^= 1;
    other
}

#[test]
fn drifted_bytes_never_arrive_whole_in_any_framing() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()).uncached());
    let small = vec![b's'; 1024];
    let large = vec![b'l'; 300 * 1024];
    let mut counts = Vec::new();
    for (name, body) in [("small", &small), ("large", &large)] {
        for framing in [Framing::Length, Framing::Chunked, Framing::Close, Framing::Old] {
            let path = format!("/{name}-{framing:?}");
            gate.publish(&path, body);
            origin.script(&path, Behaviour::Serve(framing));
            assert_eq!(&gate.get(&path).body, body, "{path} verifies in this framing");
            let (mut clean, mut cut) = (0, 0);
            for at in 0..TRIES {
                // Other bytes of the same length; then more, then fewer.
                let other = match at % 4 {
                    0 | 1 => changed(body, at * 7919),
                    2 => [body.as_slice(), b"more"].concat(),
                    _ => body[..body.len() - 1].to_vec(),
                };
                origin.put_file(&path, other.clone());
                let response = gate.get(&path);
                match response.status {
                    502 => clean += 1,
                    200 => {
                        assert!(
                            !response.whole && response.body.len() < body.len(),
                            "{path} try {at}: whole"
                        );
                        assert_ne!(response.body, other, "{path} try {at}: all of the other bytes");
                        cut += 1;
                    }
                    status => panic!("{path} try {at}: {status}"),
                }
            }
            assert!(
                name == "large" || clean == TRIES,
                "{path}: small ones are refused cleanly"
            );
            counts.push(format!("{path}: {clean} clean 502, {cut} cut"));
            origin.put_file(&path, body.clone());
            until("the old bytes to be served again", || gate.get(&path).body == *body);
        }
    }
    crate::figure(&format!("drift, {TRIES} tries each: {}", counts.join("; ")));
}

/// Exit code and status that curl reports.
fn curl(gate: &Gate, path: &str) -> (Option<i32>, String) {
    let output = Command::new("curl")
        .args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &format!("{}{path}", gate.url()),
        ])
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn curl_gets_502_for_small_and_exit_18_for_large() {
    let (_runtime, origin) = hostile_origin();
    let gate = Gate::start(&Setup::learning(origin.url()));
    let (small, large) = (vec![b's'; 1000], vec![b'l'; 300 * 1024]);
    let put = |path: &str, body: &[u8]| assert_eq!(gate.put(path, body).status, 201, "{path}");
    for framing in [Framing::Length, Framing::Chunked, Framing::Close, Framing::Old] {
        for at in 0..TRIES {
            // A fresh path a try: once its drift is confirmed, a large one is a clean 502 as well.
            let (one, two) = (format!("/{framing:?}/small/{at}"), format!("/{framing:?}/large/{at}"));
            put(&one, &small);
            put(&two, &large);
            origin.script(&one, Behaviour::Serve(framing));
            origin.script(&two, Behaviour::Serve(framing));
            origin.put_file(&one, changed(&small, at * 31));
            origin.put_file(&two, changed(&large, at * 7919));
            assert_eq!(curl(&gate, &one), (Some(0), "502".to_owned()), "{one}");
            assert_eq!(curl(&gate, &two), (Some(18), "200".to_owned()), "{two}");
        }
    }
    crate::figure(&format!(
        "curl: {TRIES} × 4 framings: small 502, large exit 18, each time"
    ));
    let confirmed = "/Length/large/0";
    until("the drift to be confirmed", || {
        curl(&gate, confirmed) == (Some(0), "502".to_owned())
    });
}

#[test]
fn drift_ends_with_the_recorded_bytes() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    for (name, size) in [("small", 100), ("large", 600_000)] {
        let body = vec![7; size];
        let path = format!("/{name}");
        gate.publish(&path, &body);
        fs::write(nginx.file(name), changed(&body, 5)).unwrap();
        let first = gate.get(&path);
        assert!(first.status == 502 || !first.whole);
        until("the drift to be listed", || {
            String::from_utf8_lossy(&gate.command(&["drift", "list"]).stdout).contains(name)
        });
        fs::write(nginx.file(name), &body).unwrap();
        until("the path to heal", || {
            let response = gate.get(&path);
            response.status == 200 && response.whole && response.body == body
        });
        until("the list to be empty", || {
            let _ = gate.get(&path);
            !String::from_utf8_lossy(&gate.command(&["drift", "list"]).stdout).contains(name)
        });
    }
}

#[test]
fn operators_accept_reject_and_forget() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/unread", b"old");
    fs::write(nginx.file("unread"), b"new").unwrap();
    for action in ["accept", "reject"] {
        let unseen = gate.command(&["drift", action, "unread"]);
        let said = String::from_utf8_lossy(&unseen.stderr).into_owned();
        assert!(
            said.contains("hint: ") && said.contains("read it once through the gate"),
            "{said}"
        );
    }
    let drift = |path: &str, old: &[u8], new: &[u8]| {
        gate.publish(&format!("/{path}"), old);
        fs::write(nginx.file(path), new).unwrap();
        let _ = gate.get(&format!("/{path}"));
        until("the drift to be listed", || {
            String::from_utf8_lossy(&gate.command(&["drift", "list"]).stdout).contains(path)
        });
    };
    drift("taken", b"old bytes", b"new bytes");
    let accept = gate.command(&["drift", "accept", "taken"]);
    assert!(accept.status.success(), "{accept:?}");
    until("the accepted bytes to be signed", || {
        let response = gate.get("/taken");
        response.body == b"new bytes"
            && response
                .header("tufgate-status")
                .is_some_and(|s| s.starts_with("signed"))
    });
    drift("refused", b"old", b"new");
    let reject = gate.command(&["drift", "reject", "refused"]);
    assert!(reject.status.success(), "{reject:?}");
    assert_eq!(gate.get("/refused").status, 502, "the record stands");
    drift("dropped", b"old", b"new");
    let forget = gate.command(&["drift", "forget", "dropped"]);
    assert!(forget.status.success(), "{forget:?}");
    until("the path to be learned anew", || {
        let response = gate.get("/dropped");
        response.body == b"new"
            && response
                .header("tufgate-status")
                .is_some_and(|s| s.starts_with("signed"))
    });
}

#[test]
fn on_drift_report_passes_what_it_says() {
    let nginx = Nginx::start();
    let gate = Gate::start(
        &Setup::learning(nginx.url()).rules("[[rule]]\npath = \"**\"\nkind = \"immutable\"\non_drift = \"report\"\n"),
    );
    gate.publish("/reported", b"recorded");
    fs::write(nginx.file("reported"), b"changed").unwrap();
    assert_eq!(gate.get("/reported").status, 502, "unconfirmed, it is refused");
    until("the drift to be confirmed", || {
        let response = gate.get("/reported");
        response.body == b"changed" && response.header("tufgate-status") == Some("drift")
    });
}

#[test]
fn an_upstream_404_neither_retracts_nor_accuses() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()));
    gate.publish("/lost", b"bytes");
    fs::remove_file(nginx.file("lost")).unwrap();
    assert_eq!(gate.get("/lost").status, 404);
    assert_eq!(gate.metric("tufgate_drifts_total"), 0.0);
    fs::write(nginx.file("lost"), b"bytes").unwrap();
    assert_eq!(gate.get("/lost").body, b"bytes");
    let other = http::put(gate.addr, "/lost", b"other");
    assert_eq!(other.status, 409);
}
