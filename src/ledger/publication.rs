//! What the audit chain says of a publication.

use super::{AuditLine, Publication};

/// The action of its line.
pub(crate) const ACTION: &str = "publish";

impl Publication {
    /// The line for it; `None` when it listed nothing anew, as when all that was pending was refused.
    pub(super) fn line(&self) -> Option<AuditLine> {
        (!self.roles.is_empty()).then(|| AuditLine {
            at: self.at,
            who: "signer".to_owned(),
            action: ACTION.to_owned(),
            path: String::new(),
            detail: self.versions(),
        })
    }

    /// What its line tells of it.
    pub(crate) fn versions(&self) -> String {
        format!("snapshot {}, timestamp {}", self.snapshot, self.timestamp)
    }
}
