//! An upstream of scripted answers, for tests and embedding.

use std::{collections::HashMap, sync::Arc};

use ::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::Semaphore;

use super::{Answer, Ask, Framing, Upstream, UpstreamError};

/// One scripted answer.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its status.
    pub status: StatusCode,
    /// Its headers; Content-Length follows from the framing.
    pub headers: HeaderMap,
    /// How its end is known.
    pub framing: Framing,
    /// Its body.
    pub chunks: Vec<Bytes>,
    /// What the body ends with instead of its end.
    pub failure: Option<UpstreamError>,
    /// The answer takes a permit first: for tests that need a request in flight.
    pub gate: Option<Arc<Semaphore>>,
}

impl Script {
    /// A 200 with Content-Length.
    pub fn file(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            framing: Framing::Length(bytes.len() as u64),
            chunks: vec![bytes],
            failure: None,
            gate: None,
        }
    }

    /// An answer without a body.
    pub fn status(status: StatusCode) -> Self {
        Self {
            status,
            ..Self::file(Bytes::new())
        }
    }

    /// With a header; one that cannot be written is left out.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }

    /// With another framing.
    pub fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// With its body in pieces of at most `size` bytes (at least 1).
    pub fn pieces(mut self, size: usize) -> Self {
        let whole: Vec<u8> = self.chunks.concat();
        self.chunks = whole.chunks(size.max(1)).map(Bytes::copy_from_slice).collect();
        self
    }

    /// Cut after `length` bytes of its body.
    pub fn cut(mut self, length: usize) -> Self {
        let mut whole = self.chunks.concat();
        whole.truncate(length);
        self.chunks = vec![whole.into()];
        self.failure = Some(UpstreamError::Broken("cut".to_owned()));
        self
    }

    /// Held until `gate` has a permit, which it takes for good.
    pub fn held(mut self, gate: &Arc<Semaphore>) -> Self {
        self.gate = Some(Arc::clone(gate));
        self
    }
}

/// Scripted answers by path, with a record of what was asked. Other paths are 404.
#[derive(Default)]
pub struct MemoryUpstream {
    scripts: std::sync::Mutex<HashMap<String, Result<Script, UpstreamError>>>,
    asks: std::sync::Mutex<Vec<Ask>>,
}

impl MemoryUpstream {
    /// Answers `path` (canonical encoding, leading `/`) by `script` from now on.
    pub fn serve(&self, path: &str, script: Script) {
        lock(&self.scripts).insert(path.to_owned(), Ok(script));
    }

    /// Fails requests for `path` from now on.
    pub fn fail(&self, path: &str, error: UpstreamError) {
        lock(&self.scripts).insert(path.to_owned(), Err(error));
    }

    /// What was asked, in order.
    pub fn asks(&self) -> Vec<Ask> {
        lock(&self.asks).clone()
    }
}

#[async_trait]
impl Upstream for MemoryUpstream {
    async fn ask(&self, ask: Ask) -> Result<Answer, UpstreamError> {
        let script = lock(&self.scripts).get(&ask.path).cloned();
        lock(&self.asks).push(ask.clone());
        let mut script = script.unwrap_or_else(|| Ok(Script::status(StatusCode::NOT_FOUND)))?;
        if let Some(gate) = &script.gate
            && let Ok(permit) = gate.acquire().await
        {
            permit.forget();
        }
        if let Framing::Length(length) = script.framing {
            script.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let sent: u64 = script.chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let mut frames: Vec<_> = script
            .chunks
            .into_iter()
            .filter(|chunk| !chunk.is_empty())
            .map(Ok)
            .collect();
        match (script.framing, script.failure) {
            (_, Some(failure)) => frames.push(Err(failure)),
            (Framing::Length(length), None) if sent < length => {
                frames.push(Err(UpstreamError::Broken("shorter than its Content-Length".to_owned())));
            }
            _ => {}
        }
        if ask.method == Method::HEAD {
            frames.clear();
        }
        Ok(Answer {
            redirected: false,
            status: script.status,
            headers: script.headers,
            framing: script.framing,
            body: Box::pin(stream::iter(frames)),
        })
    }

    /// It follows no redirect in the first place.
    async fn ask_itself(&self, ask: Ask) -> Result<Answer, UpstreamError> {
        self.ask(ask).await
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{super::conformance, *};

    struct Memory(MemoryUpstream);

    impl conformance::Stage for Memory {
        fn serve(&self, path: &str, script: Script) {
            self.0.serve(path, script);
        }

        fn upstream(&self) -> &dyn Upstream {
            &self.0
        }
    }

    #[tokio::test]
    async fn conforms() {
        conformance::run(&Memory(MemoryUpstream::default())).await;
    }

    #[tokio::test]
    async fn asks_are_recorded_and_failures_scripted() {
        let upstream = MemoryUpstream::default();
        upstream.fail("/a", UpstreamError::Timeout("header"));
        let ask = Ask {
            method: Method::GET,
            path: "/a".to_owned(),
            headers: HeaderMap::new(),
            identity: true,
        };
        assert!(matches!(upstream.ask(ask).await, Err(UpstreamError::Timeout("header"))));
        assert_eq!(
            upstream
                .asks()
                .iter()
                .map(|ask| (&*ask.path, ask.identity))
                .collect::<Vec<_>>(),
            [("/a", true)]
        );
    }
}
