//! The wildcard probe. An upstream that answers 2xx to any name (a single-page application, a captive portal, a
//! generating server) would let every request teach, so learning by fetch is off while it does.

use super::neutral_ask;
use crate::upstream::{Upstream, UpstreamError};

/// What random names got.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ProbeOutcome {
    /// No random name exists.
    Honest,
    /// A random name was answered 2xx: learning by fetch must be disabled.
    Wildcard {
        /// The name asked for.
        path: String,
        /// The status it got.
        status: ::http::StatusCode,
    },
}

/// Asks below each prefix (encoded, with or without slashes; none: the root) for two names that cannot exist: a plain
/// one and one ending in `.tar.gz`, since some servers answer by suffix.
///
/// A redirect that may not be followed is no 2xx. Other failures are errors: nothing is known then.
pub async fn probe(upstream: &dyn Upstream, prefixes: &[String]) -> Result<ProbeOutcome, UpstreamError> {
    let root = [String::new()];
    let prefixes = if prefixes.is_empty() { &root } else { prefixes };
    for prefix in prefixes {
        for suffix in ["", ".tar.gz"] {
            let path = random_name(prefix, suffix);
            match upstream.ask(neutral_ask(path.clone())).await {
                Ok(answer) if answer.status.is_success() => {
                    return Ok(ProbeOutcome::Wildcard {
                        path,
                        status: answer.status,
                    });
                }
                Ok(_) | Err(UpstreamError::Redirect { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(ProbeOutcome::Honest)
}

/// 128 random bits in hex below `prefix`: half of what would make a hash-prefixed name.
fn random_name(prefix: &str, suffix: &str) -> String {
    let folder = prefix.trim_matches('/');
    let slash = if folder.is_empty() { "" } else { "/" };
    format!("/{folder}{slash}{:032x}{suffix}", rand::random::<u128>())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use ::http::{HeaderMap, StatusCode};
    use async_trait::async_trait;

    use super::*;
    use crate::upstream::{Answer, Ask, Framing, memory::MemoryUpstream};

    /// Answers 200 where the path matches.
    struct Wild(fn(&str) -> bool);

    #[async_trait]
    impl Upstream for Wild {
        async fn ask(&self, ask: Ask) -> Result<Answer, UpstreamError> {
            if ask.path.starts_with("/login/") {
                return Err(UpstreamError::Redirect {
                    to: "x".to_owned(),
                    why: "y".to_owned(),
                });
            }
            let status = if (self.0)(&ask.path) {
                StatusCode::OK
            } else {
                StatusCode::NOT_FOUND
            };
            let body = Box::pin(futures_util::stream::empty());
            Ok(Answer {
                redirected: false,
                status,
                headers: HeaderMap::new(),
                framing: Framing::Length(0),
                body,
            })
        }
    }

    #[tokio::test]
    async fn an_honest_upstream_is_asked_for_names_nobody_has() {
        let upstream = MemoryUpstream::default();
        let prefixes = ["/a/".to_owned(), String::new(), "b%20c".to_owned()];
        assert_eq!(probe(&upstream, &prefixes).await.unwrap(), ProbeOutcome::Honest);
        assert_eq!(probe(&upstream, &[]).await.unwrap(), ProbeOutcome::Honest);
        let paths: std::collections::BTreeSet<String> = upstream.asks().into_iter().map(|ask| ask.path).collect();
        assert_eq!(paths.len(), 8, "each is another: {paths:?}");
        let below = |prefix: &str, length: usize| {
            paths
                .iter()
                .filter(|path| path.starts_with(prefix) && path.len() == length)
                .count()
        };
        assert_eq!(
            (below("/a/", 35), below("/a/", 42), below("/b%20c/", 39), below("/", 33)),
            (1, 1, 1, 2)
        );
    }

    #[tokio::test]
    async fn any_2xx_gives_a_wildcard_away() {
        let prefixes = ["login".to_owned(), "a".to_owned(), "b".to_owned()];
        let outcome = probe(
            &Wild(|path| path.starts_with("/b/") && path.ends_with(".tar.gz")),
            &prefixes,
        )
        .await;
        assert!(matches!(outcome, Ok(ProbeOutcome::Wildcard { path, .. }) if path.starts_with("/b/")));
        assert_eq!(probe(&Wild(|_| false), &prefixes).await.unwrap(), ProbeOutcome::Honest);
    }

    #[tokio::test]
    async fn a_silent_upstream_proves_nothing() {
        struct Down;
        #[async_trait]
        impl Upstream for Down {
            async fn ask(&self, _: Ask) -> Result<Answer, UpstreamError> {
                Err(UpstreamError::Timeout("connect"))
            }
        }
        probe(&Down, &[]).await.unwrap_err();
    }
}
