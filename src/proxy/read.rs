//! Reads of tracked paths: asked upstream with what the gate could have written itself, judged on the way, answered
//! whole or not at all.
//!
//! Everything is read through `upstream/`, small and large, recorded or not: one loop, in which a redirect can be
//! followed, a commit awaited and a frame forced, none of which Pingora's response filters allow.

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Method, StatusCode, header};
use pingora::{Error, ErrorType, Result, proxy::Session};

use super::{
    Gate, GateCtx, Outcome,
    answer::{Frame, Head},
    client_ip,
    headers::{Forwarded, PREFERENCE_APPLIED, Status, TUFGATE_STATUS, forwarded, prefer_wait},
    problem::Problem,
    route::{Read, Tracked},
    tap::{Expected, Tap},
};
use crate::{
    digest::Digest,
    intake::{Learned, Standing},
    ledger::{State, Target},
    policy::{OnDrift, Rule, Unsigned},
    target::TargetPath,
    upstream::{Answer, Ask, Framing, judge},
};

/// Longest a request is held by `unsigned = "wait"`, in seconds.
const UNSIGNED_WAIT: u32 = 30;

/// A read whose path is known and found recorded.
pub(super) struct Recorded<'a> {
    pub path: TargetPath,
    pub rule: &'a Rule,
    pub target: Target,
    pub standing: Standing,
    pub status: Status,
    pub query: Option<String>,
    pub forwarded: Forwarded,
    /// Seconds waited for on the client's wish.
    pub waited: Option<u32>,
}

impl Recorded<'_> {
    fn expected(&self) -> Expected {
        Expected {
            digest: self.target.digest,
            length: self.target.length,
        }
    }

    /// The gate's own fields on an answer with the recorded bytes.
    pub(super) fn mark(&self, head: &mut Head) -> Result<()> {
        head.digest(&self.target.digest)?;
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

    /// The upstream's bytes differ: the reader gets a problem, the path a neutral read.
    pub(super) fn differs(&self, gate: &Gate, problem: Problem) -> Problem {
        gate.parts().metrics.mismatches_total.inc();
        gate.intake().suspect(&self.path);
        problem
    }
}

impl Gate {
    /// Answers a read, or lets it through when the path is not recorded and a fetch teaches nothing.
    pub(super) async fn serve_read(&self, session: &mut Session, ctx: &mut GateCtx, read: Read<'_>) -> Result<Outcome> {
        match self.find(session, ctx, read).await {
            Ok(Found::Recorded(recorded)) => {
                let answered = if session.req_header().headers.contains_key(header::RANGE) {
                    self.serve_range(session, &recorded).await
                } else {
                    self.serve_recorded(session, &recorded).await
                };
                self.conclude(session, answered).await
            }
            Ok(Found::Teaching(at, forwarded)) => {
                let answered = self.serve_teaching(session, &at, forwarded).await;
                self.conclude(session, answered).await
            }
            Ok(Found::Nothing) => Ok(Outcome::ToUpstream),
            Err(problem) => self.conclude(session, Err(Cut::Refused(problem))).await,
        }
    }

    /// Turns a problem before the first byte into its answer, one after it into a cut.
    async fn conclude(&self, session: &mut Session, answered: Result<(), Cut>) -> Result<Outcome> {
        match answered {
            Ok(()) => Ok(Outcome::Answered),
            Err(Cut::Refused(problem)) => {
                self.answer_problem(session, &problem).await?;
                Ok(Outcome::Answered)
            }
            Err(Cut::Midway(detail)) => {
                // The client must not mistake what it has for the whole: the connection closes short.
                session.set_keepalive(None);
                Err(Error::explain(ErrorType::Custom("CutShort"), detail))
            }
            Err(Cut::Client(error)) => Err(error),
        }
    }

