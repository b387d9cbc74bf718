//! The access log, and the count of requests.

use std::{fmt::Display, net::IpAddr, time::Instant};

use pingora::{Error, ErrorSource, ErrorType};

use super::Gate;
use crate::terminal::printable;

/// A request that is over.
pub(super) struct Line<'a> {
    pub client: Option<IpAddr>,
    pub method: &'a [u8],
    pub target: &'a [u8],
    pub agent: &'a [u8],
    /// 0 when nothing was answered.
    pub status: u16,
    /// Of the body that was sent.
    pub bytes: usize,
    pub begun: Option<Instant>,
    pub error: Option<&'a dyn Display>,
}

/// Why a request failed, in plain words: the gate's own, or who ended it and how. Pingora's contexts are for its authors.
pub(super) fn reason(error: &Error) -> String {
    use ErrorType::{
        ConnectionClosed, Custom, HTTPStatus, InvalidHTTPHeader, ReadError, ReadTimedout, WriteError, WriteTimedout,
    };
    if let (Custom(_) | HTTPStatus(_), Some(context)) = (error.etype(), &error.context) {
        return context.as_str().to_owned();
    }
    let who = match error.esource() {
        ErrorSource::Upstream => "the upstream",
        ErrorSource::Downstream => "the client",
        ErrorSource::Internal | ErrorSource::Unset => "the gate",
    };
    match error.root_etype() {
        ConnectionClosed | ReadError | WriteError => format!("{who} ended the connection"),
        ReadTimedout | WriteTimedout => format!("{who} took too long"),
        InvalidHTTPHeader => format!("{who} did not speak HTTP"),
        other => format!("{who}: {}", other.as_str()),
    }
}

impl Gate {
    /// Counts a request.
    pub(super) fn count(&self, status: u16) {
        let requests = &self.parts().metrics.requests_total;
        match status {
            200 => requests.with_label_values(&["200"]).inc(),
            status => requests.with_label_values(&[&status.to_string()]).inc(),
        }
    }

    /// Counts a request and writes its line, without the query, which may hold secrets. What the client says in it is
    /// text, which is quoted where lines are not JSON, so that it forges no field.
    pub(super) fn account(&self, line: &Line<'_>) {
        self.count(line.status);
        if !self.config().log.access {
            return;
        }
        let shown = |bytes| printable(&String::from_utf8_lossy(bytes));
        let path = line.target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let (method, path, agent, status) = (shown(line.method), shown(path), shown(line.agent), line.status);
        tracing::info!(
            target: "tufgate::access",
            {
                client.ip = line.client.map(tracing::field::display),
                http.method = method,
                http.path = path,
                http.status = status,
                http.bytes = line.bytes,
                http.agent = agent,
                duration.us = line.begun.map_or(0, |at| at.elapsed().as_micros() as u64),
                error = line.error.map(tracing::field::display),
            },
            "{method} {path} {status}",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_plain_phrase() {
        let cut = Error::explain(ErrorType::Custom("CutShort"), "other bytes were recorded meanwhile");
        assert_eq!(reason(&cut), "other bytes were recorded meanwhile");
        let left = Error::because(
            ErrorType::WriteError,
            "writing body",
            Error::new(ErrorType::ConnectionClosed),
        );
        assert_eq!(reason(&left.into_down()), "the client ended the connection");
        let slow = Error::explain(ErrorType::ReadTimedout, "while reading response headers").into_up();
        assert_eq!(reason(&slow), "the upstream took too long");
        let other = Error::explain(ErrorType::ConnectNoRoute, "x").into_up();
        assert_eq!(reason(&other), "the upstream: ConnectNoRoute");
    }
}
