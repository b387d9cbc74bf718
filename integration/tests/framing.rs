//! Message boundaries: whatever a client or an upstream sends, the gate and the other side see the same messages, or
//! there is none. `fixtures/framing.jsonl` and `fixtures/framing-answers.jsonl` hold what is sent.

mod answers;
mod cases;
mod connections;
mod ranges;
mod recorder;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use tufgate::Digest;

use self::{
    cases::{Case, Prefix, Verdict},
    recorder::{Recorder, body_of},
    wire::{Answer, Wire},
};
use crate::support::{
    gate::{Gate, Setup, until},
    nginx::Nginx,
};

/// A gate that tracks what lies below `/t/` and nothing else.
fn gate(upstream: String, keys: &str) -> Gate {
    let rule = "[[rule]]\npath = \"t/**\"\nkind = \"immutable\"\nlearn = \"fetch\"\n";
    Gate::start(&Setup::learning(upstream).rules(rule).gate(keys))
}

/// What is recorded and signed: target path to SHA-256 in hex.
fn recorded(gate: &Gate) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in fs::read_dir(gate.dir.join("metadata")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        let document: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        for (target, told) in document["signed"]["targets"].as_object().into_iter().flatten() {
            found.insert(target.clone(), told["hashes"]["sha256"].as_str().unwrap().to_owned());
        }
    }
    found
}

/// Runs one case of many; those that fail are told together.
fn attempt<T>(failed: &mut Vec<String>, name: &str, case: impl FnOnce() -> T) -> Option<T> {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(case));
    caught
        .inspect_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            failed.push(format!("{name}: {}", text.unwrap_or_default()));
        })
        .ok()
}

/// A case at a path, sent.
struct Sent<'a> {
    case: &'a Case,
    prefix: Prefix,
    path: String,
}

