//! Whether the upstream lets anybody read. Metadata names paths: where the operator does not say who may read it
//! (`metadata.access`), it is everybody's only once the upstream, asked as anybody, asked nobody who they are.

use std::sync::OnceLock;

use ::http::{HeaderMap, Method, StatusCode};
use futures_util::{StreamExt, stream};

use super::{Ask, Upstream, UpstreamError, neutral::random_name};

/// Questions at once.
const AT_ONCE: usize = 8;

/// What the upstream said for good; nothing before it was asked.
#[derive(Debug, Default)]
pub struct Anybody(OnceLock<bool>);

impl Anybody {
    /// Notes its answer. The first one stands.
    pub fn settle(&self, may_read: bool) {
        let _ = self.0.set(may_read);
    }

    /// Whether anybody may read; `None` while the upstream has not said so.
    pub fn may_read(&self) -> Option<bool> {
        self.0.get().copied()
    }
}

/// An answer that asks anonymous readers for credentials.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenged {
    /// What was asked for.
    pub path: String,
    /// 401 or 403.
    pub status: StatusCode,
}

/// The upstream said nothing of anybody's rights.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unanswered {
    /// It cannot be asked.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// It is in trouble.
    #[error("the upstream answers {status} for `{path}`")]
    Trouble {
        /// What was asked for.
        path: String,
        /// Its answer.
        status: StatusCode,
    },
}

/// Asks without credentials for `/` and, below each of these folders (encoded), for a name that cannot exist; says which
/// of them was refused. 403 refuses a name, but not `/`: many servers do not list folders.
///
/// One answer that says nothing makes the whole worth nothing, unless another refuses.
pub async fn challenged(upstream: &dyn Upstream, folders: &[String]) -> Result<Option<Challenged>, Unanswered> {
    let names = folders.iter().map(|folder| random_name(folder, ""));
    let questions: Vec<_> = std::iter::once("/".to_owned())
        .chain(names)
        .map(|path| one(upstream, path))
        .collect();
    let answers = stream::iter(questions).buffer_unordered(AT_ONCE);
    let mut unanswered = None;
    let refused = answers.filter_map(|answer| {
        let refused = answer.map_err(|why| unanswered = Some(why)).ok().flatten();
        std::future::ready(refused)
    });
    let refused = std::pin::pin!(refused).next().await;
    match (refused, unanswered) {
        (None, Some(why)) => Err(why),
        (refused, _) => Ok(refused),
    }
}

async fn one(upstream: &dyn Upstream, path: String) -> Result<Option<Challenged>, Unanswered> {
    let ask = Ask {
        method: Method::GET,
        path: path.clone(),
        headers: HeaderMap::new(),
        identity: false,
    };
    let status = match upstream.ask(ask).await {
        Ok(answer) => answer.status,
        // It leads elsewhere, and asks nobody for anything.
        Err(UpstreamError::Redirect { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match status {
        StatusCode::UNAUTHORIZED => Ok(Some(Challenged { path, status })),
        StatusCode::FORBIDDEN if path != "/" => Ok(Some(Challenged { path, status })),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(Unanswered::Trouble { path, status }),
        status if status.is_server_error() => Err(Unanswered::Trouble { path, status }),
        _ => Ok(None),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::upstream::{Answer, Framing};

    /// Answers by the longest prefix of the path.
    struct Site(Vec<(&'static str, u16)>);

    #[async_trait]
    impl Upstream for Site {
        async fn ask(&self, ask: Ask) -> Result<Answer, UpstreamError> {
            assert!(!ask.identity && ask.headers.is_empty() && ask.method == Method::GET);
            let prefixes = self.0.iter().filter(|(prefix, _)| ask.path.starts_with(prefix));
            let (_, status) = prefixes.max_by_key(|(prefix, _)| prefix.len()).unwrap();
            match *status {
                0 => Err(UpstreamError::Timeout("header")),
                1 => Err(UpstreamError::Redirect {
                    to: "x".to_owned(),
                    why: "y".to_owned(),
                }),
                status => Ok(Answer {
                    redirected: false,
                    status: StatusCode::from_u16(status).unwrap(),
                    headers: HeaderMap::new(),
                    framing: Framing::Length(0),
                    body: Box::pin(stream::empty()),
                }),
            }
        }
    }

    #[tokio::test]
    async fn the_root_and_every_folder_are_asked() {
        let folders = ["/a".to_owned(), "/b%20c".to_owned()];
        let refused = async |site: &[(&'static str, u16)]| {
            let said = challenged(&Site(site.to_vec()), &folders).await;
            said.map(|refused| refused.map(|refused| (refused.path, refused.status.as_u16())))
        };
        for open in [200, 204, 302, 404, 410, 1] {
            assert_eq!(refused(&[("/", open)]).await.unwrap(), None);
        }
        assert_eq!(refused(&[("/", 401)]).await.unwrap().unwrap().1, 401);
        for status in [401, 403] {
            let (path, said) = refused(&[("/", 200), ("/b%20c/", status)]).await.unwrap().unwrap();
            assert!(
                path.starts_with("/b%20c/") && path.len() == 39 && said == status,
                "{path}"
            );
        }
        // A folder that is not listed says nothing of the files in it.
        assert_eq!(challenged(&Site(vec![("/", 403)]), &[]).await.unwrap(), None);
        for trouble in [0, 408, 429, 500, 502, 503] {
            refused(&[("/", 200), ("/a/", trouble)]).await.unwrap_err();
            let both = refused(&[("/", 200), ("/a/", trouble), ("/b%20c/", 401)]).await;
            assert!(both.unwrap().is_some(), "one refusal says enough");
        }
    }
}