    /// Which record a read is for, and whether it may be answered now.
    async fn find<'a>(&self, session: &Session, ctx: &mut GateCtx, read: Read<'a>) -> Result<Found<'a>, Problem> {
        let headers = session.req_header().headers.clone();
        let forwarded = forwarded(&headers, &self.config().upstream);
        let wait = prefer_wait(&headers);
        for (Tracked { path, rule }, wanted) in read.names {
            let mut standing = self.intake().look(&path, rule).await?;
            if standing.target.is_none() && wanted.is_none() && wait.is_some() && read.query.is_none() {
                self.teach_first(&path, rule).await;
                standing = self.intake().look(&path, rule).await?;
            }
            let Some(target) = standing.target.clone() else {
                if wanted.is_some() {
                    continue;
                }
                return Ok(self.not_recorded(session, ctx, Tracked { path, rule }, forwarded, read.query));
            };
            if let Some(digest) = wanted
                && digest != target.digest
            {
                match target.superseded.iter().any(|old| old.digest == digest) {
                    true => return Err(superseded()),
                    false => continue,
                }
            }
            match target.state {
                State::Retracted => return Err(Problem::retracted()),
                State::Deleted => return Err(deleted()),
                State::Live => {}
            }
            if let Some(query) = &read.query
                && !rule.allows_query(query)
            {
                return Err(Problem::new(
                    StatusCode::BAD_REQUEST,
                    "query",
                    "this path is recorded; its rule allows no such query",
                ));
            }
            let (status, waited) = self.await_signature(rule, &target, &standing, wait).await?;
            return Ok(Found::Recorded(Box::new(Recorded {
                path,
                rule,
                target,
                standing,
                status,
                query: read.query,
                forwarded,
                waited,
            })));
        }
        Ok(Found::Nothing)
    }

    /// `Prefer: wait` on an unrecorded path: a neutral read first.
    async fn teach_first(&self, path: &TargetPath, rule: &Rule) {
        // Waiting is the client's wish, never a reason to refuse it: where too many wait, it goes on unwaited.
        let Ok(_held) = self.hold() else { return };
        if let Err(error) = self.intake().read_and_learn(path, rule).await {
            tracing::warn!(%error, target.path = %path, "a neutral read of `{path}` gave no verdict");
        }
    }

    /// A path without a record: taught by this fetch, by a neutral read of its own, or not at all.
    fn not_recorded<'a>(
        &self,
        session: &Session,
        ctx: &mut GateCtx,
        at: Tracked<'a>,
        forwarded: Forwarded,
        query: Option<String>,
    ) -> Found<'a> {
        if !self.intake().learns_fetch(at.rule) || query.is_some() {
            ctx.status = Some(Status::Untracked);
            return Found::Nothing;
        }
        let request = session.req_header();
        let whole = request.method == Method::GET && !request.headers.contains_key(header::RANGE);
        if whole && forwarded.own {
            return Found::Teaching(at, forwarded);
        }
        // What the gate could not have written itself passes and teaches nothing; the gate's own read will.
        ctx.wanted = Some(at.path);
        ctx.status = Some(Status::Untracked);
        Found::Nothing
    }

    /// How the target stands, waiting for its signature where the client or the rule wants that.
    async fn await_signature(
        &self,
        rule: &Rule,
        target: &Target,
        standing: &Standing,
        wait: Option<u32>,
    ) -> Result<(Status, Option<u32>), Problem> {
        let signed = |gate: &Self| Status::Signed(gate.parts().catalog.snapshot_version());
        if standing.signed {
            return Ok((signed(self), wait));
        }
        if rule.unsigned == Unsigned::Deny {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "unsigned",
                "this path is not signed yet",
            ));
        }
        let must = rule.unsigned == Unsigned::Wait;
        let seconds = wait.or(must.then_some(UNSIGNED_WAIT));
        if let Some(seconds) = seconds {
            let held = match self.hold() {
                Err(busy) if must => return Err(busy),
                held => held.ok(),
            };
            let limit = std::time::Duration::from_secs(seconds.into());
            if held.is_some() && self.parts().catalog.wait_for(target.seq, limit).await {
                return Ok((signed(self), wait));
            }
        }
        match must {
            true => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unsigned",
                "this path was not signed in time",
            )
            .retry(5)),
            false => Ok((Status::Pending, None)),
        }
    }

    /// A place among the requests that may wait at once.
    pub(super) fn hold(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Problem> {
        self.0.waiters.try_acquire().map_err(|_| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many requests are waiting").retry(5)
        })
    }

    /// GET without range, or HEAD, of a recorded path.
    pub(super) async fn serve_recorded(&self, session: &mut Session, recorded: &Recorded<'_>) -> Result<(), Cut> {
        let head_only = session.req_header().method == Method::HEAD;
        let large = recorded.target.length > self.config().gate.verify_first;
        if let Some(drift) = &recorded.standing.drift {
            self.intake().recheck(&recorded.path);
            // Small bodies are verified before they leave, so they heal by themselves; large ones would be cut each time.
            if recorded.rule.on_drift == OnDrift::Block && (large || head_only) {
                return Err(Problem::drift().into());
            }
            if recorded.rule.on_drift == OnDrift::Report {
                return self.serve_reported(session, recorded, drift.observed).await;
            }
        }
        let method = if head_only { Method::HEAD } else { Method::GET };
        let answer = self
            .parts()
            .upstream
            .ask(recorded.ask(method))
            .await
            .map_err(Problem::from)?;
        if let Some(answer) = self.pass_unless_ok(session, answer).await? {
            self.judge_head(recorded, &answer, head_only)?;
            if head_only {
                let mut head = Head::upstream(StatusCode::OK, &answer.headers)?;
                recorded.mark(&mut head)?;
                return Ok(head.write(session, Frame::Length(recorded.target.length), true).await?);
            }
            return match large {
                true => self.stream_verified(session, recorded, answer).await,
                false => self.answer_verified(session, recorded, answer).await,
            };
        }
        Ok(())
    }

    /// Status, encoding and length of an answer for a recorded path, before any byte.
    pub(super) fn judge_head(&self, recorded: &Recorded<'_>, answer: &Answer, head_only: bool) -> Result<(), Problem> {
        judge::verifiable(answer.status, &answer.headers, answer.framing).map_err(Problem::unverifiable)?;
        match answer.framing {
            Framing::Length(length) if length != recorded.target.length && !(head_only && length == 0) => {
                let problem = super::tap::Mismatch::Length {
                    found: length,
                    expected: recorded.target.length,
                };
                Err(recorded.differs(self, problem.into()))
            }
            _ => Ok(()),
        }
    }

    /// Small: fetched whole, verified, then answered; else a clean 502.
    async fn answer_verified(&self, session: &mut Session, recorded: &Recorded<'_>, answer: Answer) -> Result<(), Cut> {
        let mut tap = Tap::verifying(recorded.expected());
        let mut body = Vec::with_capacity(usize::try_from(recorded.target.length).unwrap_or_default());
        let mut stream = answer.body;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(Problem::from)?;
            body.extend_from_slice(&chunk);
            tap.push(chunk)
                .map_err(|mismatch| recorded.differs(self, mismatch.into()))?;
        }
        tap.finish()
            .map_err(|mismatch| recorded.differs(self, mismatch.into()))?;
        let mut head = Head::upstream(StatusCode::OK, &answer.headers)?;
        recorded.mark(&mut head)?;
        Ok(head.write_with(session, body.into()).await?)
    }

    /// Large: always framed by the recorded length, one chunk withheld until length and digest agree.
    async fn stream_verified(&self, session: &mut Session, recorded: &Recorded<'_>, answer: Answer) -> Result<(), Cut> {
        let mut tap = Tap::verifying(recorded.expected());
        let mut stream = answer.body;
        let mut head = Head::upstream(StatusCode::OK, &answer.headers)?;
        recorded.mark(&mut head)?;
        head.write(session, Frame::Length(recorded.target.length), false)
            .await?;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| Cut::Midway(error.to_string()))?;
            let through = tap.push(chunk).map_err(|mismatch| recorded.cut(self, mismatch))?;
            send(session, through).await?;
        }
        let (_, _, held) = tap.finish().map_err(|mismatch| recorded.cut(self, mismatch))?;
        Ok(session.write_response_body(Some(held), true).await?)
    }

    /// `on_drift = "report"`: the drifted bytes pass, as what they are.
    async fn serve_reported(&self, session: &mut Session, recorded: &Recorded<'_>, _: Digest) -> Result<(), Cut> {
        let method = session.req_header().method.clone();
        let answer = self
            .parts()
            .upstream
            .ask(recorded.ask(method))
            .await
            .map_err(Problem::from)?;
        self.pass(session, answer, Status::Drift).await
    }

    /// GET of an unrecorded path that teaches: passed as it comes, recorded before its last chunk leaves.
    async fn serve_teaching(&self, session: &mut Session, at: &Tracked<'_>, forwarded: Forwarded) -> Result<(), Cut> {
        let ask = Ask {
            method: Method::GET,
            path: at.path.encoded(),
            headers: forwarded.headers,
            identity: false,
        };
        let answer = self.parts().upstream.ask(ask).await.map_err(Problem::from)?;
        // Nothing is promised of a path without a record: another success passes, but for a part nobody asked for.
        if answer.status.is_success() && !matches!(answer.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return self.pass(session, answer, Status::Untracked).await;
        }
        let Some(answer) = self.pass_unless_ok(session, answer).await? else {
            return Ok(());
        };
        if let Err(reason) = judge::learnable(answer.status, &answer.headers, answer.framing) {
            self.parts().metrics.unlearned_total.with_label_values(&[reason]).inc();
            return self.pass(session, answer, Status::Untracked).await;
        }
        let frame = match answer.framing {
            Framing::Length(length) => Frame::Length(length),
            Framing::Chunked | Framing::Close => Frame::Unknown,
        };
        let mut head = Head::upstream(answer.status, &answer.headers)?;
        head.status(Status::Pending)?;
        let mut tap = Tap::learning();
        let mut stream = answer.body;
        if frame == Frame::Length(0) {
            self.teach(session, at, Tap::learning()).await?;
            return Ok(head.write(session, frame, true).await?);
        }
        head.write(session, frame, false).await?;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| Cut::Midway(error.to_string()))?;
            let through = tap.push(chunk).map_err(|error| Cut::Midway(error.to_string()))?;
            send(session, through).await?;
        }
        let held = self.teach(session, at, tap).await?;
        Ok(session.write_response_body(Some(held), true).await?)
    }

    /// Records what a whole fetch showed; gives back the withheld chunk unless other bytes were recorded meanwhile.
    async fn teach(&self, session: &Session, at: &Tracked<'_>, tap: Tap) -> Result<Bytes, Cut> {
        let (digest, length, held) = tap.finish().map_err(|error| Cut::Midway(error.to_string()))?;
        let learned = self
            .intake()
            .learn(&at.path, at.rule, (digest, length), client_ip(session))
            .await;
        match learned {
            Ok(Learned::Recorded(_) | Learned::Known) => Ok(held),
            Ok(Learned::Refused(refusal)) => {
                self.parts()
                    .metrics
                    .unlearned_total
                    .with_label_values(&[refusal.label()])
                    .inc();
                Ok(held)
            }
            Ok(Learned::Conflict) => {
                self.intake().suspect(&at.path);
                Err(Cut::Midway("other bytes were recorded meanwhile".to_owned()))
            }
            // The bytes are what the upstream has; not to record them now loses nothing that was promised.
            Err(error) => {
                tracing::error!(%error, target.path = %at.path, "could not record what a fetch of `{}` showed", at.path);
                Ok(held)
            }
        }
    }

    /// Passes every failure as it is; only 200 is judged. A redirect that was not followed (300, 305) stays here: clients
    /// that follow it would get bytes nobody compares.
    pub(super) async fn pass_unless_ok(&self, session: &mut Session, answer: Answer) -> Result<Option<Answer>, Cut> {
        if answer.status == StatusCode::OK {
            return Ok(Some(answer));
        }
        if answer.status.is_success() {
            return Err(Problem::unverifiable("it is a success other than 200").into());
        }
        if answer.status.is_redirection() && answer.status != StatusCode::NOT_MODIFIED {
            return Err(Problem::unverifiable("it leads elsewhere").into());
        }
        self.pass(session, answer, Status::Untracked).await?;
        Ok(None)
    }

    /// Streams an answer untapped.
    async fn pass(&self, session: &mut Session, answer: Answer, status: Status) -> Result<(), Cut> {
        let mut head = Head::upstream(answer.status, &answer.headers)?;
        if status != Status::Untracked || answer.status.is_success() {
            head.set(TUFGATE_STATUS, status.to_string())?;
        }
        let bodyless = answer.status == StatusCode::NOT_MODIFIED
            || answer.status == StatusCode::NO_CONTENT
            || session.req_header().method == Method::HEAD;
        let frame = match answer.framing {
            Framing::Length(length) => Frame::Length(length),
            Framing::Chunked | Framing::Close => Frame::Unknown,
        };
        if bodyless || frame == Frame::Length(0) {
            return Ok(head
                .write(session, Frame::Length(length_of(&answer.headers, frame)), true)
                .await?);
        }
        head.write(session, frame, false).await?;
        let mut stream = answer.body;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| Cut::Midway(error.to_string()))?;
            send(session, chunk).await?;
        }
        Ok(session.write_response_body(None, true).await?)
    }
}

