//! `metadata.access = "probe"`: metadata names paths, so those may read it who may read one path of the upstream's
//! (DESIGN 4, "the gate never widens access"). The upstream is asked with the client's own credentials; the gate keeps
//! none of them.

use std::time::Duration;

use futures_util::StreamExt;
use http::{HeaderMap, Method, StatusCode, header};
use moka::sync::Cache;
use pingora::proxy::Session;

use super::{Gate, headers::credentials, problem::Problem};
use crate::{
    digest::{Digest, Hasher},
    upstream::{Answer, Ask, Framing},
};

/// How long the upstream's yes holds. A client's update is a handful of requests in a row, and should not cost as many
/// questions; who lost access may read on for this long.
const REMEMBERED: Duration = Duration::from_secs(3);

/// Most credentials remembered at once.
const MOST: u64 = 10_000;

/// An answer up to this size is read to its end, so that the connection can be used again.
const DRAINED: u64 = 16 * 1024;

/// Who was let in a moment ago, by a keyed hash of what they sent: a copy of this memory gives no credential away, and
/// says nothing without the key, which lives as long as the process. Refusals are not remembered: somebody who has just
/// been given access is let in at once, and a flood of wrong credentials pushes nobody out.
pub(super) struct Opened {
    key: [u8; 32],
    recent: Cache<Digest, ()>,
}

impl Default for Opened {
    fn default() -> Self {
        let recent = Cache::builder().max_capacity(MOST).time_to_live(REMEMBERED);
        Self {
            key: rand::random(),
            recent: recent.build(),
        }
    }
}

impl Opened {
    /// Every length goes in before what it measures: other headers never make the same bytes.
    fn name(&self, credentials: &HeaderMap) -> Digest {
        let mut hasher = Hasher::default();
        hasher.update(&self.key);
        for (name, value) in credentials {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                hasher.update(&(part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
        }
        hasher.finish().0
    }
}

/// What a client hears that may not read the metadata.
pub(super) struct Refused {
    /// The upstream's status.
    pub(super) problem: Problem,
    /// What the upstream said about how to ask, or when.
    pub(super) challenges: HeaderMap,
}

impl From<Problem> for Box<Refused> {
    fn from(problem: Problem) -> Self {
        Self::new(Refused {
            problem,
            challenges: HeaderMap::new(),
        })
    }
}

impl Gate {
    /// Whether the client's credentials open `path` at the upstream.
    ///
    /// It is a GET: where HEAD is guarded otherwise, only GET says who may read. Redirects are not followed: one that
    /// leads to a page to log in must not let anybody in.
    pub(super) async fn probe(&self, session: &Session, path: &str) -> Result<(), Box<Refused>> {
        let credentials = credentials(&session.req_header().headers, &self.config().upstream);
        let opened = &self.0.opened;
        let name = opened.name(&credentials);
        if opened.recent.contains_key(&name) {
            return Ok(());
        }
        let ask = Ask {
            method: Method::GET,
            path: path.to_owned(),
            headers: credentials,
            identity: false,
        };
        let answer = self.parts().upstream.ask_itself(ask).await.map_err(Problem::from)?;
        let verdict = judge(answer.status, &answer.headers);
        drain(answer).await;
        if verdict.is_ok() {
            opened.recent.insert(name, ());
        }
        verdict
    }
}

/// A success opens; everything else is passed on, without what it says about the path.
fn judge(status: StatusCode, headers: &HeaderMap) -> Result<(), Box<Refused>> {
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(());
    }
    // A redirect of the path is none of the metadata.
    let status = match status.is_client_error() || status.is_server_error() {
        true => status,
        false => StatusCode::FORBIDDEN,
    };
    let problem = Problem::new(
        status,
        "metadata-access",
        "metadata is for those who may read a certain path of the upstream, and it says no",
    );
    let mut challenges = HeaderMap::new();
    for name in [header::WWW_AUTHENTICATE, header::RETRY_AFTER] {
        for value in headers.get_all(&name) {
            challenges.append(&name, value.clone());
        }
    }
    Err(Box::new(Refused { problem, challenges }))
}

async fn drain(answer: Answer) {
    if matches!(answer.framing, Framing::Length(length) if length <= DRAINED) {
        // Whether it ends well or not only decides whether the connection is kept.
        answer.body.for_each(|_| std::future::ready(())).await;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn map(lines: &[(String, String)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::try_from(name).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn lines() -> impl Strategy<Value = Vec<(String, String)>> {
        let name = prop::sample::select(vec!["authorization", "cookie", "x-api-key"]).prop_map(str::to_owned);
        // In the order in which a request's credentials are gathered: by name.
        prop::collection::vec((name, "[ -~]{0,8}"), 0..4).prop_map(|mut lines| {
            lines.sort_by(|(one, _), (other, _)| one.cmp(other));
            lines
        })
    }

    proptest! {
        #[test]
        fn other_credentials_have_another_name(one in lines(), other in lines()) {
            let opened = Opened::default();
            let (one, other) = (map(&one), map(&other));
            prop_assert_eq!(opened.name(&one) == opened.name(&other), one == other);
        }
    }

    #[test]
    fn a_name_says_nothing_to_another_process() {
        let credentials = map(&[("authorization".to_owned(), "Basic eDp5".to_owned())]);
        assert_ne!(
            Opened::default().name(&credentials),
            Opened::default().name(&credentials)
        );
    }

    #[test]
    fn only_a_success_opens_and_a_refusal_keeps_its_status_and_challenges() {
        let mut headers = HeaderMap::new();
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"a\""));
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        headers.append(header::SET_COOKIE, HeaderValue::from_static("session=1"));
        let told = |status: u16| {
            let judged = judge(StatusCode::from_u16(status).unwrap(), &headers);
            judged.map_err(|refused| (refused.problem.status.as_u16(), refused.challenges.len()))
        };
        for status in [200, 204, 206, 304] {
            assert_eq!(told(status), Ok(()));
        }
        for status in [401, 403, 404, 407, 429, 500, 503] {
            assert_eq!(told(status), Err((status, 2)));
        }
        for status in [300, 302, 305] {
            assert_eq!(told(status), Err((403, 2)));
        }
    }
}
