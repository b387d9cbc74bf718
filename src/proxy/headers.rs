//! Header rules: what of a client's request reaches the upstream on a tracked path, and what the gate adds to answers.

use base64ct::{Base64, Encoding};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{config::UpstreamConfig, digest::Digest};

/// How a target stands, as `Tufgate-Status` says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// Confirmed drift, passed on because the policy reports only.
    Drift,
    /// Recorded, not yet in a published snapshot.
    Pending,
    /// In the snapshot with this version.
    Signed(u64),
    /// Not recorded.
    Untracked,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Drift => f.write_str("drift"),
            Self::Pending => f.write_str("pending"),
            Self::Signed(snapshot) => write!(f, "signed; snapshot={snapshot}"),
            Self::Untracked => f.write_str("untracked"),
        }
    }
}

/// The header that carries a [`Status`].
pub const TUFGATE_STATUS: HeaderName = HeaderName::from_static("tufgate-status");

/// `Repr-Digest` (RFC 9530).
pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// `Preference-Applied` (RFC 7240).
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The value of [`REPR_DIGEST`]: a structured-field dictionary with one byte sequence.
pub fn repr_digest(digest: &Digest) -> HeaderValue {
    let text = format!("sha-256=:{}:", Base64::encode_string(digest.as_bytes()));
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Conditions that go upstream.
const CONDITIONS: [HeaderName; 2] = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];

/// What a client's conditions and credentials make of a read.
#[derive(Debug, Default)]
pub struct Forwarded {
    /// Headers that go upstream.
    pub headers: HeaderMap,
    /// It has conditions among them.
    conditions: bool,
    /// It has credentials among them, or a Host of the client's choosing, which may choose other bytes.
    credentials: bool,
}

impl Forwarded {
    /// The gate could have written this request itself: only then may its answer teach or accuse.
    pub fn own(&self) -> bool {
        !(self.conditions || self.credentials)
    }

    /// The client has something already, and says what.
    pub fn conditional(&self) -> bool {
        self.conditions
    }

    /// The headers without the conditions.
    pub fn credentials(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        for condition in CONDITIONS {
            headers.remove(condition);
        }
        headers
    }

    /// The upstream cannot tell who asks: its answer, conditions apart, is the one that anybody gets.
    pub fn anonymous(&self) -> bool {
        !self.credentials
    }
}

/// Reduces a client's headers to what may reach the upstream when it reads a tracked path: conditions, credentials, and
/// its Host where the operator wants that. Everything else is dropped, so that no header of one client can change what
/// another gets.
pub fn forwarded(request: &HeaderMap, upstream: &UpstreamConfig) -> Forwarded {
    let mut forwarded = Forwarded::default();
    let mut take = |name: &HeaderName| {
        for value in request.get_all(name) {
            forwarded.headers.append(name, value.clone());
        }
        request.contains_key(name)
    };
    let conditions = CONDITIONS.map(|name| take(&name));
    let credentials = upstream
        .credential_headers
        .iter()
        .map(&mut take)
        .fold(false, |any, one| any | one);
    let host = upstream.preserve_host && take(&header::HOST);
    forwarded.conditions = conditions.contains(&true);
    forwarded.credentials = credentials || host;
    forwarded
}

/// What of a client's request tells the upstream who asks: its credentials, and its Host where that is passed on.
pub fn credentials(request: &HeaderMap, upstream: &UpstreamConfig) -> HeaderMap {
    let host = upstream.preserve_host.then_some(&header::HOST);
    let mut credentials = HeaderMap::new();
    for name in upstream.credential_headers.iter().chain(host) {
        for value in request.get_all(name) {
            credentials.append(name, value.clone());
        }
    }
    credentials
}

/// `Prefer: wait=SECONDS` (RFC 7240 section 4.3), at most 30.
pub fn prefer_wait(request: &HeaderMap) -> Option<u32> {
    let preferences = request.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferences
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next()?.trim().split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse::<u32>().ok())
        .map(|seconds| seconds.min(30))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    #[test]
    fn repr_digest_is_a_structured_field() {
        assert_eq!(
            repr_digest(&Digest::of(b"")),
            "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
        );
    }

    fn upstream(preserve_host: bool) -> UpstreamConfig {
        let host = if preserve_host { "preserve_host = true\n" } else { "" };
        let text = format!("[upstream]\nurl = \"http://127.0.0.1:1\"\n{host}");
        crate::config::Config::parse(&text, std::path::Path::new("tufgate.toml"))
            .unwrap()
            .upstream
    }

    #[test]
    fn only_conditions_and_credentials_are_forwarded() {
        let request = map(&[
            ("accept", "text/html"),
            ("authorization", "Basic eDp5"),
            ("host", "elsewhere"),
            ("if-none-match", "\"a\""),
            ("range", "bytes=0-"),
            ("x-original-url", "/other"),
        ]);
        let kept = forwarded(&request, &upstream(false));
        assert_eq!(kept.headers.len(), 2);
        assert!(!kept.own() && !kept.anonymous());
        assert!(forwarded(&map(&[("x-evil", "1"), ("host", "h")]), &upstream(false)).own());
        let hosted = forwarded(&map(&[("host", "h")]), &upstream(true));
        assert!(!hosted.anonymous() && hosted.headers.contains_key("host"));
    }

    #[test]
    fn prefer_wait_is_found_among_others_and_bounded() {
        assert_eq!(prefer_wait(&map(&[("prefer", "respond-async, wait=10")])), Some(10));
        assert_eq!(prefer_wait(&map(&[("prefer", "Wait = \"5\"; x=y")])), Some(5));
        assert_eq!(prefer_wait(&map(&[("prefer", "wait=99999")])), Some(30));
        assert_eq!(prefer_wait(&map(&[("prefer", "wait=-1")])), None);
        assert_eq!(prefer_wait(&map(&[])), None);
    }
}
