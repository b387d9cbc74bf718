//! The access log, and the count of requests.

use std::{fmt::Display, net::IpAddr, time::Instant};

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
