//! What is wrong with the disk, told once a minute and not once an artifact.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{error::CacheError, lock};

const PAUSE: Duration = Duration::from_secs(60);

/// When something was last said.
#[derive(Default)]
pub(super) struct Complaints(Mutex<Option<Instant>>);

impl Complaints {
    /// Tells why a right body was not kept, where an operator can do something about it.
    pub(super) fn make(&self, error: &CacheError) {
        match error {
            CacheError::NoSpace { .. } | CacheError::File { .. } if self.due(Instant::now()) => {
                tracing::warn!(%error, "artifacts are served but not cached");
            }
            _ => tracing::debug!(%error, "not cached"),
        }
    }

    fn due(&self, now: Instant) -> bool {
        let mut last = lock(&self.0);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_complaint_a_minute() {
        let (complaints, start) = (Complaints::default(), Instant::now());
        let due = [0, 1, 59, 60, 61, 119, 120].map(|seconds| complaints.due(start + Duration::from_secs(seconds)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
