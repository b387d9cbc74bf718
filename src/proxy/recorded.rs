//! Reads of recorded paths. Who may read is the upstream's to say each time, but for anonymous readers of what it just
//! gave to another; what they get is verified, kept (`kept.rs`) or on its way (`fetching.rs`).

use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Method, StatusCode, header};
use pingora::{Result, proxy::Session};

use super::{
    Gate,
    answer::Head,
    fetching::Fetched,
    headers::{Forwarded, PREFERENCE_APPLIED, Status},
    kept::Kept,
    memory::Held,
    passing::Cut,
    problem::Problem,
};
use crate::{
    digest::{Expected, Hasher, Mismatch},
    freshness::{Keeping, keeping},
    policy::{Kind, OnDrift, Rule},
    target::TargetPath,
    upstream::{Answer, Ask, Framing, judge},
};

/// Whether the upstream gives a reader the recorded bytes.
pub(super) enum Proof {
    /// It does, and says this of them.
    Given(HeaderMap),
    /// It gives something that may be they: the whole body will tell.
    Wanting(Answer),
    /// It does not: the reader has its answer.
    Answered,
}

/// What was said of bytes that are held.
fn fields(held: Option<&Held>) -> HeaderMap {
    held.map(|held| held.headers.clone()).unwrap_or_default()
}

/// How often a reader looks for bytes that others have just fetched.
const LOOKS: usize = 3;

/// A read whose path is known and found recorded.
pub(super) struct Recorded<'a> {
    pub path: TargetPath,
    pub rule: &'a Rule,
    pub expected: Expected,
    /// Confirmed drift stands.
    pub drifted: bool,
    pub status: Status,
    pub query: Option<String>,
    pub forwarded: Forwarded,
    /// Seconds waited for on the client's wish.
    pub waited: Option<u32>,
    /// How the ledger and the memory stood before they were asked.
    pub seen: Seen,
}

/// What must not have moved since, for what was looked up to be used again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Seen {
    pub epoch: u64,
    pub drops: u64,
}

impl Recorded<'_> {
    /// The gate's own fields on an answer with the recorded bytes.
    pub(super) fn mark(&self, head: &mut Head) -> Result<()> {
        head.digest(&self.expected.digest)?;
        head.status(self.status)?;
        if let Some(seconds) = self.waited {
            head.set(PREFERENCE_APPLIED, format!("wait={seconds}"))?;
        }
        Ok(())
    }

    /// The request upstream.
    pub(super) fn ask(&self, method: Method) -> Ask {
        let mut path = self.path.encoded();
        if let Some(query) = &self.query {
            path = format!("{path}?{query}");
        }
        Ask {
            method,
            path,
            headers: self.forwarded.headers.clone(),
            identity: false,
        }
    }

    /// What may be done with the upstream's answer: a path whose bytes may change is asked about each time, and what a query
    /// brought is for nobody else.
    pub(super) fn keeping(&self, gate: &Gate, answer: &HeaderMap) -> Keeping {
        if self.query.is_some() {
            return Keeping::Never;
        }
        let fresh_for = match self.rule.kind {
            Kind::Immutable => gate.config().cache.fresh_for,
            _ => std::time::Duration::ZERO,
        };
        keeping(answer, self.forwarded.anonymous(), fresh_for)
    }

    /// The upstream's bytes differ: the reader gets a problem, the path a neutral read.
    pub(super) fn differs(&self, gate: &Gate, problem: Problem) -> Problem {
        gate.differs(&self.path);
        problem
    }
}

impl Gate {
    /// A reader saw other bytes than the recorded ones.
    pub(super) fn differs(&self, path: &TargetPath) {
        self.parts().metrics.mismatches_total.inc();
        self.intake().suspect(path);
    }

