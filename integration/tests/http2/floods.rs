//! Clients that make a server work for nothing. In each case their connection ends or is bounded, others are answered
//! meanwhile, the log holds at most one line of it, and nothing is learned.

use std::{fs, time::Duration};

use crate::{
    hostile_origin,
    support::{
        gate::{Gate, Setup, until},
        http2::{END_HEADERS, END_STREAM, Wire, frame, get_block, kind},
        origin::{Behaviour, Framing, Origin},
    },
};

/// RFC 9113 section 7.
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// As `src/server/http2.rs` has them: streams of a connection open at once.
const STREAMS: usize = 12;
/// Requests of a connection under work at once.
const WORK: usize = 200;

/// A gate whose upstream never answers for `/stuck`.
struct Site {
    _runtime: tokio::runtime::Runtime,
    origin: Origin,
    gate: Gate,
}

impl Site {
    fn start() -> Self {
        let (_runtime, origin) = hostile_origin();
        origin.script("/stuck", Behaviour::Silent);
        origin.put_file("/good", "good");
        let rules = "[[rule]]\npath = \"passed/**\"\nkind = \"mutable\"\n";
        let learning = Setup::learning(origin.url());
        let rules = format!("{rules}{}", learning.rules);
        let gate = Gate::start(
            &learning
                .rules(&rules)
                .gate("http2_prior_knowledge = true")
                .upstream_keys("io_timeout = \"1h\""),
        );
        Self { _runtime, origin, gate }
    }

    /// Others are answered, on old connections and new.
    fn goes_on(&self) {
        assert_eq!(self.gate.get("/good").body, b"good");
        assert_eq!(self.gate.get("/metadata/1.root.json").status, 200);
    }

    /// Kilobytes of memory that the gate's process has.
    fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gate.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Lines of the log at a level that people read, but for those of other parts.
    fn told(&self) -> Vec<String> {
        let log = self.gate.log();
        let lines = log
            .lines()
            .filter(|line| line.contains("WARN") || line.contains("ERROR"));
        lines
            .filter(|line| line.to_ascii_lowercase().contains("h2") || line.contains("HTTP/2"))
            .map(str::to_owned)
            .collect()
    }
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, &get_block(path))
}

