//! Answers from verified bytes at hand: whole, in part, or not at all when the client has them already (RFC 9110
//! sections 13 and 14). Who may have them was decided before.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use pingora::{Result, proxy::Session};

use super::{
    Gate,
    answer::{Frame, Head},
    headers::{PREFERENCE_APPLIED, Status},
};
use crate::{
    conditions::{self, Verdict},
    digest::Expected,
    range::{self, Ranges},
};

/// Verified bytes, and what is said of them.
pub(super) struct Kept<'a> {
    /// The upstream's fields.
    pub headers: &'a HeaderMap,
    /// What the bytes are.
    pub expected: Expected,
    pub bytes: Bytes,
    pub status: Status,
    /// Seconds since the upstream said so; `None` when it just did.
    pub age: Option<u64>,
    /// Seconds waited for on the client's wish.
    pub waited: Option<u32>,
}

impl Kept<'_> {
    /// Answers a GET or HEAD.
    pub(super) async fn answer(self, gate: &Gate, session: &mut Session) -> Result<()> {
        let request = session.req_header();
        let length = self.expected.length;
        match conditions::verdict(&request.headers, self.headers) {
            Verdict::Failed => {
                let mut head = Head::new(StatusCode::PRECONDITION_FAILED)?;
                head.status(self.status)?;
                return head.write(session, Frame::Length(0), true).await;
            }
            Verdict::NotModified => return self.head(StatusCode::NOT_MODIFIED)?.write_bare(session).await,
            Verdict::Go => {}
        }
        // Range is defined for GET alone (RFC 9110 section 14.2).
        let asked = match request.headers.get(header::RANGE) {
            Some(asked) if request.method == Method::GET && conditions::if_range(&request.headers, self.headers) => {
                // Several lines are one list; nobody sends them, and the whole is always right.
                let lone = request.headers.get_all(header::RANGE).iter().count() == 1;
                range::parse(asked.to_str().ok().filter(|_| lone).unwrap_or_default(), length)
            }
            _ => Ranges::Whole,
        };
        match asked {
            Ranges::Whole => self.head(StatusCode::OK)?.write_with(gate, session, self.bytes).await,
            Ranges::Unsatisfiable => {
                let mut head = Head::new(StatusCode::RANGE_NOT_SATISFIABLE)?;
                head.set(header::CONTENT_RANGE, range::unsatisfied_range(length))?;
                head.status(self.status)?;
                head.write(session, Frame::Length(0), true).await
            }
            Ranges::Single(part) => {
                let mut head = self.head(StatusCode::PARTIAL_CONTENT)?;
                head.set(header::CONTENT_RANGE, range::content_range(&part, length))?;
                head.write_with(gate, session, slice(&self.bytes, &part)).await
            }
            Ranges::Several(parts) => self.answer_parts(gate, session, &parts).await,
        }
    }

    /// `multipart/byteranges` (RFC 9110 section 14.6).
    async fn answer_parts(self, gate: &Gate, session: &mut Session, parts: &[std::ops::Range<u64>]) -> Result<()> {
        let boundary = format!("{:032x}", rand::random::<u128>());
        let of_part = |part| {
            let mut lines = format!("\r\n--{boundary}\r\n").into_bytes();
            if let Some(kind) = self.headers.get(header::CONTENT_TYPE) {
                lines.extend_from_slice(b"Content-Type: ");
                lines.extend_from_slice(kind.as_bytes());
                lines.extend_from_slice(b"\r\n");
            }
            let range = range::content_range(part, self.expected.length);
            lines.extend_from_slice(format!("Content-Range: {range}\r\n\r\n").as_bytes());
            Bytes::from(lines)
        };
        let mut pieces = Vec::with_capacity(2 * parts.len() + 1);
        for part in parts {
            pieces.push(of_part(part));
            pieces.push(slice(&self.bytes, part));
        }
        pieces.push(Bytes::from(format!("\r\n--{boundary}--\r\n")));
        let total = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut head = self.head(StatusCode::PARTIAL_CONTENT)?;
        head.set(
            header::CONTENT_TYPE,
            format!("multipart/byteranges; boundary={boundary}"),
        )?;
        head.write(session, Frame::Length(total), false).await?;
        let end = pieces.pop().unwrap_or_default();
        for piece in pieces {
            gate.send(session, piece, false).await?;
        }
        gate.send(session, end, true).await
    }

    fn head(&self, status: StatusCode) -> Result<Head> {
        let mut head = Head::kept(self.headers, &self.expected)?;
        head.set_code(status)?;
        head.status(self.status)?;
        if let Some(age) = self.age {
            head.set(header::AGE, age)?;
        }
        if let Some(seconds) = self.waited {
            head.set(PREFERENCE_APPLIED, format!("wait={seconds}"))?;
        }
        Ok(head)
    }
}

/// A part of the bytes; `range` lies within them.
fn slice(bytes: &Bytes, part: &std::ops::Range<u64>) -> Bytes {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(place(part.start)..place(part.end))
}
