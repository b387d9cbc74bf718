//! Answers of the upstream that are passed as they are, and what it means when an answer does not go out whole.

use futures_util::StreamExt;
use http::{HeaderMap, Method, StatusCode, header};
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
