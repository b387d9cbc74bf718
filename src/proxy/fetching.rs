//! Recorded artifacts that are not at hand: read from the upstream, verified before the last byte leaves, and kept for
//! the next reader where the upstream allows.

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, StatusCode};
use pingora::proxy::Session;

use super::{
    Gate,
    answer::{Frame, Head},
    passing::{Cut, send},
    problem::Problem,
    recorded::Recorded,
    tap::Tap,
};
use crate::{digest::Mismatch, policy::OnDrift, upstream::Answer};

impl Gate {
    /// GET or HEAD of a recorded path whose bytes are not at hand.
    pub(super) async fn fetch(&self, session: &mut Session, recorded: &Recorded<'_>) -> Result<(), Cut> {
        self.fetch_alone(session, recorded).await
    }

    /// The same, for this reader alone.
    pub(super) async fn fetch_alone(&self, session: &mut Session, recorded: &Recorded<'_>) -> Result<(), Cut> {
        let head_only = session.req_header().method == Method::HEAD;
        let large = recorded.expected.length > self.config().gate.verify_first;
        // Small bodies are verified before they leave, so they heal by themselves; large ones would be cut each time.
        if recorded.drifted && recorded.rule.on_drift == OnDrift::Block && (large || head_only) {
            return Err(Problem::drift().into());
        }
        let method = if head_only { Method::HEAD } else { Method::GET };
        let answer = self
            .parts()
            .upstream
            .ask(recorded.ask(method))
            .await
            .map_err(Problem::from)?;
        let Some(answer) = self.pass_unless_ok(session, answer).await? else {
            return Ok(());
        };
        self.judge_head(recorded, &answer, head_only)?;
        if head_only {
            let mut head = Head::upstream(StatusCode::OK, &answer.headers)?;
            recorded.mark(&mut head)?;
            return Ok(head.write(session, Frame::Length(recorded.expected.length), true).await?);
        }
        match large {
            true => self.stream_verified(session, recorded, answer).await,
            false => self.answer_verified(session, recorded, answer).await,
        }
    }

    /// Small: fetched whole, verified, then answered; else a clean 502.
    async fn answer_verified(&self, session: &mut Session, recorded: &Recorded<'_>, answer: Answer) -> Result<(), Cut> {
        let headers = answer.headers.clone();
        let bytes = self.verify(recorded, answer).await?;
        let bytes = bytes.ok_or_else(|| Problem::unverifiable("x"))?;
        self.parts().cache.put(&recorded.expected, bytes.clone());
        self.remember(recorded, &headers);
        self.answer_kept(session, recorded, &headers, bytes, None).await
    }

    /// A small body, whole; `None` when it is not what is recorded.
    pub(super) async fn verify(&self, recorded: &Recorded<'_>, answer: Answer) -> Result<Option<Bytes>, Problem> {
        let mut tap = Tap::verifying(recorded.expected);
        let mut body = Vec::with_capacity(usize::try_from(recorded.expected.length).unwrap_or_default());
        let mut stream = answer.body;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(Problem::from)?;
            body.extend_from_slice(&chunk);
            if let Err(mismatch) = tap.push(chunk) {
                recorded.differs(self, mismatch.into());
                return Ok(None);
            }
        }
        match tap.finish() {
            Ok(_) => Ok(Some(body.into())),
            Err(mismatch) => {
                recorded.differs(self, mismatch.into());
                Ok(None)
            }
        }
    }

    /// Large: always framed by the recorded length, one chunk withheld until length and digest agree.
    pub(super) async fn stream_verified(&self, session: &mut Session, recorded: &Recorded<'_>, answer: Answer) -> Result<(), Cut> {
        let cut = |mismatch: Mismatch| Cut::Midway(recorded.differs(self, mismatch.into()).detail);
        let mut tap = Tap::verifying(recorded.expected);
        let mut stream = answer.body;
        let mut head = Head::upstream(StatusCode::OK, &answer.headers)?;
        recorded.mark(&mut head)?;
        head.write(session, Frame::Length(recorded.expected.length), false)
            .await?;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| Cut::Midway(error.to_string()))?;
            let through = tap.push(chunk).map_err(cut)?;
            send(session, through).await?;
        }
        let (_, _, held) = tap.finish().map_err(cut)?;
        Ok(session.write_response_body(Some(held), true).await?)
    }
}
