//! Says in time that somebody has to sign: root, targets signed offline and roles of others end on a day that no signer
//! can put off.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{ends, status::Published},
    catalog::roles::Roles,
    clock::Clock,
    server::supervise::Ready,
};

/// Between looks.
const LOOK: Duration = Duration::from_secs(60);
/// Seconds before the end at which it is said, the first time and again.
const NOTICES: [i64; 3] = [30 * 86_400, 7 * 86_400, 86_400];

/// Looks at the depot and writes to the log.
pub(super) struct Expiry {
    pub(super) roles: Arc<Roles>,
    pub(super) clock: Arc<dyn Clock>,
    /// Whether the signer renews targets.json.
    pub(super) targets_online: bool,
    told: HashMap<String, (Timestamp, usize)>,
    /// The root whose chain was said to be long.
    long: u64,
}

impl Expiry {
    pub(super) fn new(roles: Arc<Roles>, clock: Arc<dyn Clock>, targets_online: bool) -> Self {
        Self {
            roles,
            clock,
            targets_online,
            told: HashMap::new(),
            long: 0,
        }
    }

    /// Looks until `shutdown`.
    pub(super) async fn run(mut self, ready: Ready, shutdown: CancellationToken) -> Result<(), String> {
        ready.up();
        let mut ticks = interval(LOOK);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            // A depot that cannot be read is told by those who need it.
            for (role, file) in ends::of(&self.roles).await.unwrap_or_default() {
                self.look(&role, file);
            }
        }
    }

    fn look(&mut self, role: &str, file: Published) {
        if role == ends::ROOT && file.version > ends::FEWEST_STEPS.max(self.long) {
            self.long = file.version;
            tracing::warn!(
                root.version = file.version,
                "the chain of roots is long: some clients follow {} in one update, and need another for the rest",
                ends::FEWEST_STEPS
            );
        }
        let renewed = match role {
            "timestamp" | "snapshot" | "bins" => true,
            "targets" => self.targets_online,
            _ => false,
        };
        let Some(expires) = file.expires.filter(|_| !renewed) else {
            return;
        };
        let stage = stage(expires.as_second() - self.clock.now().as_second());
        if self.told.insert(role.to_owned(), (expires, stage)) == Some((expires, stage)) {
            return;
        }
        match stage {
            0 => {}
            stage if stage > NOTICES.len() => {
                tracing::error!(role.name = role, role.expires = %expires, "{role} has expired: clients refuse it");
            }
            _ => tracing::warn!(
                role.name = role,
                role.expires = %expires,
                "{role} expires at {expires}, and clients refuse it then: its signers must renew it before"
            ),
        }
    }
}

/// How many notices are due with `left` seconds to go.
fn stage(left: i64) -> usize {
    match left {
        ..=0 => NOTICES.len() + 1,
        left => NOTICES.iter().filter(|notice| left <= **notice).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_due_a_month_a_week_and_a_day_before_the_end_and_at_it() {
        let day = 86_400;
        let stages = [31 * day, 30 * day, 8 * day, 7 * day, day, 1, 0, -day].map(stage);
        assert_eq!(stages, [0, 1, 1, 2, 3, 3, 4, 4]);
    }
}
