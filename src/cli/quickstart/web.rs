//! A small HTTP client for the round trip: what `curl` would do, with answers as values.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::timeout;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(40);

/// Asks one server.
pub struct Web {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer, whole or cut.
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// What came of its body.
    pub body: Vec<u8>,
    /// Its body did not come whole.
    pub cut: bool,
}

impl Reply {
    /// The value of `Tufgate-Status`.
    pub fn tufgate_status(&self) -> &str {
        self.headers
            .get("tufgate-status")
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }
}

impl Web {
    /// For the server at `base`, without a slash at the end.
    pub fn new(base: &str) -> Self {
        Self {
            base: base.to_owned(),
            // Connections are not kept: a gate that was killed must not be asked over a dead one.
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build_http(),
        }
    }

    /// GET; `path` encoded, with leading `/`.
    pub async fn get(&self, path: &str) -> Result<Reply, String> {
        self.ask(Method::GET, path, &[], Bytes::new()).await
    }

    /// GET that waits until the target is in a published snapshot (`Prefer: wait`, RFC 7240).
    pub async fn get_signed(&self, path: &str) -> Result<Reply, String> {
        self.ask(Method::GET, path, &[("prefer", "wait=30")], Bytes::new())
            .await
    }

    /// PUT.
    pub async fn put(&self, path: &str, body: Bytes) -> Result<Reply, String> {
        self.ask(Method::PUT, path, &[], body).await
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Reply, String> {
        let mut request = Request::builder().method(&method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let failed = |why: &dyn std::fmt::Display| format!("{method} {}{path}: {why}", self.base);
        timeout(PATIENCE, async {
            let answer = self
                .client
                .request(request)
                .await
                .map_err(|error| failed(&deepest(&error)))?;
            let (head, mut body) = answer.into_parts();
            let mut reply = Reply {
                status: head.status,
                headers: head.headers,
                body: Vec::new(),
                cut: false,
            };
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => reply.body.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                    Err(_) => {
                        reply.cut = true;
                        break;
                    }
                }
            }
            Ok(reply)
        })
        .await
        .unwrap_or_else(|_| Err(failed(&format_args!("no answer within {PATIENCE:?}"))))
    }
}

/// The innermost cause: hyper's own words are `client error (Connect)`.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}
