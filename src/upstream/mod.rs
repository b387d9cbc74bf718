//! The gate's own requests upstream: neutral reads, and clients' reads of tracked paths reduced to what the gate could
//! have written itself. Uploads and untracked traffic go through the proxy, never through here.

mod connect;
mod framing;
pub mod http;
pub mod judge;
pub mod memory;
pub mod neutral;
mod pool;
mod redirect;
pub mod secure;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod wire;

use std::pin::Pin;

use ::http::{HeaderMap, Method, StatusCode};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

pub(crate) use self::framing::strip_hop_by_hop;

/// A request to the upstream.
#[derive(Clone, Debug)]
pub struct Ask {
    /// GET or HEAD.
    pub method: Method,
    /// Path in canonical encoding with a leading `/`; and a query only where the policy allows one.
    pub path: String,
    /// Headers beside the gate's fixed ones: conditionals, a client's credentials. Empty for a neutral read.
    pub headers: HeaderMap,
    /// Use the gate's own credential (`[upstream.identity]`).
    pub identity: bool,
}

/// How an answer's end is known (RFC 9112 section 6.3); of a HEAD's answer, how the GET's would be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// Chunked coding: its end is proven.
    Chunked,
    /// Until the connection closes: its end cannot be told from a cut.
    Close,
    /// Content-Length: its end is proven.
    Length(u64),
}

/// A body as it arrives; ends with an error when it is cut short.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, UpstreamError>> + Send>>;

/// The upstream's final answer, redirects followed.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, hop-by-hop ones removed.
    pub headers: HeaderMap,
    /// A redirect led to it: it may be about something else, such as how to log in.
    pub redirected: bool,
    /// How its end is known.
    pub framing: Framing,
    /// Its body.
    pub body: Body,
}

/// A request that got no usable answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// No connection.
    #[error("the upstream cannot be reached: {0}")]
    Connect(String),
    /// The connection broke, or what came is not HTTP.
    #[error("the upstream's answer broke: {0}")]
    Broken(String),
    /// A redirect that may not be followed.
    #[error("the upstream redirects to {to}: {why}")]
    Redirect {
        /// Where to, without query (it may hold a signature).
        to: String,
        /// Why it is not followed.
        why: String,
    },
    /// Nothing in time.
    #[error("the upstream did not answer in time ({0})")]
    Timeout(&'static str),
    /// Too many requests of the gate's own wait already.
    #[error("too many requests to the upstream are waiting")]
    Busy,
}

/// The unmodified artifact server.
#[async_trait]
pub trait Upstream: Send + Sync {
    /// Sends a request: fixed Host, `Accept: */*`, `Accept-Encoding: identity`, the gate's `User-Agent`; follows
    /// redirects as configured (credentials never cross hosts).
    async fn ask(&self, ask: Ask) -> Result<Answer, UpstreamError>;

    /// The same without following a redirect: a 3xx is the answer. Where an answer decides who may read, one from
    /// elsewhere, such as a page to log in, must not count.
    ///
    /// An upstream that does not say how it does that is not asked.
    async fn ask_itself(&self, _: Ask) -> Result<Answer, UpstreamError> {
        Err(UpstreamError::Broken(
            "it cannot be asked without following redirects".to_owned(),
        ))
    }
}
