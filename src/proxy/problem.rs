//! The gate's own error answers: `application/problem+json` (RFC 9457), each with a stable type. The one place where
//! errors become HTTP.

use http::StatusCode;
use pingora::{Error, ErrorSource, ErrorType};

use crate::{
    beside::Lost,
    digest::Mismatch,
    intake::{Refusal, UploadRefused},
    ledger::LedgerError,
    upstream::UpstreamError,
};

/// An error answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{status} {kind}: {detail}")]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// The end of the `type` URI: `urn:tufgate:problem:<kind>`.
    pub kind: &'static str,
    /// What happened, for people; never a credential or another client's data.
    pub detail: String,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// What to do about it, for people.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without `Retry-After`.
    pub fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            detail: detail.into(),
            retry_after: None,
            hint: None,
        }
    }

    /// The same, to be tried again after so many seconds.
    pub fn retry(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same, with what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The JSON body.
    pub fn body(&self) -> Vec<u8> {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = serde_json::json!({
            "type": format!("urn:tufgate:problem:{}", self.kind),
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(hint) = &self.hint {
            body["hint"] = hint.as_str().into();
        }
        body.to_string().into_bytes()
    }

    /// A name that cannot be recorded under a tracked prefix.
    pub fn name(why: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "name",
            format!("the path has no canonical form: {why}"),
        )
    }

    /// What the client hears of an error of Pingora's; nothing when it is gone.
    pub(super) fn of(error: &Error) -> Option<Self> {
        use ErrorType::{
            ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, ConnectionClosed, HTTPStatus, InvalidCert,
            ReadError, ReadTimedout, TLSHandshakeFailure, TLSHandshakeTimedout, WriteError, WriteTimedout,
        };
        let (status, kind) = match (error.etype(), error.esource()) {
            (HTTPStatus(code), _) => (*code, "refused"),
            (ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout, ErrorSource::Upstream) => {
                (504, "upstream-timeout")
            }
            (
                ConnectError | ConnectRefused | ConnectNoRoute | InvalidCert | TLSHandshakeFailure,
                ErrorSource::Upstream,
            ) => (502, "upstream-unreachable"),
            (_, ErrorSource::Upstream) => (502, "upstream-broken"),
            (ReadTimedout, ErrorSource::Downstream) => (408, "client-timeout"),
            (ReadError | WriteError | WriteTimedout | ConnectionClosed, ErrorSource::Downstream) => return None,
            (_, ErrorSource::Downstream) => (400, "request"),
            _ => (500, "internal"),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let words = match kind {
            "upstream-unreachable" => "the upstream cannot be reached",
            "upstream-timeout" => "the upstream did not answer in time",
            "upstream-broken" => "the upstream's answer broke",
            "client-timeout" => "the request did not come in time",
            _ => "the request failed",
        };
        Some(Self::new(status, kind, format!("{words} ({})", error.etype().as_str())))
    }

    /// The upstream's bytes are confirmed to differ from the record.
    pub fn drift() -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "drift",
            "the upstream's bytes are not those recorded for this path",
        )
    }

    /// An answer that cannot be judged.
    pub fn unverifiable(reason: &str) -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "unverifiable",
            format!("the upstream's answer cannot be verified: {reason}"),
        )
    }

    /// An operator withdrew the path.
    pub fn retracted() -> Self {
        Self::new(StatusCode::GONE, "retracted", "this path was retracted")
    }
}

impl From<Mismatch> for Problem {
    fn from(mismatch: Mismatch) -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "mismatch",
            format!("the upstream's bytes are not those recorded for this path: {mismatch}"),
        )
    }
}

impl From<Lost> for Problem {
    fn from(lost: Lost) -> Self {
        tracing::error!(error = %lost, "a body could not be hashed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", lost.to_string())
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        tracing::error!(%error, "the ledger failed a request");
        match error {
            LedgerError::Full { .. } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "ledger-full",
                "the ledger has no space left",
            )
            .retry(30),
            _ => Self::new(StatusCode::SERVICE_UNAVAILABLE, "ledger", "the ledger cannot be used").retry(5),
        }
    }
}

impl From<UpstreamError> for Problem {
    fn from(error: UpstreamError) -> Self {
        let (status, kind) = match &error {
            UpstreamError::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "upstream-timeout"),
            UpstreamError::Connect(_) => (StatusCode::BAD_GATEWAY, "upstream-unreachable"),
            UpstreamError::Redirect { .. } => (StatusCode::BAD_GATEWAY, "upstream-redirect"),
            UpstreamError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            _ => (StatusCode::BAD_GATEWAY, "upstream-broken"),
        };
        Self::new(status, kind, error.to_string())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rate => Self::new(StatusCode::TOO_MANY_REQUESTS, "rate", refusal.to_string()).retry(60),
            Refusal::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", refusal.to_string()).retry(2),
            Refusal::BinFull | Refusal::NameOrder | Refusal::Quota => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, refusal.label(), refusal.to_string())
            }
        }
    }
}

impl From<UploadRefused> for Problem {
    fn from(refused: UploadRefused) -> Self {
        match refused {
            UploadRefused::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", refused.to_string()).retry(2),
            UploadRefused::Conflict(conflict) => Self::new(StatusCode::CONFLICT, "conflict", conflict.to_string()),
            UploadRefused::Ledger(error) => error.into(),
        }
    }
}
