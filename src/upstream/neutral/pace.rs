//! How often neutral reads begin.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Spreads starts over time: a start pays one interval, and up to a second's worth may be owed (GCRA).
pub struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    /// `rate` starts a second.
    pub fn new(rate: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / rate.max(1),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits for the next start.
    pub async fn wait(&self) {
        sleep_until(self.slot(Instant::now())).await;
    }

    /// When a read that wants to be sent at `now` may be; in the past: at once.
    fn slot(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let due = (*next).max(now);
        *next = due + self.interval;
        due.checked_sub(Duration::from_secs(1)).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_spread_over_time() {
        let (pace, now) = (Pace::new(10), Instant::now() + Duration::from_secs(60));
        let slots: Vec<Instant> = (0..13).map(|_| pace.slot(now)).collect();
        assert!(slots[..11].iter().all(|slot| *slot <= now), "a second's worth at once");
        assert_eq!(slots[11] - now, Duration::from_millis(100));
        assert_eq!(slots[12] - now, Duration::from_millis(200));
        assert!(pace.slot(now + Duration::from_secs(10)) <= now + Duration::from_secs(10));
    }
}
