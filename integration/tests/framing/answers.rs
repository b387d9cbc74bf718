//! What upstreams send, in every framing there is and should not be: `fixtures/framing-answers.jsonl`, to reads that
//! teach, of recorded paths, small and large, that only pass, to HEAD and to uploads.

use std::collections::BTreeSet;

use serde::Deserialize;
use tufgate::Digest;

use super::{
    Answer, Wire, attempt, gate, recorded,
    recorder::{Recorder, Script, body_of},
};
use crate::support::gate::{Gate, until};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    rfc: String,
    reply: Vec<Piece>,
    /// The upstream ends the connection after it.
    #[serde(default)]
    close: bool,
    /// Comes on the same connection when the client has had its answer.
    #[serde(default)]
    late: String,
    /// The one body that is framed here; nobody gets another one whole. None: nobody gets any.
    body: Option<String>,
    /// The body that may pass where nothing is tracked, if it is another.
    passed: Option<String>,
    /// A read of it is recorded, or is not. Absent: either.
    teaches: Option<bool>,
    #[serde(default)]
    #[expect(dead_code, reason = "for readers of the fixture")]
    why: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    Times { text: String, times: usize },
}

impl Case {
    fn all() -> Vec<Case> {
        include_str!("../../../fixtures/framing-answers.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    fn script(&self) -> Script {
        let text: String = self
            .reply
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Times { text, times } => text.repeat(*times),
            })
            .collect();
        Script {
            bytes: text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect(),
            close: self.close,
            early: false,
            late: self.late.clone().into_bytes(),
        }
    }
}

/// Connections of the gate's to the upstream hold what a hostile answer left on them; whoever asks next must not get it.
struct Next<'a> {
    gate: &'a Gate,
    upstream: &'a Recorder,
    asked: usize,
}

impl Next<'_> {
    /// Another client's reads, through both of the gate's pools.
    fn gets_its_own(&mut self, what: &str) {
        self.upstream.release();
        for folder in ["t", "u"] {
            let path = format!("/{folder}/canary-{}", self.asked);
            self.asked += 1;
            let answer = ask(self.gate, "GET", &path, b"").unwrap_or_else(|| panic!("{what}: no answer to {path}"));
            assert!(
                answer.status == 200 && answer.whole && answer.body == body_of(&path),
                "after {what}: {answer:?}"
            );
        }
    }
}

