//! A body as it arrives: bounded in length, in silence, and in how slowly it may come.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::{FetchError, Timeouts, chain};

/// A body as it arrives.
pub struct Stream {
    url: String,
    body: Incoming,
    limit: u64,
    received: u64,
    timeouts: Timeouts,
    /// The window in which `min_rate` is measured ends here …
    window: Instant,
    /// … and began with so many bytes received.
    before: u64,
}

impl Stream {
    pub(super) fn new(url: String, body: Incoming, limit: u64, timeouts: Timeouts) -> Self {
        Self {
            url,
            body,
            limit,
            received: 0,
            window: Instant::now() + timeouts.total,
            before: 0,
            timeouts,
        }
    }

    /// The next piece; `None` at the proven end of the body.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let silence = Instant::now() + self.timeouts.idle;
        loop {
            let Ok(frame) = timeout_at(silence.min(self.window), self.body.frame()).await else {
                if silence <= self.window {
                    return Err(self.too_slow("stalled"));
                }
                self.next_window()?;
                continue;
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| FetchError::Broken {
                url: self.url.clone(),
                detail: chain(&error),
            })?;
            // Trailers, and pieces of nothing, are no sign of life.
            let Ok(piece) = frame.into_data() else { continue };
            if piece.is_empty() {
                continue;
            }
            self.received += piece.len() as u64;
            if self.received > self.limit {
                return Err(FetchError::TooLong {
                    url: self.url.clone(),
                    limit: self.limit,
                });
            }
            if Instant::now() >= self.window {
                self.next_window()?;
            }
            return Ok(Some(piece));
        }
    }

    /// A window that brought too little ends the body: without this, a byte now and then would hold the client for as
    /// long as the sender likes.
    fn next_window(&mut self) -> Result<(), FetchError> {
        let brought = self.received - self.before;
        let due = self
            .timeouts
            .min_rate
            .saturating_mul(whole_seconds(self.timeouts.total));
        if brought < due {
            return Err(self.too_slow("too slow"));
        }
        self.before = self.received;
        self.window = Instant::now() + self.timeouts.total;
        Ok(())
    }

    fn too_slow(&self, what: &'static str) -> FetchError {
        FetchError::Timeout {
            url: self.url.clone(),
            what,
        }
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().max(1)
}
