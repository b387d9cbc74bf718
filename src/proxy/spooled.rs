//! Ranges of recorded paths: cut from verified bytes only. The artifact is read whole into the spool, verified, then the
//! range is answered from there; larger than the spool takes: 200, whole, tapped.

use futures_util::StreamExt;
use http::{HeaderMap, Method, StatusCode, header};
use pingora::proxy::Session;

use super::{
    Gate,
    answer::{Frame, Head},
    passing::{Cut, send},
    problem::Problem,
    recorded::Recorded,
    tap::{Expected, Tap},
};
use crate::{
    policy::OnDrift,
    range::{self, Ranges},
    spool::{SpoolError, SpoolFile, Spooled},
    upstream::{Answer, Body},
};

impl Gate {
    /// GET or HEAD with `Range` of a recorded path.
    pub(super) async fn serve_range(&self, session: &mut Session, recorded: &Recorded<'_>) -> Result<(), Cut> {
        let headers = session.req_header().headers.clone();
        let length = recorded.target.length;
        let text = headers
            .get(header::RANGE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        // Range is defined for GET alone (RFC 9110 section 14.2).
        if session.req_header().method != Method::GET {
            return self.serve_recorded(session, recorded).await;
        }
        if recorded.standing.drift.is_some() && recorded.rule.on_drift == OnDrift::Report {
            return self.serve_recorded(session, recorded).await;
        }
        let asked = match range::parse(text, length) {
            Ranges::Whole => return self.serve_recorded(session, recorded).await,
            Ranges::Unsatisfiable => return self.serve_unsatisfiable(session, recorded).await,
            Ranges::Single(asked) => asked,
        };
        // A server may always ignore Range. When others fill the spool, or the disk is full, this reader gets the whole.
        let file = match self.parts().spool.reserve(length).await {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(%error, "a range is answered by the whole artifact");
                return self.serve_recorded(session, recorded).await;
            }
        };
        if recorded.standing.drift.is_some() {
            self.intake().recheck(&recorded.path);
        }
        let answer = self
            .parts()
            .upstream
            .ask(recorded.ask(Method::GET))
            .await
            .map_err(Problem::from)?;
        let Some(answer) = self.pass_unless_ok(session, answer).await? else {
            return Ok(());
        };
        self.judge_head(recorded, &answer, false)?;
        let Answer {
            headers: upstream,
            body,
            ..
        } = answer;
        let copy = self.verified_copy(recorded, file, body).await?;
        let whole = !if_range_holds(&headers, &upstream);
        let part = if whole { 0..length } else { asked };
        let status = if whole {
            StatusCode::OK
        } else {
            StatusCode::PARTIAL_CONTENT
        };
        let mut head = Head::upstream(status, &upstream)?;
        recorded.mark(&mut head)?;
        head.set(header::ACCEPT_RANGES, "bytes")?;
        if !whole {
            head.set(header::CONTENT_RANGE, range::content_range(&part, length))?;
        }
        head.write(session, Frame::Length(part.end - part.start), part.is_empty())
            .await?;
        let mut pieces = std::pin::pin!(copy.read(part));
        while let Some(piece) = pieces.next().await {
            send(session, piece.map_err(|error| Cut::Midway(error.to_string()))?).await?;
        }
        Ok(session.write_response_body(None, true).await?)
    }

    /// No such part. Whether this client may know how long the artifact is, or that there is one, the upstream says.
    async fn serve_unsatisfiable(&self, session: &mut Session, recorded: &Recorded<'_>) -> Result<(), Cut> {
        let ask = recorded.ask(Method::GET);
        let answer = self.parts().upstream.ask(ask).await.map_err(Problem::from)?;
        let Some(answer) = self.pass_unless_ok(session, answer).await? else {
            return Ok(());
        };
        if !if_range_holds(&session.req_header().headers, &answer.headers) {
            return self.serve_recorded(session, recorded).await;
        }
        let mut head = Head::new(StatusCode::RANGE_NOT_SATISFIABLE)?;
        head.set(header::CONTENT_RANGE, range::unsatisfied_range(recorded.target.length))?;
        Ok(head.write(session, Frame::Length(0), true).await?)
    }

    /// Reads the artifact whole and verifies it.
    async fn verified_copy(
        &self,
        recorded: &Recorded<'_>,
        mut file: SpoolFile,
        mut body: Body,
    ) -> Result<Spooled, Problem> {
        let mut tap = Tap::verifying(Expected {
            digest: recorded.target.digest,
            length: recorded.target.length,
        });
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(Problem::from)?;
            tap.push(chunk.clone())
                .map_err(|mismatch| recorded.differs(self, mismatch.into()))?;
            file.write(chunk).await.map_err(|error| spool_problem(&error))?;
        }
        tap.finish()
            .map_err(|mismatch| recorded.differs(self, mismatch.into()))?;
        file.finish().map_err(|error| spool_problem(&error))
    }
}

/// `If-Range` (RFC 9110 section 13.1.5): strong comparison with the upstream's validators; absent, it holds.
fn if_range_holds(request: &HeaderMap, upstream: &HeaderMap) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else {
        return true;
    };
    let validator = match condition.as_bytes().first() {
        Some(b'"') => upstream.get(header::ETAG),
        Some(b'W') if condition.as_bytes().starts_with(b"W/") => None,
        _ => upstream.get(header::LAST_MODIFIED),
    };
    validator.is_some_and(|validator| validator == condition)
}

fn spool_problem(error: &SpoolError) -> Problem {
    let (status, kind) = match error {
        SpoolError::NoSpace { .. } => (StatusCode::INSUFFICIENT_STORAGE, "spool-full"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "spool"),
    };
    tracing::error!(%error, "the spool failed a range request");
    Problem::new(status, kind, error.to_string()).retry(5)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn if_range_compares_strongly() {
        let mut upstream = HeaderMap::new();
        upstream.insert(header::ETAG, HeaderValue::from_static("\"a\""));
        upstream.insert(
            header::LAST_MODIFIED,
            HeaderValue::from_static("Sun, 22 Nov 2026 00:00:00 GMT"),
        );
        let holds = |value: Option<&'static str>| {
            let mut request = HeaderMap::new();
            if let Some(value) = value {
                request.insert(header::IF_RANGE, HeaderValue::from_static(value));
            }
            if_range_holds(&request, &upstream)
        };
        assert!(holds(None));
        assert!(holds(Some("\"a\"")));
        assert!(holds(Some("Sun, 22 Nov 2026 00:00:00 GMT")));
        assert!(!holds(Some("\"b\"")));
        assert!(!holds(Some("W/\"a\"")));
        assert!(!holds(Some("Sat, 21 Nov 2026 00:00:00 GMT")));
    }
}