fn reset(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// Stream numbers of a client.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

#[test]
fn streams_reset_before_they_are_looked_at_end_the_connection() {
    let site = Site::start();
    let mut wire = Wire::connect(site.gate.addr);
    // All in one piece, so that the gate finds them reset as it finds them.
    let burst: Vec<u8> = streams()
        .take(5_000)
        .flat_map(|at| [get(at, "/stuck"), reset(at)].concat())
        .collect();
    wire.send(&burst);
    assert_eq!(wire.goodbye(), Some(ENHANCE_YOUR_CALM));
    assert!(site.origin.count("/stuck") <= WORK, "{}", site.origin.count("/stuck"));
    site.goes_on();
    assert!(site.told().len() <= 1, "{:?}", site.told());
}

#[test]
fn streams_reset_one_by_one_end_the_connection_too() {
    let site = Site::start();
    let mut wire = Wire::connect(site.gate.addr);
    let mut sent = 0;
    // Each is under work when it is given up: `h2` has nothing to count then.
    for stream in streams().take(2_000) {
        if !wire.send(&get(stream, "/stuck")) {
            break;
        }
        sent += 1;
        until("the request to be worked on, or the end", || {
            site.origin.count("/stuck") >= sent || site.gate.metric("tufgate_http2_abuse_total") > 0.0
        });
        if site.gate.metric("tufgate_http2_abuse_total") > 0.0 {
            break;
        }
        wire.send(&reset(stream));
    }
    wire.goodbye();
    assert!((WORK / 2..=WORK + 1).contains(&sent), "{sent}");
    site.goes_on();
    assert_eq!(site.told().len(), 1, "{:?}", site.told());
}

#[test]
fn resets_that_the_client_provokes_end_the_connection() {
    let site = Site::start();
    let mut wire = Wire::connect(site.gate.addr);
    // A window that grows beyond all bounds is an error of its stream (RFC 9113 section 6.9.1): the gate has to reset it.
    let provoke = |at| {
        [
            get(at, "/stuck"),
            frame(kind::WINDOW_UPDATE, 0, at, &[0x7f, 0xff, 0xff, 0xff]),
        ]
        .concat()
    };
    let burst: Vec<u8> = streams().take(5_000).flat_map(provoke).collect();
    wire.send(&burst);
    // Whichever limit it meets first.
    let reason = wire.goodbye();
    assert!(
        reason == Some(ENHANCE_YOUR_CALM) || site.gate.metric("tufgate_http2_abuse_total") > 0.0,
        "{reason:?}"
    );
    assert!(site.origin.count("/stuck") <= WORK, "{}", site.origin.count("/stuck"));
    site.goes_on();
    assert!(site.told().len() <= 1, "{:?}", site.told());
}

#[test]
fn answers_that_nobody_reads_hold_little() {
    let site = Site::start();
    site.goes_on();
    let before = site.memory();
    let mut wires: Vec<Wire> = (0..4).map(|_| Wire::connect(site.gate.addr)).collect();
    for wire in &mut wires {
        // Windows without bound, for each stream and for all: what is not read piles up behind the socket.
        let window = [&[0, 4][..], &0x7fff_ffff_u32.to_be_bytes()].concat();
        let mut burst = frame(kind::SETTINGS, 0, 0, &window);
        burst.extend(frame(kind::WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()));
        for stream in streams().take(100) {
            let path = format!("/passed/{stream}");
            site.origin.script(&path, Behaviour::Endless(Framing::Length));
            burst.extend(get(stream, &path));
        }
        wire.send(&burst);
    }
    let asked = || {
        site.origin
            .requests()
            .iter()
            .filter(|seen| seen.path().starts_with("/passed/"))
            .count()
    };
    until("requests to reach the upstream", || asked() >= 4 * STREAMS);
    let (mut held, mut still) = (0, 0);
    until("memory to grow no longer", || {
        let now = site.memory();
        still = if now > held { 0 } else { still + 1 };
        held = held.max(now);
        still > 50
    });
    assert!(site.memory() < before + 4 * 10 * 1024, "{before} {}", site.memory());
    site.goes_on();
}

#[test]
fn header_blocks_without_end_are_cut_off() {
    let site = Site::start();
    let before = site.memory();
    let mut wire = Wire::connect(site.gate.addr);
    wire.send(&frame(kind::HEADERS, END_STREAM, 1, &get_block("/good")));
    // `x: y`, as a literal that no table keeps.
    let junk: Vec<u8> = [0, 1, b'x', 1, b'y'].repeat(3_000);
    let mut sent = 0;
    while sent < 4_000 && wire.send(&frame(kind::CONTINUATION, 0, 1, &junk)) {
        sent += 1;
    }
    assert!(sent < 4_000, "60 MB of headers were taken");
    wire.goodbye();
    site.goes_on();
    assert!(site.memory() < before + 32 * 1024, "{before} {}", site.memory());
    assert!(site.told().len() <= 1, "{:?}", site.told());
}

#[test]
fn header_lists_that_are_too_long_are_refused_and_the_connection_goes_on() {
    let site = Site::start();
    let mut wire = Wire::connect(site.gate.addr);
    let value = vec![b'v'; 120];
    let field = [&[0, 1, b'x', 120][..], &value].concat();
    // 600 times (1 + 120 + 32) bytes as section 6.5.2 counts: over 64 KiB, and under the four times as much that end all.
    let mut frames = frame(kind::HEADERS, END_STREAM, 1, &get_block("/good"));
    for last in [false, false, false, false, false, true] {
        let flags = if last { END_HEADERS } else { 0 };
        frames.extend(frame(kind::CONTINUATION, flags, 1, &field.repeat(100)));
    }
    wire.send(&frames);
    wire.send(&get(3, "/good"));
    let (mut refused, mut body) = (false, Vec::new());
    while body.is_empty() {
        let (kind, _, stream, payload) = wire.read().expect("the connection goes on");
        match (kind, stream) {
            // :status 431 is in no table; what matters is that stream 1 got no body and was answered or reset.
            (kind::HEADERS | kind::RST_STREAM, 1) => refused = true,
            (kind::DATA, 1) => panic!("it was served"),
            (kind::DATA, 3) => body = payload,
            _ => {}
        }
    }
    assert!(refused && body == b"good");
}

#[test]
fn frames_that_ask_for_an_answer_each_are_not_hoarded() {
    let settings = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]);
    let ping = frame(kind::PING, 0, 0, &[7; 8]);
    for (what, flood) in [("settings", settings), ("pings", ping)] {
        let site = Site::start();
        site.goes_on();
        let before = site.memory();
        let mut wire = Wire::connect(site.gate.addr);
        wire.0.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        // Nothing is read: the answers pile up, in the sockets first, and then somewhere.
        let burst = flood.repeat(1_000);
        let mut sent = 0;
        while sent < 300 && wire.send(&burst) {
            sent += 1;
        }
        site.goes_on();
        assert!(site.memory() < before + 32 * 1024, "{what}: {before} {}", site.memory());
        assert!(site.told().len() <= 1, "{:?}", site.told());
    }
}

#[test]
fn empty_data_frames_end_the_connection() {
    let site = Site::start();
    let mut wire = Wire::connect(site.gate.addr);
    // :method PUT as a literal.
    let mut block = vec![0x02, 3];
    block.extend(b"PUT");
    block.extend(&get_block("/new")[1..]);
    wire.send(&frame(kind::HEADERS, END_HEADERS, 1, &block));
    let burst = frame(kind::DATA, 0, 1, &[]).repeat(20_000);
    wire.send(&burst);
    assert!(wire.goodbye().is_some());
    site.goes_on();
    assert_eq!(site.origin.stored("/new"), None);
    assert_eq!(site.gate.get("/new").status, 404);
}

#[test]
fn what_is_no_http_2_after_all_ends_the_connection() {
    let site = Site::start();
    for junk in [
        frame(kind::HEADERS, END_HEADERS, 1, &[0xff; 40]),
        frame(kind::DATA, 0, 1, b"before its headers"),
        frame(kind::SETTINGS, 0, 0, &[1, 2, 3]),
        frame(kind::HEADERS, END_HEADERS, 2, &get_block("/good")),
        vec![0xff; 4_000],
    ] {
        let mut wire = Wire::connect(site.gate.addr);
        wire.send(&junk);
        wire.goodbye();
    }
    site.goes_on();
    assert!(site.told().len() <= 5, "{:?}", site.told());
}
