//! Writing the gate's own answers to a Pingora session.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use pingora::{Result, http::ResponseHeader, proxy::Session};

use super::{
    Gate,
    headers::{REPR_DIGEST, Status, TUFGATE_STATUS, repr_digest},
    host::as_written,
    problem::Problem,
};
use crate::digest::{Digest, Expected};

/// Headers of an upstream answer that are the gate's to set.
const OURS: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONTENT_RANGE,
    header::UPGRADE,
    REPR_DIGEST,
    TUFGATE_STATUS,
];

/// How an answer's body is framed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Frame {
    /// `Content-Length`.
    Length(u64),
    /// Chunked; until the connection closes for a client of HTTP/1.0.
    Unknown,
}

/// An answer's header: the upstream's fields where there are any, and the gate's own.
pub(super) struct Head {
    header: ResponseHeader,
}

impl Head {
    pub(super) fn new(status: StatusCode) -> Result<Self> {
        Ok(Self {
            header: ResponseHeader::build_no_case(status, Some(16))?,
        })
    }

    /// The upstream's end-to-end fields.
    pub(super) fn upstream(status: StatusCode, headers: &HeaderMap) -> Result<Self> {
        let mut head = Self::new(status)?;
        for (name, value) in headers {
            if !OURS.contains(name) {
                head.header.append_header(name.clone(), value.clone())?;
            }
        }
        Ok(head)
    }

    /// The upstream's fields for verified bytes at hand, of which any part can be asked for.
    pub(super) fn kept(headers: &HeaderMap, expected: &Expected) -> Result<Self> {
        let mut head = Self::upstream(StatusCode::OK, headers)?;
        head.digest(&expected.digest)?;
        head.set(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"))?;
        Ok(head)
    }

    /// A problem's fields beside others.
    pub(super) fn problem(problem: &Problem, fields: &HeaderMap) -> Result<Self> {
        let mut head = Self::upstream(problem.status, fields)?;
        head.set(header::CONTENT_TYPE, "application/problem+json")?;
        head.set(header::CACHE_CONTROL, "no-store")?;
        if let Some(seconds) = problem.retry_after {
            head.set(header::RETRY_AFTER, seconds)?;
        }
        Ok(head)
    }

    pub(super) fn into_inner(self) -> ResponseHeader {
        self.header
    }

    pub(super) fn set_code(&mut self, status: StatusCode) -> Result<()> {
        self.header.set_status(status)
    }

    pub(super) fn set(&mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Result<()> {
        self.header.insert_header(name, value)
    }

    pub(super) fn status(&mut self, status: Status) -> Result<()> {
        self.set(TUFGATE_STATUS, status.to_string())
    }

    pub(super) fn digest(&mut self, digest: &Digest) -> Result<()> {
        self.set(REPR_DIGEST, repr_digest(digest))
    }

    /// Writes the header; the body, if any, follows.
    pub(super) async fn write(mut self, session: &mut Session, frame: Frame, end: bool) -> Result<()> {
        match frame {
            Frame::Length(length) => self.header.insert_header(header::CONTENT_LENGTH, length)?,
            // The connection's end is the answer's, whatever the client would keep alive.
            Frame::Unknown if session.req_header().version == Version::HTTP_10 => session.set_keepalive(None),
            Frame::Unknown => self.header.insert_header(header::TRANSFER_ENCODING, "chunked")?,
        }
        as_written(session);
        session.write_response_header(Box::new(self.header), end).await
    }

    /// Writes a header that no body follows and that tells no length: 204, 304, and what answers a HEAD where nobody knows.
    pub(super) async fn write_bare(self, session: &mut Session) -> Result<()> {
        as_written(session);
        session.write_response_header(Box::new(self.header), true).await
    }

    /// Writes header and a whole body; only the header to a HEAD.
    pub(super) async fn write_with(self, gate: &Gate, session: &mut Session, body: Bytes) -> Result<()> {
        let frame = Frame::Length(body.len() as u64);
        let bare = body.is_empty() || session.req_header().method == http::Method::HEAD;
        self.write(session, frame, bare).await?;
        match bare {
            true => Ok(()),
            false => gate.send(session, body, true).await,
        }
    }
}

impl Gate {
    /// Answers with a problem.
    pub(super) async fn answer_problem(&self, session: &mut Session, problem: &Problem) -> Result<()> {
        self.answer_problem_with(session, problem, &HeaderMap::new()).await
    }

    /// Answers with a problem and further header fields.
    pub(super) async fn answer_problem_with(
        &self,
        session: &mut Session,
        problem: &Problem,
        fields: &HeaderMap,
    ) -> Result<()> {
        // A body may still be on its way; what follows it cannot be told from a next request.
        if !session.as_downstream_mut().is_body_done() {
            session.set_keepalive(None);
        }
        self.write_problem(session, problem, fields).await?;
        // Lets a client that writes first and reads later see the answer before a reset.
        let _ = session.as_downstream_mut().drain_request_body().await;
        Ok(())
    }

    /// Answers with a problem and closes at once: of what follows nobody knows where it ends.
    pub(super) async fn answer_unread(&self, session: &mut Session, problem: &Problem) -> Result<()> {
        session.set_keepalive(None);
        self.write_problem(session, problem, &HeaderMap::new()).await
    }

    async fn write_problem(&self, session: &mut Session, problem: &Problem, fields: &HeaderMap) -> Result<()> {
        let head = Head::problem(problem, fields)?;
        head.write_with(self, session, problem.body().into()).await
    }
}
