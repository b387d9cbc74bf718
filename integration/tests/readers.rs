//! Readers of what is at hand: those that stall, one that reads on while the gate stops, and what the access log says of
//! them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::Value;

use crate::support::{
    gate::{Gate, Setup, signal, until},
    http,
    nginx::Nginx,
};

/// More than twice what a socket takes that nobody reads.
const LARGE: usize = 12_000_000;

/// A gate whose log is JSON, with a large artifact and a small one that any anonymous reader gets without a question.
fn warmed(nginx: &Nginx, keys: &str) -> (Gate, Vec<u8>) {
    let gate = Gate::start(&Setup::learning(nginx.url()).gate(keys).extra("json = true\n"));
    let large: Vec<u8> = (0..LARGE).map(|n| (n / 3 + n / 1009) as u8).collect();
    for (path, body) in [("/large", &large[..]), ("/small", b"small")] {
        gate.publish(path, body);
        // Fetched, made ready, ready.
        for _ in 0..3 {
            let got = gate.get(path);
            assert!(
                got.body == body,
                "{path}: {} {} {}",
                got.status,
                got.body.len(),
                gate.log()
            );
        }
    }
    (gate, large)
}

/// Lines of the access log.
fn accesses(gate: &Gate) -> Vec<Value> {
    let log = gate.log();
    let whole = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    whole.filter(|line| line["target"] == "tufgate::access").collect()
}

/// Asks and does not read.
fn asked(gate: &Gate, requests: &str) -> TcpStream {
    let mut stream = http::connect(gate.addr);
    stream.write_all(requests.as_bytes()).unwrap();
    stream
}

/// The body of an answer that broke off.
fn to_the_end(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    bytes.split_off(head + 4)
}

#[test]
fn a_reader_that_stalls_is_cut_and_holds_up_nobody() {
    let nginx = Nginx::start();
    for keys in [
        "min_rate = 100000\nclient_timeout = \"1h\"\n",
        "min_rate = 0\nclient_timeout = \"2s\"\n",
    ] {
        let (gate, large) = warmed(&nginx, keys);
        // Ready before it is asked for; kept, and asked for in an unusual way; and what no record is of.
        fs::write(nginx.file("unrecorded"), &large).unwrap();
        for (path, line) in [
            ("/large", ""),
            ("/large", "Range: bytes=1-\r\n"),
            ("/unrecorded?a=b", ""),
        ] {
            let cut = |gate: &Gate| accesses(gate).iter().filter(|line| !line["error"].is_null()).count();
            let before = cut(&gate);
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{line}\r\n");
            let mut stalled = asked(&gate, &request);
            let mut begin = [0; 12];
            stalled.read_exact(&mut begin).unwrap();
            assert!(gate.get("/large").body == large && gate.get("/small").body == b"small");
            until("the cut", || cut(&gate) > before);
            let got = to_the_end(stalled);
            assert!(got.len() < LARGE / 2, "{keys} {path} {line}: {} bytes", got.len());
            assert!(gate.get("/large").body == large, "{keys} {path} {line}");
        }
    }
}

#[test]
fn a_stopping_gate_gives_nothing_that_is_ready() {
    let nginx = Nginx::start();
    let (mut gate, large) = warmed(&nginx, "");
    let mut idle = asked(&gate, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).unwrap();
    // Three requests, the first answer of which is on its way when the end begins.
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut busy = asked(
        &gate,
        &[request("/large"), request("/small"), request("/small")].concat(),
    );
    busy.read_exact(&mut answer).unwrap();
    signal("TERM", gate.pid());
    until("the end to begin", || http::get(gate.admin, "/readyz").status == 503);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"small"), "the idle connection is closed");
    let got = to_the_end(busy);
    let (first, rest) = got.split_at(LARGE);
    assert!(first == large);
    let rest = String::from_utf8_lossy(rest).to_ascii_lowercase();
    assert!(rest.contains("connection: close\r\n"), "{rest}");
    assert_eq!(rest.matches("http/1.1 ").count(), 1, "{rest}");
    assert_eq!(gate.terminate(), Some(0), "{}", gate.log());
}

#[test]
fn the_access_log_tells_what_went_out() {
    let nginx = Nginx::start();
    let (gate, _) = warmed(&nginx, "min_rate = 100000\n");
    let timestamp = gate.get("/metadata/timestamp.json").body.len();
    let etag = gate.get("/metadata/timestamp.json").header("etag").unwrap().to_owned();
    let known = format!("If-None-Match: {etag}\r\n");
    let mut stream = http::connect(gate.addr);
    let mut expected = Vec::new();
    for (method, path, line, status, bytes) in [
        ("GET", "/small", "", 200, 5),
        ("HEAD", "/small", "", 200, 0),
        ("GET", "/metadata/timestamp.json", "", 200, timestamp),
        ("GET", "/metadata/timestamp.json", &known, 304, 0),
        ("GET", "/metadata/none.json?secret=1", "", 404, 0),
    ] {
        let before = accesses(&gate).len();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: reader/1\r\n{line}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        until("its line", || accesses(&gate).len() > before);
        expected.push((method, path.split('?').next().unwrap(), status, bytes));
    }
    let lines = accesses(&gate);
    let ours: Vec<_> = lines.iter().filter(|line| line["http.agent"] == "reader/1").collect();
    assert_eq!(ours.len(), expected.len(), "{lines:?}");
    for (line, (method, path, status, bytes)) in ours.into_iter().zip(expected) {
        assert_eq!(
            (&line["http.method"], &line["http.path"]),
            (&method.into(), &path.into())
        );
        assert_eq!(line["http.status"], status, "{line}");
        if status != 404 {
            assert_eq!(line["http.bytes"], bytes, "{line}");
        }
        assert_eq!(
            (&line["client.ip"], &line["error"]),
            (&"127.0.0.1".into(), &Value::Null)
        );
        assert!(line["duration.us"].is_u64(), "{line}");
        assert!(!line.to_string().contains("secret"), "{line}");
    }
    // One that broke off: what the reader can have of it.
    let stalled = asked(&gate, "GET /large HTTP/1.1\r\nHost: x\r\nUser-Agent: stalled\r\n\r\n");
    let line = || accesses(&gate).into_iter().find(|line| line["http.agent"] == "stalled");
    until("its line", || line().is_some());
    let line = line().unwrap();
    assert!(!line["error"].is_null(), "{line}");
    assert_eq!(line["http.bytes"], to_the_end(stalled).len(), "{line}");
}