/// One request on a connection of its own, on which nothing may come after the answer.
fn ask(gate: &Gate, method: &str, path: &str, body: &[u8]) -> Option<Answer> {
    let mut wire = Wire::open(gate.addr);
    let length = match method {
        "PUT" => format!("Content-Length: {}\r\n", body.len()),
        _ => String::new(),
    };
    wire.send(format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{length}\r\n").as_bytes());
    wire.send(body);
    let answer = wire.answer(method == "HEAD")?;
    assert!(wire.ends(), "{method} {path}: bytes after {answer:?}");
    Some(answer)
}

fn whole(answer: Option<&Answer>) -> Option<&[u8]> {
    let answer = answer.filter(|answer| answer.whole && (200..300).contains(&answer.status) && answer.status != 204)?;
    Some(&answer.body)
}

/// One answer to every kind of request. Gives back the paths that are recorded then, or may be (`false`).
fn every_request(case: &Case, upstream: &Recorder, gate: &Gate, next: &mut Next) -> Vec<(String, bool)> {
    let name = &case.name;
    let what = |kind: &str| format!("{kind} (RFC {})", case.rfc);
    let right = case.body.as_deref().map(str::as_bytes);
    let mut learned = Vec::new();

    let path = format!("/t/teach-{name}");
    upstream.script(&path, case.script());
    let answer = ask(gate, "GET", &path, b"");
    let got = whole(answer.as_ref());
    assert!(got.is_none() || got == right, "{}: {answer:?}", what("teach"));
    assert!(
        case.teaches != Some(true) || got == right,
        "{}: {answer:?}",
        what("teach")
    );
    if case.teaches != Some(false) {
        learned.push((path, case.teaches.is_some()));
    }
    next.gets_its_own(&what("teach"));

    let path = format!("/t/recorded-{name}");
    let body = right.unwrap_or(b"recorded");
    let put = ask(gate, "PUT", &path, body).unwrap();
    assert_eq!(put.status, 201, "{put:?}");
    upstream.script(&path, case.script());
    for method in ["GET", "HEAD"] {
        let answer = ask(gate, method, &path, b"");
        let got = whole(answer.as_ref()).filter(|_| method == "GET");
        assert!(got.is_none_or(|got| got == body), "{}: {answer:?}", what("recorded"));
        next.gets_its_own(&what("recorded"));
    }
    learned.push((path, true));

    let path = format!("/u/passed-{name}");
    upstream.script(&path, case.script());
    for method in ["GET", "HEAD", "PUT"] {
        let answer = ask(gate, method, &path, b"hello");
        let got = whole(answer.as_ref()).filter(|_| method != "HEAD");
        let passed = case.passed.as_deref().map(str::as_bytes);
        let odd = answer.as_ref().is_some_and(|answer| answer.status != 200);
        assert!(
            odd || got.is_none() || got == right || got == passed,
            "{}: {answer:?}",
            what("passed")
        );
        next.gets_its_own(&what("passed"));
    }

    let path = format!("/t/put-{name}");
    upstream.script(&path, case.script());
    let accepted = ask(gate, "PUT", &path, b"uploaded").is_some_and(|answer| (200..300).contains(&answer.status));
    // What the upstream has otherwise, only a neutral read tells; it gets the same answer.
    learned.push((path, accepted));
    next.gets_its_own(&what("put"));
    learned
}

/// Every answer to every kind of request, in front of a gate with these keys.
fn all_answers(keys: &str) -> (usize, usize) {
    let upstream = Recorder::start();
    upstream.know("/t/canary-");
    upstream.know("/u/canary-");
    let gate = gate(upstream.url(), keys);
    let mut next = Next {
        gate: &gate,
        upstream: &upstream,
        asked: 0,
    };
    let cases = Case::all();
    assert!(cases.len() >= 60);
    let (mut known, mut may) = (BTreeSet::new(), BTreeSet::new());
    let (mut asked, mut failed) = (0, Vec::new());
    for case in &cases {
        let learned = attempt(&mut failed, &case.name, || {
            every_request(case, &upstream, &gate, &mut next)
        });
        for (path, certain) in learned.into_iter().flatten() {
            let paths = if certain { &mut known } else { &mut may };
            paths.insert(path[1..].to_owned());
        }
        asked += 7;
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(upstream.faults(), [""; 0], "not by the book");
    let canaries = (0..next.asked).step_by(2).map(|at| format!("t/canary-{at}"));
    known.extend(canaries);
    until("what was read or put to be signed", || {
        let found = recorded(&gate);
        gate.status()["pending"] == 0 && known.iter().all(|path| found.contains_key(path))
    });
    for (path, digest) in recorded(&gate) {
        assert!(known.contains(&path) || may.contains(&path), "{path} was learned");
        let case = |prefix: &str| cases.iter().find(|case| path.strip_prefix(prefix) == Some(&case.name));
        let body = match (case("t/teach-"), case("t/recorded-")) {
            (Some(case), _) => case.body.clone().unwrap().into_bytes(),
            (_, Some(case)) => case.body.clone().unwrap_or("recorded".to_owned()).into_bytes(),
            _ if path.starts_with("t/canary-") => body_of(&format!("/{path}")),
            _ => continue,
        };
        assert_eq!(digest, Digest::of(&body).to_string(), "{path}");
    }
    (cases.len(), asked)
}

#[test]
fn an_answer_is_one_message_to_gate_and_client() {
    let (cases, asked) = all_answers("");
    crate::figure(&format!(
        "framing: {cases} answer cases, {asked} requests, each followed by two of other clients, which got their own"
    ));
}

#[test]
fn an_answer_that_is_streamed_is_one_message_too() {
    let (cases, asked) = all_answers("verify_first = \"1B\"");
    crate::figure(&format!(
        "framing: {cases} answer cases streamed, {asked} requests, the same"
    ));
}
