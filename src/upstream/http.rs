//! The upstream over HTTP/1.1.
//!
//! It sends what the gate itself could have written: fixed headers, the given ones beside them, nothing hop-by-hop. It
//! follows redirects where the operator allows, and takes no credential along to another server.

use std::{sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::Empty;
use url::{Position, Url};

use super::{
    Answer, Ask, Body, Framing, Upstream, UpstreamError,
    framing::{framing_of, strip_hop_by_hop},
    pool::{Flowing, Pool, broken},
    redirect::{Hop, MAX_REDIRECTS, Origin, Redirects, Trust, refused, shown},
    secure::{Authorities, Secure},
};
use crate::config::UpstreamConfig;

/// A redirect's body up to this size is read to its end, so that the connection can be used again.
const DRAINED: u64 = 16 * 1024;

/// What may follow a redirect to another server: nothing that tells who asks.
const ANONYMOUS: [header::HeaderName; 4] = [
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::RANGE,
];

/// The configured artifact server.
pub struct HttpUpstream {
    redirects: Redirects,
    /// The URL's path without its last `/`: put before every path.
    base: String,
    identity: Option<HeaderValue>,
    preserve_host: bool,
    io_timeout: Duration,
    pool: Arc<Pool>,
}

impl HttpUpstream {
    /// Checks the configuration; connects to nothing yet. Errors say what cannot be used: another scheme than `http` and
    /// `https`, a URL with credentials or a query, a `redirect_hosts` entry, an identity that is no header value.
    pub fn new(config: &UpstreamConfig, authorities: &Authorities) -> Result<Self, UpstreamError> {
        let url = &config.url;
        let unusable = |why: &str| UpstreamError::Connect(format!("{}: {why}", shown(url)));
        if !matches!(url.scheme(), "http" | "https") {
            return Err(unusable("only http:// and https:// upstreams are supported"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(unusable(
                "the URL must hold no credentials and no query; use [upstream.identity]",
            ));
        }
        let home = Origin::of(url).ok_or_else(|| unusable("the URL has no host"))?;
        let identity = config
            .identity
            .as_ref()
            .map(|secret| HeaderValue::from_str(&secret.0))
            .transpose();
        let mut identity = identity.map_err(|_| unusable("[upstream.identity] is not a header value"))?;
        if let Some(value) = &mut identity {
            value.set_sensitive(true);
        }
        let secure = Secure::new(authorities).map_err(|error| unusable(&error.to_string()))?;
        Ok(Self {
            redirects: Redirects::new(home, &config.redirect_hosts)?,
            base: url.path().trim_end_matches('/').to_owned(),
            identity,
            preserve_host: config.preserve_host,
            io_timeout: config.io_timeout,
            pool: Pool::new(secure, config.connect_timeout, config.io_timeout),
        })
    }

    /// The headers of a request to the upstream itself. The fixed ones win over the given ones.
    fn headers(&self, ask: &Ask) -> Result<HeaderMap, UpstreamError> {
        let mut headers = ask.headers.clone();
        strip_hop_by_hop(&mut headers);
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if !(self.preserve_host && headers.contains_key(header::HOST)) {
            headers.insert(header::HOST, host(self.redirects.home())?);
        }
        if let (true, Some(identity)) = (ask.identity, &self.identity) {
            headers.entry(header::AUTHORIZATION).or_insert_with(|| identity.clone());
        }
        Ok(headers)
    }

    fn first(&self, path: &str) -> Result<Hop, UpstreamError> {
        let origin = self.redirects.home().clone();
        let url = Url::parse(&format!("{}{}{path}", origin.shown(), self.base));
        let url = url.map_err(|error| UpstreamError::Broken(format!("`{path}` cannot be asked for: {error}")))?;
        Ok(Hop {
            url,
            origin,
            trust: Trust::Home,
        })
    }

    async fn answer(
        &self,
        method: &Method,
        response: Response<Flowing>,
        redirected: bool,
    ) -> Result<Answer, UpstreamError> {
        let (mut head, flowing) = response.into_parts();
        let framing = framing_of(method, head.status, &head.headers)?;
        strip_hop_by_hop(&mut head.headers);
        let body = frames(flowing, self.io_timeout);
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            redirected,
            framing,
            body,
        })
    }
}

const USER_AGENT: &str = concat!("tufgate/", env!("CARGO_PKG_VERSION"));

#[async_trait]
impl Upstream for HttpUpstream {
    async fn ask(&self, ask: Ask) -> Result<Answer, UpstreamError> {
        self.exchange(ask, true).await
    }

    async fn ask_itself(&self, ask: Ask) -> Result<Answer, UpstreamError> {
        self.exchange(ask, false).await
    }
}

impl HttpUpstream {
    /// Sends a request and, where told to, those that redirects lead to.
    async fn exchange(&self, ask: Ask, follow: bool) -> Result<Answer, UpstreamError> {
        let mut headers = self.headers(&ask)?;
        let mut hop = self.first(&ask.path)?;
        // The path goes out byte by byte as given; only a redirect's is what the `url` crate makes of it.
        let mut target = format!("{}{}", self.base, ask.path);
        for redirects in 0..=MAX_REDIRECTS {
            let request = request(&ask.method, &target, headers.clone())?;
            let response = self.pool.send(&hop.origin, hop.trust, request).await?;
            let Some(location) = location(&response).filter(|_| follow) else {
                return self.answer(&ask.method, response, redirects > 0).await;
            };
            let next = self.redirects.next(&hop.url, &location)?;
            drain(&ask.method, response, self.io_timeout).await;
            if next.trust != Trust::Home {
                // For good: a way back home must not bring the credentials back.
                headers = anonymous(&headers);
            }
            headers.insert(header::HOST, host_after(&headers, &hop, &next)?);
            next.url[Position::BeforePath..Position::AfterQuery].clone_into(&mut target);
            hop = next;
        }
        Err(refused(shown(&hop.url), "more than 5 redirects"))
    }
}

fn request(method: &Method, target: &str, headers: HeaderMap) -> Result<Request<Empty<Bytes>>, UpstreamError> {
    let path = PathAndQuery::try_from(target)
        .map_err(|error| UpstreamError::Broken(format!("`{target}` cannot be asked for: {error}")))?;
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method.clone();
    *request.uri_mut() = Uri::from(path);
    *request.headers_mut() = headers;
    Ok(request)
}

/// Where a redirect leads; a 3xx without Location is an answer like any other.
fn location(response: &Response<Flowing>) -> Option<HeaderValue> {
    let follows = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    follows
        .then(|| response.headers().get(header::LOCATION).cloned())
        .flatten()
}

fn host(origin: &Origin) -> Result<HeaderValue, UpstreamError> {
    let authority = origin.authority();
    HeaderValue::from_str(&authority).map_err(|_| UpstreamError::Connect(format!("`{authority}` is no Host")))
}

/// A preserved Host stays as long as the server does.
fn host_after(headers: &HeaderMap, from: &Hop, to: &Hop) -> Result<HeaderValue, UpstreamError> {
    match headers.get(header::HOST) {
        Some(same) if from.origin == to.origin => Ok(same.clone()),
        _ => host(&to.origin),
    }
}

fn anonymous(headers: &HeaderMap) -> HeaderMap {
    let fixed = [header::ACCEPT, header::ACCEPT_ENCODING, header::USER_AGENT];
    headers
        .iter()
        .filter(|(name, _)| ANONYMOUS.contains(name) || fixed.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

async fn drain(method: &Method, response: Response<Flowing>, silence: Duration) {
    let framing = framing_of(method, response.status(), response.headers());
    if matches!(framing, Ok(Framing::Length(length)) if length <= DRAINED) {
        // Whether it ends well or not only decides whether the connection is kept.
        let mut body = response.into_body();
        let rest = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = tokio::time::timeout(silence, rest).await;
    }
}

/// The data frames, each within `silence` of being waited for. hyper reports a body cut short as an error.
fn frames(flowing: Flowing, silence: Duration) -> Body {
    Box::pin(stream::unfold(Some(flowing), move |flowing| async move {
        let mut flowing = flowing?;
        loop {
            return match tokio::time::timeout(silence, flowing.frame()).await {
                Err(_) => Some((Err(UpstreamError::Timeout("body")), None)),
                Ok(None) => None,
                Ok(Some(Err(error))) => Some((Err(broken(&error)), None)),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => Some((Ok(bytes), Some(flowing))),
                    Err(_trailers) => continue,
                },
            };
        }
    }))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
