//! Why there is no usable answer, and whether asking again may help.

use std::time::Duration;

use http::StatusCode;

use super::Problem;

/// The longest wait a server may ask for with `Retry-After`; one that asks for more has no answer for this client.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// No usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The connection failed or broke.
    #[error("`{url}`: {detail}")]
    Broken {
        /// What was asked.
        url: String,
        /// What happened.
        detail: String,
    },
    /// The server answers in an encoding nobody asked for.
    #[error("`{url}` is answered with content encoding `{encoding}`, which was not asked for")]
    Encoded {
        /// What was asked.
        url: String,
        /// The encoding.
        encoding: String,
    },
    /// A web page where metadata was asked for.
    #[error("`{url}` is answered with a web page, not with metadata")]
    Page {
        /// What was asked.
        url: String,
    },
    /// A redirect that is not followed.
    #[error("`{url}` is redirected, and that is not followed: {why}")]
    Redirect {
        /// What was asked.
        url: String,
        /// Why not.
        why: String,
    },
    /// Another status than 200.
    #[error("`{url}` is answered with {status}{}", .problem.as_deref().map(ToString::to_string).unwrap_or_default())]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: StatusCode,
        /// When to ask again, as the server says.
        retry_after: Option<Duration>,
        /// Why, where the server says it in a form that is known.
        problem: Option<Box<Problem>>,
    },
    /// Too slow.
    #[error("`{url}` is not answered in time ({what}); a server that drips looks like a slow retrieval attack")]
    Timeout {
        /// What was asked.
        url: String,
        /// Which wait ended.
        what: &'static str,
    },
    /// No TLS with the server: its certificate is not one to trust, or there are no authorities to judge it by.
    #[error("`{url}`: no TLS: {detail}")]
    Tls {
        /// What was asked.
        url: String,
        /// What is wrong.
        detail: String,
    },
    /// More bytes than may come.
    #[error("`{url}` has more than {limit} bytes")]
    TooLong {
        /// What was asked.
        url: String,
        /// The most that may come.
        limit: u64,
    },
}

impl FetchError {
    /// Whether the server says that there is no such file. Stores without a listing right answer 403.
    pub fn is_absent(&self) -> bool {
        matches!(
            self,
            Self::Status {
                status: StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE,
                ..
            }
        )
    }

    /// Whether the same question may have an answer in a moment.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Timeout { .. } => true,
            Self::Status {
                problem: Some(problem), ..
            } if problem.is_lasting() => false,
            Self::Status {
                status, retry_after, ..
            } => {
                let passing = matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504);
                passing && retry_after.is_none_or(|wait| wait <= MAX_RETRY_AFTER)
            }
            _ => false,
        }
    }

    /// When the server wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