/// Sends every case to both kinds of path, alone and with a marker behind it in the same bytes. Returns them, and the
/// markers that were answered.
fn send_all<'a>(
    gate: &Gate,
    cases: &'a [Case],
    prepare: impl Fn(&Case, &str),
    answers_right: impl Fn(&Sent, &Answer, &str),
    marker_right: impl Fn(&Answer, &str) -> bool,
) -> (Vec<Sent<'a>>, BTreeSet<String>) {
    let (mut sent, mut markers, mut failed) = (Vec::new(), BTreeSet::new(), Vec::new());
    for case in cases {
        for (prefix, folder) in [(Prefix::Tracked, "t"), (Prefix::Untracked, "u")] {
            if case.only.is_some_and(|only| only != prefix) {
                continue;
            }
            for followed in [false, true] {
                // What comes byte by byte does not come in the same bytes: who does not wait for the answer to an upload
                // may get 400 instead, and the connection ends.
                if followed && (case.incomplete || case.dripped) {
                    continue;
                }
                let path = format!("/{folder}/{}{}", if followed { "followed-" } else { "" }, case.name);
                let marker = format!("/canary-{}", sent.len());
                prepare(case, &path);
                let one = Sent { case, prefix, path };
                attempt(&mut failed, &one.path, || {
                    if let Some(answer) = exchange(gate, &one, &marker, followed, &answers_right) {
                        assert!(marker_right(&answer, &marker), "{marker}: {answer:?}");
                        // A refusal for its name alone leaves no doubt where it ended.
                        let unsaid = case.verdict == Verdict::Cut || (followed && case.verdict == Verdict::Refused);
                        assert!(!unsaid, "{marker} was read after it");
                        markers.insert(marker);
                    }
                });
                sent.push(one);
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    (sent, markers)
}

/// One case on a connection of its own; gives back the marker's answer, if it got one.
fn exchange(
    gate: &Gate,
    sent: &Sent,
    marker: &str,
    followed: bool,
    answers_right: &impl Fn(&Sent, &Answer, &str),
) -> Option<Answer> {
    let Sent { case, path, .. } = sent;
    let what = format!("{path} (RFC {})", case.rfc);
    let marker = format!("GET {marker} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut bytes = case.bytes(path);
    let head_only = bytes.starts_with(b"HEAD ");
    if followed {
        bytes.extend_from_slice(marker.as_bytes());
    }
    let mut wire = Wire::open(gate.addr);
    match case.dripped {
        true => wire.drip(&bytes),
        false => wire.send(&bytes),
    }
    if case.verdict == Verdict::Cut {
        wire.finish();
    }
    let Some(answer) = wire.answer(head_only) else {
        assert_eq!(case.verdict, Verdict::Cut, "{what}: no answer");
        return None;
    };
    assert!(answer.whole, "{what}: {answer:?}");
    match case.verdict {
        Verdict::Refused => assert_eq!(Some(answer.status), case.status, "{what}: {answer:?}"),
        Verdict::Cut => assert!((400..500).contains(&answer.status), "{what}: {answer:?}"),
        Verdict::Served => answers_right(sent, &answer, &what),
    }
    if case.verdict == Verdict::Cut || answer.closes() {
        assert!(wire.ends(), "{what}: bytes after the answer");
        return None;
    }
    if !followed {
        wire.send(marker.as_bytes());
    }
    let next = wire.answer(false);
    // What came in the same bytes may be dropped with the connection; what came after the answer may not.
    assert!(
        next.is_some() || followed || case.pipelined,
        "{what}: the connection closed unsaid"
    );
    assert!(!(next.is_some() && case.pipelined), "{what}: {next:?}");
    next
}

#[test]
fn requests_are_one_message_to_gate_and_upstream() {
    let upstream = Recorder::start();
    upstream.know("/canary-");
    let gate = gate(upstream.url(), "");
    let cases = Case::all();
    assert!(cases.len() >= 150);
    let (sent, markers) = send_all(
        &gate,
        &cases,
        |_, path| upstream.know(path),
        |_, answer, what| assert!((200..300).contains(&answer.status), "{what}: {answer:?}"),
        |answer, marker| answer.status == 200 && answer.body == body_of(marker),
    );
    assert_eq!(upstream.faults(), [""; 0], "not by the book");
    let mut expected_records = BTreeMap::new();
    let mut messages = upstream.messages();
    for Sent { case, prefix, path } in &sent {
        let (here, others): (Vec<_>, Vec<_>) = messages.into_iter().partition(|message| {
            let rest = message.target.strip_prefix(path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('%') || rest == "-evil")
        });
        messages = others;
        let own = here.iter().filter(|message| message.own()).count();
        // Whether an upload that broke was stored may be in doubt, and is read then; what the read shows is not recorded.
        assert!(
            own == 0 || (case.verdict != Verdict::Refused && *prefix == Prefix::Tracked),
            "{path}: {here:?}"
        );
        // The gate asks for what it answers and learns; a HEAD of what is not recorded passes.
        let reads = |method: &str| *prefix == Prefix::Tracked && method == "GET";
        let expected: Vec<_> = case.expected(path);
        let passed: Vec<_> = here
            .iter()
            .filter(|message| message.whole && !message.own())
            .map(|message| (message.method.clone(), message.target.clone(), message.body.clone()))
            .collect();
        let through: Vec<_> = expected.iter().filter(|(method, ..)| !reads(method)).cloned().collect();
        assert_eq!(passed, through, "{path}");
        for message in here.iter().filter(|message| message.own()) {
            let asked = expected.iter().any(|(_, target, _)| *target == message.target) || message.target == *path;
            assert!(
                asked && message.body.is_empty() && message.method != "PUT",
                "{path}: {message:?}"
            );
        }
        for (method, target, body) in expected.iter().filter(|_| *prefix == Prefix::Tracked) {
            let body = match method.as_str() {
                "PUT" => body.clone(),
                "GET" | "HEAD" => body_of(target),
                _ => continue,
            };
            let name = target[1..].replace("%20", " ");
            expected_records.insert(name, Digest::of(&body).to_string());
        }
    }
    let seen: Vec<&str> = messages
        .iter()
        .filter(|m| !m.own())
        .map(|m| m.target.as_str())
        .collect();
    assert_eq!(
        seen.iter().map(|target| (*target).to_owned()).collect::<BTreeSet<_>>(),
        markers
    );
    assert_eq!(seen.len(), markers.len(), "a marker was seen twice");
    assert!(
        messages.iter().all(|message| message.body.is_empty()),
        "a marker with a body"
    );
    until("what was read or put to be signed", || {
        recorded(&gate).len() >= expected_records.len()
    });
    until("nothing to be pending", || gate.status()["pending"] == 0);
    assert_eq!(recorded(&gate), expected_records, "nothing else was learned");
    let count = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
    crate::figure(&format!(
        "framing: {} request cases ({} served, {} refused, {} cut), {} connections, {} markers answered, none swallowed",
        cases.len(),
        count(Verdict::Served),
        count(Verdict::Refused),
        count(Verdict::Cut),
        sent.len(),
        markers.len(),
    ));
}

#[test]
fn nginx_sees_the_messages_that_the_gate_sees() {
    // What it answers to a marker names the marker.
    let nginx = Nginx::start_with("location /canary- { return 200 $request_uri; }");
    let gate = gate(nginx.url(), "");
    let cases = Case::all();
    let (sent, markers) = send_all(
        &gate,
        &cases,
        |case, path| {
            let file = nginx.file(&path[1..]);
            if case
                .expected(path)
                .iter()
                .any(|(method, ..)| method == "GET" || method == "HEAD")
            {
                fs::write(&file, "a file\n").unwrap();
                fs::write(nginx.file(&format!("{} x", &path[1..])), "a file\n").unwrap();
            }
        },
        // nginx takes no POST, and no PUT without a length; what it must not find is a request that it cannot read.
        |_, answer, what| {
            assert!(
                ![400, 408, 502, 503, 504].contains(&answer.status),
                "{what}: {answer:?}"
            )
        },
        |answer, marker| answer.status == 200 && answer.body == marker.as_bytes(),
    );
    let lines = |log: &str| -> Vec<(String, String, String)> {
        let split = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            (words.next().unwrap(), words.next().unwrap(), words.next().unwrap())
        };
        log.lines()
            .filter(|line| !line.contains("\"tufgate/"))
            .map(split)
            .collect()
    };
    let expected: Vec<(String, String)> = sent
        .iter()
        .flat_map(|sent| {
            let own = |method: &str| sent.prefix == Prefix::Tracked && method == "GET";
            let expected = sent.case.expected(&sent.path).into_iter();
            expected
                .filter(move |(method, ..)| !own(method))
                .map(|(method, target, _)| (method, target))
        })
        .chain(markers.iter().map(|marker| ("GET".to_owned(), marker.clone())))
        .collect();
    // nginx logs a request once it has answered it. A broken upload is logged with the status that nobody got.
    let whole = || -> Vec<(String, String)> {
        let cut = |target: &str| {
            sent.iter()
                .any(|sent| sent.path == target && sent.case.verdict == Verdict::Cut)
        };
        let lines = lines(&nginx.access_log()).into_iter();
        lines
            .filter(|(_, target, status)| !(cut(target) && status.starts_with('4')))
            .map(|(method, target, _)| (method, target))
            .collect()
    };
    until("nginx's log", || whole().len() >= expected.len());
    let sorted = |mut list: Vec<(String, String)>| {
        list.sort();
        list
    };
    let (seen, expected) = (sorted(whole()), sorted(expected));
    let differing: Vec<_> = seen
        .iter()
        .zip(&expected)
        .find(|(one, other)| one != other)
        .into_iter()
        .collect();
    assert!(seen == expected, "{} and {}: {differing:?}", seen.len(), expected.len());
    for Sent { case, path, .. } in &sent {
        let stored = fs::read(nginx.file(&path[1..]));
        match case.expected(path).first() {
            Some((method, _, body)) if method == "PUT" && !body.is_empty() => {
                assert_eq!(&stored.unwrap(), body, "{path}")
            }
            None => assert!(stored.is_err(), "{path}: something was stored"),
            Some(_) => {}
        }
    }
    crate::figure(&format!(
        "framing: nginx saw the {} messages that the gate saw, in {} connections",
        whole().len(),
        sent.len()
    ));
}
