//! Readers in a hurry: a recorded artifact that is verified, fresh and in memory, asked for by an anonymous client. One
//! look-up by the raw request target, no question to ledger, disk or upstream.
//!
//! An entry holds until something recorded was overturned (`Intake::epoch`), the path was written to through this gate, or the
//! upstream's answer is no longer fresh; whatever is special about a request sends it the long way.

use std::{collections::HashSet, sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, Method, header};
use pingora::{Result, proxy::Session};

use super::{Gate, answer::Head, headers::Status, kept::Kept, memory::Held};
use crate::config::UpstreamConfig;

/// A target that is ready.
pub(super) struct Hit {
    pub held: Arc<Held>,
    pub body: Bytes,
    /// The body is a mapped file's.
    pub mapped: bool,
    /// Head of a plain 200 as HTTP/1 writes it, but for `Age`, `Date` and `Tufgate-Status`.
    pub wire: Bytes,
    epoch: u64,
}

impl Hit {
    /// `epoch` as it was before the ledger was asked.
    pub(super) fn new(held: Arc<Held>, body: Bytes, mapped: bool, epoch: u64) -> Result<Self> {
        let mut head = Head::kept(&held.headers, &held.expected)?.into_inner();
        head.insert_header(header::CONTENT_LENGTH, body.len())?;
        head.remove_header(&header::DATE);
        let mut wire = BytesMut::new();
        head.header_to_h1_wire(&mut wire);
        Ok(Self {
            held,
            body,
            mapped,
            wire: wire.freeze(),
            epoch,
        })
    }

    /// Bytes of memory it keeps busy, headers apart. A mapping costs none, but an entry does.
    pub(super) fn weight(&self) -> usize {
        1024 + self.body.len()
    }
}

/// Request headers whose presence sends a request the long way.
pub(super) struct Special(HashSet<HeaderName>);

impl Special {
    pub(super) fn new(upstream: &UpstreamConfig) -> Self {
        let mut names: HashSet<_> = upstream.credential_headers.iter().cloned().collect();
        names.insert(HeaderName::from_static("prefer"));
        if upstream.preserve_host {
            names.insert(header::HOST);
        }
        Self(names)
    }

    fn any(&self, headers: &HeaderMap) -> bool {
        headers.keys().any(|name| self.0.contains(name))
    }

    /// The same for a name as it was written.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.0
            .iter()
            .any(|known| known.as_str().as_bytes().eq_ignore_ascii_case(name))
    }
}

impl Gate {
    /// The age of an entry that still holds.
    pub(super) fn still(&self, hit: &Hit, now: Instant) -> Option<u64> {
        let holds = hit.epoch == self.intake().epoch() && hit.held.is_fresh(now);
        holds.then(|| hit.held.age(now))
    }

    /// Answers a request for a target that is ready; `false` when it has to go the long way.
    pub(super) async fn serve_hot(&self, session: &mut Session) -> Result<bool> {
        let request = session.req_header();
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Ok(false);
        }
        let Some(hit) = self.memory().hit(request.raw_path()) else {
            return Ok(false);
        };
        let Some(age) = self.still(&hit, Instant::now()) else {
            return Ok(false);
        };
        if self.0.reads.special.any(&request.headers) {
            return Ok(false);
        }
        let kept = Kept {
            headers: &hit.held.headers,
            expected: hit.held.expected,
            bytes: hit.body.clone(),
            status: Status::Signed(self.parts().catalog.snapshot_version()),
            age: Some(age),
            waited: None,
        };
        kept.answer(self, session).await.map(|()| true)
    }
}
