//! Why a role's file, or a delegation, is refused.

use crate::terminal::printable;

/// What a refusal is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusalKind {
    /// No such metadata: form, names, paths, dates.
    Malformed,
    /// Not signed by enough of those it is delegated to.
    Unsigned,
    /// Nobody delegates to the role, or it has no file.
    Unknown,
    /// Another version, or other bytes, stand there.
    Conflict,
    /// Too much of it.
    Large,
}

/// A refusal, for people.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}{detail}", .role.as_ref().map(|role| format!("role `{role}`: ")).unwrap_or_default())]
pub struct Refusal {
    /// What it is about.
    pub kind: RefusalKind,
    /// The role, where it is one role's.
    pub role: Option<String>,
    /// What is wrong.
    pub detail: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Refusal {
    fn new(kind: RefusalKind, role: Option<&str>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            role: role.map(printable),
            detail: printable(&detail.into()),
            hint: None,
        }
    }

    pub(super) fn malformed(role: Option<&str>, detail: impl Into<String>) -> Self {
        Self::new(RefusalKind::Malformed, role, detail)
    }

    /// Not enough of those who must have signed it.
    pub fn unsigned(role: &str, detail: impl Into<String>) -> Self {
        Self::new(RefusalKind::Unsigned, Some(role), detail)
    }

    pub(super) fn unknown(role: &str, detail: impl Into<String>) -> Self {
        Self::new(RefusalKind::Unknown, Some(role), detail)
    }

    pub(super) fn large(role: Option<&str>, detail: impl Into<String>) -> Self {
        Self::new(RefusalKind::Large, role, detail)
    }

    /// There is no role at all.
    pub fn nobody(detail: &str) -> Self {
        Self::new(RefusalKind::Unknown, None, detail)
    }

    /// What stands at a path is in the way.
    pub fn path(path: &str, detail: impl std::fmt::Display) -> Self {
        Self::new(RefusalKind::Conflict, None, format!("`{path}`: {detail}"))
    }

    /// Nobody lets this gate speak of a path.
    pub fn untracked(path: &str) -> Self {
        Self::malformed(None, format!("no rule of this gate tracks `{path}`"))
            .hint("the operator adds a `[[rule]]` for it")
    }

    /// Another version is wanted.
    pub fn version(role: &str, detail: impl Into<String>) -> Self {
        Self::new(RefusalKind::Conflict, Some(role), detail)
    }

    /// The same, with what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
