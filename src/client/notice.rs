//! What a client tells while it works: things that went wrong and are no error yet.

use std::{fmt, sync::Arc, time::Duration};

/// Something the user may want to know.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// A mirror failed, or what it served was refused; another is asked.
    PassedOver {
        /// Its base URL.
        mirror: String,
        /// Why.
        why: String,
    },
    /// All that may be asked failed for a reason that may pass; they are asked again.
    Retrying {
        /// Why.
        why: String,
        /// After this wait.
        after: Duration,
    },
    /// A download goes on where it was interrupted.
    Resumed {
        /// The target path.
        target: String,
        /// Bytes that are there already.
        from: u64,
    },
    /// What was there of a download cannot be continued.
    StartedOver {
        /// The target path.
        target: String,
        /// Why.
        why: &'static str,
    },
}

/// Who hears the notices.
pub(super) type Notices = Arc<dyn Fn(&Notice) + Send + Sync>;

/// To the log.
pub(super) fn logged() -> Notices {
    Arc::new(|notice| tracing::info!("{notice}"))
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PassedOver { mirror, why } => write!(f, "mirror `{mirror}` is passed over: {why}"),
            Self::Retrying { why, after } => write!(f, "{why}; trying again in {:.1} s", after.as_secs_f32()),
            Self::Resumed { target, from } => write!(f, "`{target}` goes on after {from} bytes"),
            Self::StartedOver { target, why } => write!(f, "`{target}` starts over: {why}"),
        }
    }
}
