//! What the audit chain says when a path drifts or is whole again.

use jiff::Timestamp;

use crate::target::TargetPath;

use super::{AuditLine, Drift};

/// The line for the step from `old` to `new`; `None` when nothing new is known.
pub(super) fn line(
    path: &TargetPath,
    old: Option<&Drift>,
    new: Option<&Drift>,
    who: &str,
    at: Timestamp,
) -> Option<AuditLine> {
    let digests = |drift: &Drift| (drift.recorded, drift.observed);
    let (action, drift) = match (old, new) {
        (Some(old), Some(new)) if digests(old) == digests(new) => return None,
        (_, Some(new)) => ("drift", new),
        (Some(old), None) => ("drift-end", old),
        (None, None) => return None,
    };
    Some(AuditLine {
        at,
        who: who.to_owned(),
        action: action.to_owned(),
        path: path.as_str().to_owned(),
        detail: format!(
            "recorded sha256 {}, observed sha256 {} ({} bytes)",
            drift.recorded, drift.observed, drift.observed_length
        ),
    })
}
