//! What the gate may answer, given what the upstream answers the same client.

use std::{collections::HashMap, sync::Mutex, time::Instant};

use super::{
    case::{Case, Name},
    ranges::{self, Asked},
    stage::{Artifact, MARK, Stage},
    wire::Answer,
};

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    /// The whole artifact, or the head of it.
    Given,
    /// A part of it, or several.
    Part,
    /// The client has it.
    NotModified,
    /// No such part.
    Unsatisfiable,
    /// Refused by the upstream, and so by the gate.
    Refused,
    /// Refused by the gate before the upstream was asked, or because of where it leads.
    RefusedByGate,
    /// Passed on to where the upstream sends this client.
    Sent,
    /// Given to an anonymous client a moment after the upstream closed the door, as `fresh_for` allows.
    Stale,
}

/// Remembers what was said once, and to whom.
#[derive(Default)]
pub struct Oracle {
    said: Mutex<HashMap<String, String>>,
    echoes: Mutex<HashMap<String, bool>>,
}

impl Oracle {
    /// Judges one answer of the gate's, sent for at `sent`, against the upstream's first and last.
    ///
    /// Of an answer that the upstream gives (200, 206, 304, 416) the gate may make: 200 with the whole artifact, always
    /// but for a 304; 206 where the upstream gives it, or where RFC 9110 section 14.2 does; 304 where the upstream gives
    /// it, or where section 13.2.2 does; 416 likewise. Of everything else it makes the same, or one of the refusals of
    /// its own that the request's spelling asks for.
    pub fn judge(
        &self,
        stage: &Stage,
        case: &Case,
        (first, last): &(Answer, Answer),
        answer: &Answer,
        sent: Instant,
    ) -> Result<Verdict, String> {
        let artifact = stage.artifact(case);
        if !answer.whole || answer.status == 0 {
            return Err("the answer is cut".to_owned());
        }
        self.said_once(case, answer)?;
        if refused_by_gate(case, answer) {
            return nothing_of_it(answer, &Answer::default()).map(|()| Verdict::RefusedByGate);
        }
        if first.status != last.status && answer.status == first.status && first.status / 100 == 3 {
            let same = answer.one("location") == first.one("location");
            same.then_some(()).ok_or("it leads elsewhere than the upstream does")?;
            return nothing_of_it(answer, first).map(|()| Verdict::Sent);
        }
        let gives = |answer: &Answer| matches!(answer.status, 200 | 206 | 304 | 416);
        if gives(last) {
            return given(case, artifact, last, answer);
        }
        if gives(answer) && stage.may_be_stale(case, sent) {
            let before = Answer {
                status: 200,
                ..answer.clone()
            };
            return given(case, artifact, &before, answer).map(|_| Verdict::Stale);
        }
        if answer.status != last.status {
            return Err(format!("the upstream says {}", last.status));
        }
        if answer.body != last.body {
            return Err("the refusal is not the upstream's".to_owned());
        }
        if answer.all("www-authenticate").len() != last.all("www-authenticate").len() {
            return Err("the challenge is missing or made up".to_owned());
        }
        nothing_of_it(answer, last).map(|()| Verdict::Refused)
    }

    /// What the upstream says anew each time must not be heard twice: cookies and challenges never, the rest only by
    /// clients that say nothing of themselves, and where the answer may be given again.
    fn said_once(&self, case: &Case, answer: &Answer) -> Result<(), String> {
        let asker = format!("{case:?}");
        let mut said = self.said.lock().unwrap();
        for name in ["set-cookie", "www-authenticate"] {
            for value in answer.all(name) {
                if let Some(other) = said.insert(value.to_owned(), asker.clone()) {
                    return Err(format!("`{name}: {value}` was said to another client: {other}"));
                }
            }
        }
        let Some(echo) = answer.one("x-echo") else {
            return Ok(());
        };
        let own = case.credentialed() || !case.zone.reusable;
        let before = self.echoes.lock().unwrap().insert(echo.to_owned(), own);
        match before {
            Some(theirs) if own || theirs => Err(format!("this answer was given before: x-echo {echo}")),
            _ => Ok(()),
        }
    }
}