/// What a read found.
enum Found<'a> {
    /// A live record.
    Recorded(Box<Recorded<'a>>),
    /// No record; this fetch may teach.
    Teaching(Tracked<'a>, Forwarded),
    /// No record, or a hash-prefixed name that stands for nothing: passed.
    Nothing,
}

/// Why an answer did not go out whole.
pub(super) enum Cut {
    /// The client's connection failed.
    Client(Box<Error>),
    /// After the first byte: the transfer must miss bytes.
    Midway(String),
    /// Before the first byte: a clean error answer.
    Refused(Problem),
}

impl From<Problem> for Cut {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl From<Box<Error>> for Cut {
    fn from(error: Box<Error>) -> Self {
        Self::Client(error)
    }
}

impl Recorded<'_> {
    fn cut(&self, gate: &Gate, mismatch: super::tap::Mismatch) -> Cut {
        let problem = self.differs(gate, mismatch.into());
        Cut::Midway(problem.detail)
    }
}

/// Writes a chunk, skipping empty ones: they would end a chunked body.
pub(super) async fn send(session: &mut Session, chunk: Bytes) -> Result<(), Cut> {
    if !chunk.is_empty() {
        session.write_response_body(Some(chunk), false).await?;
    }
    Ok(())
}

/// The length a bodyless answer announces.
fn length_of(headers: &HeaderMap, frame: Frame) -> u64 {
    match frame {
        Frame::Length(length) => length,
        Frame::Unknown => {
            let announced = headers
                .get(header::CONTENT_LENGTH)
                .and_then(|value| value.to_str().ok());
            announced.and_then(|text| text.parse().ok()).unwrap_or_default()
        }
    }
}

fn superseded() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "superseded",
        "these bytes were superseded here and are no longer held",
    )
}

fn deleted() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "deleted", "this path was deleted")
}
