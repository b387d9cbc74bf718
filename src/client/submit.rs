//! A submission: signed files of roles, posted to a gate.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;

use super::fetch::{FetchError, Fetcher, Problem};
use crate::delegated::bins;

/// Most bytes of an answer.
const MAX_ANSWER: u64 = 64 << 10;

/// What a gate answers when it has taken the files.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Accepted {
    /// Role to version.
    pub accepted: BTreeMap<String, u64>,
    /// A published snapshot that lists them, where that was waited for and came.
    #[serde(default)]
    pub snapshot: Option<u64>,
}

/// Why it has not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// No answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A refusal.
    #[error("the gate refuses it ({status}){problem}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// In its own words.
        problem: Problem,
    },
    /// Something else than the gate's own words.
    #[error("`{url}` is answered with {status}, and not as a gate answers")]
    Strange {
        /// Where.
        url: String,
        /// The status.
        status: StatusCode,
    },
}

/// The body that is posted: `{"roles": {NAME: ENVELOPE, …}}`.
pub fn body(files: &BTreeMap<String, Bytes>) -> Bytes {
    let mut out = b"{\"roles\":{".to_vec();
    for (at, (role, file)) in files.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        crate::tuf::canonical::write_str(&mut out, role);
        out.push(b':');
        out.extend_from_slice(file);
    }
    out.extend_from_slice(b"}}");
    out.into()
}

/// Posts files by role. `wait` are the seconds until a snapshot lists them that the gate is asked to hold its answer.
pub async fn submit(
    fetcher: &Fetcher,
    url: &str,
    files: &BTreeMap<String, Bytes>,
    wait: Option<u64>,
) -> Result<Accepted, SubmitError> {
    let (status, headers, stream) = fetcher.post(url, body(files), wait, MAX_ANSWER).await?;
    let answer = Fetcher::whole(stream).await?;
    let strange = || SubmitError::Strange {
        url: url.to_owned(),
        status,
    };
    if matches!(status, StatusCode::OK | StatusCode::ACCEPTED) {
        let accepted: Accepted = serde_json::from_slice(&answer).map_err(|_| strange())?;
        // Whoever answers in the gate's place has not taken what it does not name.
        let named = |key: &String| accepted.accepted.contains_key(bins::viewed(key).0);
        return match files.keys().all(named) {
            true => Ok(accepted),
            false => Err(strange()),
        };
    }
    let problem = Problem::announced(&headers).then(|| Problem::parse(&answer)).flatten();
    Err(problem.map_or_else(strange, |problem| SubmitError::Refused { status, problem }))
}
