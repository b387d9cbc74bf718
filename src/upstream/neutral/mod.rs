//! Neutral reads: the gate's own requests, with no client input but the path. Only they may accuse the upstream of
//! drift, settle a doubtful upload, or learn what no streamed answer could teach.

mod pace;
mod probe;
mod reader;

use ::http::{HeaderMap, Method, StatusCode};
use futures_util::StreamExt;

use super::{Ask, Framing, Upstream, UpstreamError, judge};
use crate::{
    beside::{Hashing, Lost},
    digest::Digest,
    target::TargetPath,
};

pub(super) use probe::random_name;
pub use probe::{ProbeOutcome, probe};
pub use reader::Reader;

/// What a neutral read found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Neutral {
    /// The whole representation.
    Found {
        /// Its SHA-256.
        digest: Digest,
        /// Its bytes.
        length: u64,
        /// Whether it may be learned by fetch, or the reason why not ([`judge::learnable`]). A path already recorded is
        /// judged by digest and length whatever this says.
        learnable: Result<(), &'static str>,
    },
    /// 404 or 410.
    Missing,
    /// Any other 3xx, 4xx or 5xx.
    Refused(StatusCode),
    /// An answer that proves nothing: a word of [`judge::provable`], or `large`.
    Unverifiable(&'static str),
}

/// Reads a path with the gate's own identity and hashes the whole body, in constant memory. A body of more than `limit`
/// bytes is [`Neutral::Unverifiable`]; one cut short is an error.
pub async fn read(upstream: &dyn Upstream, path: &TargetPath, limit: u64) -> Result<Neutral, UpstreamError> {
    let mut answer = upstream.ask(neutral_ask(path.encoded())).await?;
    match answer.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Neutral::Missing),
        status if !status.is_success() => return Ok(Neutral::Refused(status)),
        _ => {}
    }
    if let Err(reason) = judge::provable(answer.status, &answer.headers, answer.framing) {
        return Ok(Neutral::Unverifiable(reason));
    }
    if matches!(answer.framing, Framing::Length(length) if length > limit) {
        return Ok(Neutral::Unverifiable("large"));
    }
    let (mut hashing, mut length) = (Hashing::default(), 0);
    while let Some(chunk) = answer.body.next().await {
        let chunk = chunk?;
        length += chunk.len() as u64;
        if length > limit {
            return Ok(Neutral::Unverifiable("large"));
        }
        hashing.push(chunk).await;
    }
    let lost = |error: Lost| UpstreamError::Broken(error.to_string());
    let (digest, length) = hashing.finish().await.map_err(lost)?;
    // The seam promises an error for a short body; a record must not rest on that promise alone.
    if matches!(answer.framing, Framing::Length(announced) if announced != length) {
        return Err(UpstreamError::Broken(
            "the body is not as long as its Content-Length".to_owned(),
        ));
    }
    let learnable = judge::learnable(answer.status, &answer.headers, answer.framing);
    Ok(Neutral::Found {
        digest,
        length,
        learnable,
    })
}

/// The only request a neutral read or a probe sends.
pub(super) fn neutral_ask(path: String) -> Ask {
    Ask {
        method: Method::GET,
        path,
        headers: HeaderMap::new(),
        identity: true,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::upstream::memory::{MemoryUpstream, Script};

    async fn found(script: Script, limit: u64) -> Result<Neutral, UpstreamError> {
        let upstream = MemoryUpstream::default();
        upstream.serve("/a%20b", script);
        let seen = read(&upstream, &TargetPath::new("a b").unwrap(), limit).await;
        let asks = upstream.asks();
        assert_eq!(asks.len(), 1);
        assert!(asks[0].identity && asks[0].headers.is_empty() && asks[0].method == Method::GET);
        seen
    }

    fn whole(learnable: Result<(), &'static str>) -> Neutral {
        Neutral::Found {
            digest: Digest::of("artifact"),
            length: 8,
            learnable,
        }
    }

    #[tokio::test]
    async fn whole_bodies_are_hashed_whatever_their_pieces() {
        for framing in [Framing::Length(8), Framing::Chunked] {
            let script = Script::file("artifact").pieces(3).framed(framing);
            assert_eq!(found(script, 8).await.unwrap(), whole(Ok(())));
        }
        let html = Script::file("artifact").header("content-type", "text/html");
        assert_eq!(found(html, 99).await.unwrap(), whole(Err("html")));
    }

    #[tokio::test]
    async fn what_proves_nothing_is_not_found() {
        let file = || Script::file("artifact");
        for (script, reason) in [
            (file().framed(Framing::Close), "unproven"),
            (file().header("content-encoding", "gzip"), "encoded"),
            (file().header("content-range", "bytes 0-7/9"), "partial"),
            (file().header("vary", "cookie"), "varies"),
            (
                Script {
                    status: StatusCode::PARTIAL_CONTENT,
                    ..file()
                },
                "status",
            ),
            (Script::status(StatusCode::NO_CONTENT), "status"),
        ] {
            assert_eq!(found(script, 99).await.unwrap(), Neutral::Unverifiable(reason));
        }
        for framing in [Framing::Length(8), Framing::Chunked] {
            assert_eq!(
                found(file().framed(framing), 7).await.unwrap(),
                Neutral::Unverifiable("large")
            );
        }
    }

    #[tokio::test]
    async fn absence_and_refusal_are_told_apart() {
        for status in [StatusCode::NOT_FOUND, StatusCode::GONE] {
            assert_eq!(found(Script::status(status), 9).await.unwrap(), Neutral::Missing);
        }
        for status in [StatusCode::UNAUTHORIZED, StatusCode::BAD_GATEWAY, StatusCode::FOUND] {
            assert_eq!(
                found(Script::status(status), 9).await.unwrap(),
                Neutral::Refused(status)
            );
        }
    }

    #[tokio::test]
    async fn a_cut_body_is_an_error_never_a_digest() {
        for framing in [Framing::Length(8), Framing::Chunked] {
            found(Script::file("artifact").framed(framing).cut(5), 99)
                .await
                .unwrap_err();
        }
        found(Script::file("artifact").framed(Framing::Length(9)), 99)
            .await
            .unwrap_err();
        found(Script::file("artifact").framed(Framing::Length(7)), 99)
            .await
            .unwrap_err();
    }
}
