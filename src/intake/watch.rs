//! Whether what was looked up still stands: a number that moves when anybody, in this process or another, overturned what
//! was recorded somewhere. Readers that trust an earlier look compare it (`proxy/hot.rs`), so that they need no look of their own.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::Intake;
use crate::ledger::LedgerError;

/// Between looks at what other processes committed: an operator's `retract`, another gate's upload. This gate's own writes
/// are noticed at once (`Memory::drop`).
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// How long a look around is trusted. Who overturned a record from another process and waits this long after the commit
/// knows that no gate goes by what stood there before, however busy the gate is.
pub const TRUST: Duration = Duration::from_millis(500);

/// The number, and until when it is trusted.
pub(super) struct Epoch {
    number: AtomicU64,
    /// Milliseconds after `began`.
    until: AtomicU64,
    began: Instant,
}

impl Default for Epoch {
    fn default() -> Self {
        Self {
            number: AtomicU64::new(0),
            until: AtomicU64::new(0),
            began: Instant::now(),
        }
    }
}

impl Intake {
    /// Moves after each commit that may make a recorded path read otherwise.
    pub fn epoch(&self) -> u64 {
        self.epoch.number.load(Ordering::Acquire)
    }

    /// Whether nobody overturned anything since the epoch was this one, as far as the last [`TRUST`] tells.
    pub fn stands(&self, epoch: u64, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.epoch.began).as_millis();
        // In this order: who sees how long a look is trusted sees the number that goes with it.
        now < u128::from(self.epoch.until.load(Ordering::Acquire)) && epoch == self.epoch()
    }

    /// Looks around for ever.
    pub(super) async fn watch(&self) {
        let mut seen = None;
        loop {
            // Nothing is trusted while the ledger cannot be asked; what is known goes on to be served, the long way.
            if let Err(error) = self.look_around(&mut seen).await {
                tracing::debug!(%error, "the ledger cannot be asked whether it changed");
            }
            sleep(LOOK_AROUND).await;
        }
    }

    async fn look_around(&self, seen: &mut Option<u64>) -> Result<(), LedgerError> {
        // Taken first: the look shows all that was committed until now, and maybe more.
        let until = self.epoch.began.elapsed() + TRUST;
        let changes = self.parts.ledger.changes().await?;
        if seen.replace(changes) != Some(changes) {
            self.epoch.number.fetch_add(1, Ordering::AcqRel);
        }
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.epoch.until.store(until, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::{
        intake::upload::tests::stage,
        ledger::{Act, Ledger as _, Observation},
    };

    #[tokio::test]
    async fn a_look_is_trusted_for_a_while_and_until_something_is_overturned() {
        let (intake, ledger, _) = stage();
        let (mut seen, now) = (None, Instant::now());
        assert!(!intake.stands(intake.epoch(), now), "nobody looked yet");
        intake.look_around(&mut seen).await.unwrap();
        let first = intake.epoch();
        assert!(intake.stands(first, now));
        assert!(!intake.stands(first, Instant::now() + TRUST));
        let observation = Observation {
            seq: 0,
            path: crate::target::TargetPath::new("a").unwrap(),
            act: Act::Forget,
            who: "operator".to_owned(),
            at: intake.now(),
        };
        ledger.observe(observation).await.unwrap();
        intake.look_around(&mut seen).await.unwrap();
        assert!(!intake.stands(first, now) && intake.stands(intake.epoch(), now));
    }
}
