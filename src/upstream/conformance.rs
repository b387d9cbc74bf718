//! What every [`Upstream`] must do alike.
#![expect(clippy::unwrap_used, reason = "tests")]

use ::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{Answer, Ask, Framing, Upstream, UpstreamError, memory::Script};

/// An upstream and the means to script it.
pub trait Stage {
    fn serve(&self, path: &str, script: Script);
    fn upstream(&self) -> &dyn Upstream;
}

/// Asks without headers.
pub async fn ask(upstream: &dyn Upstream, method: Method, path: &str) -> Result<Answer, UpstreamError> {
    let ask = Ask {
        method,
        path: path.to_owned(),
        headers: HeaderMap::new(),
        identity: false,
    };
    upstream.ask(ask).await
}

/// What arrived, and what it ended with.
pub async fn read(mut answer: Answer) -> (Vec<u8>, Result<(), UpstreamError>) {
    let mut bytes = Vec::new();
    while let Some(frame) = answer.body.next().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(&frame),
            Err(error) => {
                assert!(answer.body.next().await.is_none(), "an error is the end");
                return (bytes, Err(error));
            }
        }
    }
    (bytes, Ok(()))
}

/// Runs every case.
pub async fn run(stage: &dyn Stage) {
    whole_bodies(stage).await;
    cut_bodies(stage).await;
    heads(stage).await;
}

async fn whole_bodies(stage: &dyn Stage) {
    let big = vec![7; 300_000];
    for (body, size) in [(&b"artifact"[..], 3), (&big[..], 70_000), (&b""[..], 1)] {
        for framing in [Framing::Length(body.len() as u64), Framing::Chunked, Framing::Close] {
            stage.serve("/whole", Script::file(body.to_vec()).pieces(size).framed(framing));
            // Twice, since a connection may be used again.
            for _ in 0..2 {
                let answer = ask(stage.upstream(), Method::GET, "/whole").await.unwrap();
                assert_eq!((answer.status, answer.framing), (StatusCode::OK, framing));
                let (bytes, end) = read(answer).await;
                assert!(end.is_ok() && bytes == body, "{framing:?}: {end:?}");
            }
        }
    }
}

async fn cut_bodies(stage: &dyn Stage) {
    for framing in [Framing::Length(8), Framing::Chunked] {
        for after in [0, 3, 7] {
            stage.serve("/cut", Script::file("artifact").framed(framing).cut(after));
            let (bytes, end) = read(ask(stage.upstream(), Method::GET, "/cut").await.unwrap()).await;
            assert!(
                matches!(end, Err(UpstreamError::Broken(_))),
                "{framing:?} cut after {after}: {end:?}"
            );
            assert!(b"artifact"[..after].starts_with(&bytes));
        }
    }
    stage.serve("/short", Script::file("artifact").framed(Framing::Length(9)));
    let (bytes, end) = read(ask(stage.upstream(), Method::GET, "/short").await.unwrap()).await;
    assert_eq!(bytes, b"artifact");
    assert!(matches!(end, Err(UpstreamError::Broken(_))), "{end:?}");
}

async fn heads(stage: &dyn Stage) {
    stage.serve(
        "/head",
        Script::file(Bytes::from_static(b"artifact"))
            .header("etag", "\"x\"")
            .header("vary", "a"),
    );
    let answer = ask(stage.upstream(), Method::HEAD, "/head").await.unwrap();
    assert_eq!((answer.status, answer.framing), (StatusCode::OK, Framing::Length(8)));
    assert_eq!(
        (&answer.headers["etag"], &answer.headers["vary"]),
        (&"\"x\"".parse().unwrap(), &"a".parse().unwrap())
    );
    assert_eq!(answer.headers["content-length"], "8");
    assert!(read(answer).await.0.is_empty());

    let missing = ask(stage.upstream(), Method::GET, "/missing").await.unwrap();
    assert_eq!(
        (missing.status, missing.framing),
        (StatusCode::NOT_FOUND, Framing::Length(0))
    );
    for status in [
        StatusCode::FORBIDDEN,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::NOT_MODIFIED,
    ] {
        stage.serve("/status", Script::status(status));
        assert_eq!(
            ask(stage.upstream(), Method::GET, "/status").await.unwrap().status,
            status
        );
    }
}