    /// GET or HEAD of a recorded path.
    pub(super) async fn serve_recorded(&self, session: &mut Session, recorded: &Recorded<'_>) -> Result<(), Cut> {
        if recorded.drifted {
            self.intake().recheck(&recorded.path);
            if recorded.rule.on_drift == OnDrift::Report {
                return self.serve_reported(session, recorded).await;
            }
        }
        for _ in 0..LOOKS {
            let held = self.memory().held(&recorded.path, &recorded.expected);
            // A query never hits the cache; without a validator there is no kept answer to credentials.
            let askable = recorded.forwarded.anonymous() || held.as_ref().and_then(|held| held.validator()).is_some();
            let bytes = match askable && recorded.query.is_none() {
                true => self.parts().cache.find(&recorded.expected).await,
                false => None,
            };
            let Some(bytes) = bytes else {
                match self.fetch(session, recorded).await? {
                    Fetched::Kept => continue,
                    Fetched::Answered => return Ok(self.make_fetched_ready(session, recorded)?),
                    Fetched::NotKept => return Ok(()),
                }
            };
            return match &held {
                Some(held) if recorded.forwarded.anonymous() && held.is_fresh(Instant::now()) => {
                    self.make_ready(session, recorded, held, &bytes)?;
                    let age = Some(held.age(Instant::now()));
                    self.answer_kept(session, recorded, &held.headers, bytes, age).await
                }
                held => self.serve_asked(session, recorded, held.as_deref(), bytes).await,
            };
        }
        Err(
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "the cache is overrun")
                .retry(1)
                .into(),
        )
    }

    /// Bytes at hand; whether this reader may have them is the upstream's to say, asked with the reader's own credentials.
    ///
    /// A 200 alone says little: where somebody has to log in first, it may be the page to do so, or a HEAD that is guarded
    /// less than GET. Bytes leave on a proof ([`Proof`]) that the upstream gives this reader the very artifact.
    async fn serve_asked(
        &self,
        session: &mut Session,
        recorded: &Recorded<'_>,
        held: Option<&Held>,
        bytes: Bytes,
    ) -> Result<(), Cut> {
        match self.prove(session, recorded, held).await? {
            Proof::Given(headers) => self.answer_kept(session, recorded, &headers, bytes, None).await,
            Proof::Wanting(answer) => self.follow_alone(session, recorded, answer, bytes).await,
            Proof::Answered => Ok(()),
        }
    }

    /// Asks the upstream whether this reader may have the recorded bytes.
    pub(super) async fn prove(
        &self,
        session: &mut Session,
        recorded: &Recorded<'_>,
        held: Option<&Held>,
    ) -> Result<Proof, Cut> {
        let mut ask = recorded.ask(session.req_header().method.clone());
        // The client's conditions are about our answer, ours about the upstream's.
        ask.headers = recorded.forwarded.credentials();
        let question = held.and_then(Held::validator);
        if let Some((name, value)) = question.clone() {
            ask.headers.insert(name, value);
        }
        let head_only = ask.method == Method::HEAD;
        let answer = self.parts().upstream.ask(ask).await.map_err(Problem::from)?;
        self.heed(recorded, answer.status);
        if let (Some(held), StatusCode::NOT_MODIFIED, Some((by, _))) = (held, answer.status, question) {
            // By its date alone, a page that others are led to may be just as old.
            if answer.redirected && by != header::IF_NONE_MATCH {
                return Err(Problem::unverifiable("it leads elsewhere").into());
            }
            let headers = held.confirmed(&answer.headers);
            // Whom the upstream answers a HEAD it may still refuse a GET.
            if !head_only {
                self.remember(recorded, &headers);
            }
            return Ok(Proof::Given(headers));
        }
        match self.pass_unless_ok(session, answer).await? {
            None => Ok(Proof::Answered),
            Some(answer) if head_only => Ok(Proof::Given(match self.judge_head(recorded, &answer, true) {
                Ok(()) => answer.headers,
                // The upstream's fields are about other bytes.
                Err(_) => fields(held),
            })),
            Some(answer) => self.prove_by_body(recorded, held, answer).await,
        }
    }

    /// The upstream gives this reader what it takes for the artifact. Small bodies are compared, so that drift is noticed,
    /// too.
    ///
    /// What differs is drift, or a page to log in. The recorded bytes go out all the same where the upstream itself gave
    /// them to anybody who asked, and no redirect says otherwise.
    async fn prove_by_body(&self, recorded: &Recorded<'_>, held: Option<&Held>, answer: Answer) -> Result<Proof, Cut> {
        let public = held.is_some_and(|held| held.public) && !answer.redirected;
        let small = recorded.expected.length <= self.config().gate.verify_first;
        let headers = answer.headers.clone();
        let differs = match self.judge_head(recorded, &answer, false) {
            Err(problem) => problem,
            Ok(()) if held.is_some_and(|held| held.is_tagged_as(&headers)) => {
                self.remember(recorded, &headers);
                return Ok(Proof::Given(headers));
            }
            Ok(()) if small => match self.compare(recorded, answer).await? {
                Ok(()) => {
                    self.remember(recorded, &headers);
                    return Ok(Proof::Given(headers));
                }
                Err(mismatch) => mismatch.into(),
            },
            Ok(()) if recorded.drifted => Problem::drift(),
            Ok(()) if public && recorded.forwarded.anonymous() => {
                self.follow_unheard(recorded, answer);
                return Ok(Proof::Given(fields(held)));
            }
            Ok(()) => return Ok(Proof::Wanting(answer)),
        };
        match public {
            true => Ok(Proof::Given(fields(held))),
            false => Err(differs.into()),
        }
    }

    /// Whether a body is the recorded one; told to whom it concerns when not.
    async fn compare(&self, recorded: &Recorded<'_>, answer: Answer) -> Result<Result<(), Mismatch>, Problem> {
        let (mut hasher, mut body) = (Hasher::default(), answer.body);
        while let Some(chunk) = body.next().await {
            hasher.update(&chunk.map_err(Problem::from)?);
            if hasher.length() > recorded.expected.length {
                break;
            }
        }
        let (digest, length) = hasher.finish();
        let compared = recorded.expected.check(digest, length);
        if compared.is_err() {
            self.differs(&recorded.path);
        }
        Ok(compared)
    }

    /// Answers from verified bytes at hand.
    pub(super) async fn answer_kept(
        &self,
        session: &mut Session,
        recorded: &Recorded<'_>,
        headers: &HeaderMap,
        bytes: Bytes,
        age: Option<u64>,
    ) -> Result<(), Cut> {
        let kept = Kept {
            headers,
            expected: recorded.expected,
            bytes,
            status: recorded.status,
            age,
            waited: recorded.waited,
        };
        Ok(kept.answer(self, session).await?)
    }

    /// Keeps what the upstream said of the recorded bytes, as far as it allows.
    pub(super) fn remember(&self, recorded: &Recorded<'_>, headers: &HeaderMap) {
        let keeping = recorded.keeping(self, headers);
        match Held::new(recorded.expected, headers, keeping, recorded.forwarded.anonymous()) {
            Some(held) => {
                self.memory().hold(&recorded.path, held, recorded.seen.drops);
            }
            None => self.memory().drop(&recorded.path),
        }
    }

    /// What the upstream refuses one anonymous reader, no other is given without a question.
    pub(super) fn heed(&self, recorded: &Recorded<'_>, status: StatusCode) {
        if !matches!(status, StatusCode::OK | StatusCode::NOT_MODIFIED) && recorded.forwarded.anonymous() {
            self.memory().drop(&recorded.path);
        }
    }

    /// The next reader finds ready what this one has just fetched, where it was kept.
    fn make_fetched_ready(&self, session: &Session, recorded: &Recorded<'_>) -> Result<()> {
        if !recorded.forwarded.anonymous() || recorded.query.is_some() {
            return Ok(());
        }
        let held = self.memory().held(&recorded.path, &recorded.expected);
        let fresh = held.filter(|held| held.is_fresh(Instant::now()));
        match fresh.zip(self.parts().cache.peek(&recorded.expected)) {
            Some((held, bytes)) => self.make_ready(session, recorded, &held, &bytes),
            None => Ok(()),
        }
    }

    /// Readers of the same target need no look-up for as long as nothing changes.
    fn make_ready(
        &self,
        session: &Session,
        recorded: &Recorded<'_>,
        held: &std::sync::Arc<Held>,
        bytes: &Bytes,
    ) -> Result<()> {
        let signed = matches!(recorded.status, Status::Signed(_)) && !recorded.drifted;
        if signed && self.intake().epoch() == recorded.seen.epoch {
            let mapped = !self.parts().cache.in_memory(recorded.expected.length);
            let hit = super::hot::Hit::new(std::sync::Arc::clone(held), bytes.clone(), mapped, recorded.seen.epoch)?;
            self.memory().ready(session.req_header().raw_path(), hit);
        }
        Ok(())
    }

    /// Status, encoding and length of an answer for a recorded path, before any byte.
    pub(super) fn judge_head(&self, recorded: &Recorded<'_>, answer: &Answer, head_only: bool) -> Result<(), Problem> {
        judge::verifiable(answer.status, &answer.headers, answer.framing).map_err(Problem::unverifiable)?;
        match answer.framing {
            Framing::Length(length) if length != recorded.expected.length && !(head_only && length == 0) => {
                let problem = Mismatch::Length {
                    found: length,
                    expected: recorded.expected.length,
                };
                Err(recorded.differs(self, problem.into()))
            }
            _ => Ok(()),
        }
    }

    /// `on_drift = "report"`: the drifted bytes pass, as what they are.
    async fn serve_reported(&self, session: &mut Session, recorded: &Recorded<'_>) -> Result<(), Cut> {
        let method = session.req_header().method.clone();
        let answer = self
            .parts()
            .upstream
            .ask(recorded.ask(method))
            .await
            .map_err(Problem::from)?;
        self.pass(session, answer, Status::Drift).await
    }
}
