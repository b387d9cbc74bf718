//! Answers of the upstream that are passed as they are, and what it means when an answer does not go out whole.

use futures_util::StreamExt;
use http::{Method, StatusCode};
use pingora::{Error, Result, proxy::Session};

use super::{
    Gate,
    answer::{Frame, Head},
    headers::{Status, TUFGATE_STATUS},
    problem::Problem,
};
use crate::upstream::{Answer, Framing};

impl Gate {
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
    pub(super) async fn pass(&self, session: &mut Session, answer: Answer, status: Status) -> Result<(), Cut> {
        let mut head = Head::upstream(answer.status, &answer.headers)?;
        if status != Status::Untracked || answer.status.is_success() {
            head.set(TUFGATE_STATUS, status.to_string())?;
        }
        let bare = session.req_header().method == Method::HEAD;
        let lengthless = matches!(answer.status, StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT);
        // Without a body a length is what a GET would have been told, or is not told (RFC 9110 section 8.6).
        let frame = match answer.framing {
            _ if lengthless => return Ok(head.write_bare(session).await?),
            Framing::Chunked | Framing::Close if bare => return Ok(head.write_bare(session).await?),
            Framing::Chunked | Framing::Close => Frame::Unknown,
            Framing::Length(length) => Frame::Length(length),
        };
        if bare || frame == Frame::Length(0) {
            return Ok(head.write(session, frame, true).await?);
        }
        head.write(session, frame, false).await?;
        let mut stream = answer.body;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| Cut::Midway(error.to_string()))?;
            self.send(session, chunk, false).await?;
        }
        Ok(session.write_response_body(None, true).await?)
    }
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
