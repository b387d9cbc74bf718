//! How long a slow client may hold on to what it holds.
//!
//! `[gate] min_rate` is the least that must come or go, in bytes a second; where it is 0, `client_timeout` bounds each
//! silence. By HTTP/2 a piece may wait for others on its connection, so it has `client_timeout` at least; what Pingora itself
//! streams there has just that, since it knows no rate and asks nobody between two writes.

use std::time::Duration;

use bytes::Bytes;
use pingora::{Result, proxy::Session};

use super::{Gate, GateCtx};

/// Most bytes of a body that are given to Pingora, or to a socket, at a time: patience is for one write, however long that
/// is.
pub(crate) const PIECE: usize = 256 << 10;

impl Gate {
    /// Longest that this many bytes may take a client.
    pub(super) fn patience(&self, bytes: usize) -> Duration {
        let gate = &self.config().gate;
        let millis = (bytes as u64 * 1000).checked_div(gate.min_rate.into());
        millis.map_or(gate.client_timeout, |millis| {
            Duration::from_millis(millis).max(Duration::from_secs(1))
        })
    }

    /// Bounds what a slow client can hold.
    pub(super) fn limit(&self, session: &mut Session) {
        let gate = &self.config().gate;
        let downstream = session.as_downstream_mut();
        downstream.set_read_timeout(Some(gate.client_timeout));
        downstream.set_write_timeout(Some(gate.client_timeout));
        downstream.set_total_drain_timeout(Some(gate.client_timeout));
        if gate.min_rate > 0 {
            downstream.set_min_send_rate(Some(gate.min_rate as usize));
        }
    }

    /// Whether a body trickles in below the least rate; silence has a limit of its own.
    pub(super) fn too_slow(&self, ctx: &GateCtx) -> bool {
        let gate = &self.config().gate;
        let elapsed = ctx.started.map_or_else(Default::default, |at| at.elapsed());
        elapsed > gate.client_timeout && ctx.received < u64::from(gate.min_rate) * elapsed.as_secs()
    }

    /// Writes the next bytes of a body, if any: none at all would end a chunked one. Ends it where this is the `end`.
    pub(super) async fn send(&self, session: &mut Session, mut body: Bytes, end: bool) -> Result<()> {
        if end && body.is_empty() {
            return session.write_response_body(None, true).await;
        }
        while !body.is_empty() {
            let piece = body.split_to(body.len().min(PIECE));
            // For HTTP/2; by HTTP/1 the rate that `limit` sets goes before.
            let patience = self.patience(piece.len()).max(self.config().gate.client_timeout);
            session.as_downstream_mut().set_write_timeout(Some(patience));
            session.write_response_body(Some(piece), end && body.is_empty()).await?;
        }
        Ok(())
    }
}