/// The refusals that are the gate's own: of names that cannot be recorded, of queries on recorded paths, of redirects to
/// hosts that are not configured.
fn refused_by_gate(case: &Case, answer: &Answer) -> bool {
    let expected = match case.name {
        Name::Odd(_) => (400, "name"),
        Name::Query(_) => (400, "query"),
        _ if case.zone.name == "moved-elsewhere" => (502, "upstream-redirect"),
        _ => return false,
    };
    let problem = answer.one("content-type") == Some("application/problem+json");
    let kind: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let kind = kind.map(|body| body["type"] == format!("urn:tufgate:problem:{}", expected.1));
    // A HEAD has no body to say it.
    problem && answer.status == expected.0 && kind.unwrap_or(case.head)
}

/// No byte of an artifact, and nothing that tells of it but what the upstream itself tells this client.
fn nothing_of_it(answer: &Answer, truth: &Answer) -> Result<(), String> {
    let holds = |bytes: &[u8]| bytes.windows(MARK.len()).any(|window| window == MARK);
    if holds(&answer.body) || answer.headers.iter().any(|(_, value)| holds(value.as_bytes())) {
        return Err("a refusal holds bytes of an artifact".to_owned());
    }
    for name in [
        "content-range",
        "repr-digest",
        "etag",
        "last-modified",
        "accept-ranges",
        "x-who",
    ] {
        if answer.one(name).is_some() && answer.all(name) != truth.all(name) {
            return Err(format!("a refusal tells of the artifact: `{name}`"));
        }
    }
    match answer.one("tufgate-status") {
        None | Some("untracked") => Ok(()),
        Some(status) => Err(format!("a refusal tells how the path stands: {status}")),
    }
}

/// An answer to a client whom the upstream gives the artifact.
fn given(case: &Case, artifact: &Artifact, truth: &Answer, answer: &Answer) -> Result<Verdict, String> {
    let asked = ranges::asked(case, artifact, truth);
    let unasked = || {
        Err(format!(
            "{} is no answer to this, the upstream says {}",
            answer.status, truth.status
        ))
    };
    let verdict = match answer.status {
        200 if truth.status == 304 => return unasked(),
        200 => {
            let expected: &[u8] = if case.head { &[] } else { &artifact.bytes };
            if answer.body != expected {
                return Err("other bytes".to_owned());
            }
            if answer
                .one("content-length")
                .is_some_and(|length| length != artifact.bytes.len().to_string())
            {
                return Err("another length".to_owned());
            }
            Verdict::Given
        }
        206 if truth.status == 206 || matches!(asked, Asked::Parts(_)) => {
            ranges::check(case, artifact, &asked, answer)?;
            Verdict::Part
        }
        // nginx looks at Range first, and its 416 tells no validators; section 13.2.2 has the conditions first.
        304 if truth.status == 416
            && ranges::unmodified(case, answer)
            && answer.one("etag").is_none_or(|tag| tag == artifact.etag) =>
        {
            nothing_in(answer)?;
            return Ok(Verdict::NotModified);
        }
        304 if truth.status == 304 || ranges::unmodified(case, truth) => {
            nothing_in(answer)?;
            Verdict::NotModified
        }
        416 if truth.status == 416 || matches!(asked, Asked::Unsatisfiable) => {
            nothing_in(answer)?;
            return Ok(Verdict::Unsatisfiable);
        }
        _ => return unasked(),
    };
    // The upstream's word on who else may have this answer, and what it says of this client, word by word.
    for name in ["cache-control", "expires", "x-who"] {
        if answer.all(name) != truth.all(name) {
            return Err(format!("`{name}` is {:?}, not {:?}", answer.all(name), truth.all(name)));
        }
    }
    if let Some(missing) = truth
        .all("vary")
        .iter()
        .find(|value| !answer.all("vary").contains(value))
    {
        return Err(format!("`vary: {missing}` is missing"));
    }
    for name in ["etag", "last-modified"] {
        if truth.status != 416 && answer.one(name).is_some() && answer.one(name) != truth.one(name) {
            return Err(format!("another `{name}`"));
        }
    }
    Ok(verdict)
}

fn nothing_in(answer: &Answer) -> Result<(), String> {
    match answer.body.windows(MARK.len()).any(|window| window == MARK) {
        true => Err("an answer without the artifact holds bytes of it".to_owned()),
        false => Ok(()),
    }
}
