//! Reads of recorded paths: verified before the first byte leaves, or with one chunk withheld to the end.

use futures_util::StreamExt;
use http::{Method, StatusCode};
use pingora::{Result, proxy::Session};

use super::{
    Gate,
    answer::{Frame, Head},
    headers::{Forwarded, PREFERENCE_APPLIED, Status},
    passing::{Cut, send},
    problem::Problem,
    tap::{Expected, Mismatch, Tap},
};
use crate::{
    intake::Standing,
    ledger::Target,
    policy::{OnDrift, Rule},
    target::TargetPath,
    upstream::{Answer, Ask, Framing, judge},
};

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

    fn cut(&self, gate: &Gate, mismatch: Mismatch) -> Cut {
        let problem = self.differs(gate, mismatch.into());
        Cut::Midway(problem.detail)
    }
}

impl Gate {
    /// GET without range, or HEAD, of a recorded path.
    pub(super) async fn serve_recorded(&self, session: &mut Session, recorded: &Recorded<'_>) -> Result<(), Cut> {
        let head_only = session.req_header().method == Method::HEAD;
        let large = recorded.target.length > self.config().gate.verify_first;
        if recorded.standing.drift.is_some() {
            self.intake().recheck(&recorded.path);
            // Small bodies are verified before they leave, so they heal by themselves; large ones would be cut each time.
            if recorded.rule.on_drift == OnDrift::Block && (large || head_only) {
                return Err(Problem::drift().into());
            }
            if recorded.rule.on_drift == OnDrift::Report {
                return self.serve_reported(session, recorded).await;
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
                let problem = Mismatch::Length {
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
