//! Whether what was looked up still stands: a number that moves when anybody, in this process or another, overturned what
//! was recorded somewhere. Readers that trust an earlier look compare it (`proxy/hot.rs`), so that they need no look of their own.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::sleep;

use super::Intake;

/// Longest that another process' commit goes unnoticed: an operator's `retract`, another gate's upload. This gate's own
/// writes are noticed at once (`Memory::drop`).
const LOOK_AROUND: Duration = Duration::from_millis(100);

impl Intake {
    /// Moves after each commit that may make a recorded path read otherwise, within a moment.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Looks around for ever.
    pub(super) async fn watch(&self) {
        let mut seen = None;
        loop {
            match self.parts.ledger.changes().await {
                Ok(changes) if seen == Some(changes) => {}
                Ok(changes) => {
                    seen = Some(changes);
                    self.epoch.fetch_add(1, Ordering::AcqRel);
                }
                // What is known goes on to be served: a failing ledger never stops reads.
                Err(error) => tracing::debug!(%error, "the ledger cannot be asked whether it changed"),
            }
            sleep(LOOK_AROUND).await;
        }
    }
}
