//! What is wrong with a draft.

use crate::delegated::Refusal;

/// A draft that cannot be taken further.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CeremonyError {
    /// Not a draft at all, or not whole.
    #[error("it is no draft: {0}")]
    Malformed(String),
    /// Somebody changed it after it was made or signed: what.
    #[error("the draft was altered: {0}")]
    Altered(String),
    /// What it proposes cannot work: clients would refuse it, or nobody could sign what follows.
    #[error("{0}")]
    Rule(String),
    /// The metadata it proposes has expired.
    #[error("the draft expired at {0}")]
    Expired(jiff::Timestamp),
    /// The key is not one of those that may sign.
    #[error("the key {key} is none of those that sign this draft: {signers}")]
    NotASigner {
        /// Its id.
        key: String,
        /// Names of those that may.
        signers: String,
    },
    /// Not enough have signed.
    #[error("{0}")]
    Missing(String),
    /// It follows other metadata than what stands there.
    #[error("{0}")]
    Stale(String),
    /// A role's file that the gate would not take.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Two files that are not the same draft.
    #[error("they are drafts of different metadata: {0} and {1}")]
    Different(crate::digest::Digest, crate::digest::Digest),
}

impl CeremonyError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Malformed(_) => Some("take the file from where it was written, whole and unchanged"),
            Self::Altered(_) => Some("sign nothing of it: take the draft from who made it, or make a new one"),
            Self::Expired(_) => Some("make a new draft, with `--expires`"),
            Self::Missing(_) => Some("`status` shows who has not signed"),
            Self::Stale(_) => Some("make a new draft from what stands there now"),
            Self::Refused(refusal) => refusal.hint.as_deref(),
            Self::Rule(_) | Self::NotASigner { .. } | Self::Different(..) => None,
        }
    }
}
