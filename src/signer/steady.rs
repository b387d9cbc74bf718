//! Whether the wall clock can be trusted: it is held against time that only runs forward (DESIGN 7.6).

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

/// Farthest the wall clock may leave steady time, in seconds.
pub(crate) const TOLERANCE: i64 = 3_600;

/// Time since some fixed moment, never set back.
pub type Monotonic = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Time since the machine started. `/proc/uptime` counts time asleep, as the wall clock does and [`Instant`] does not:
/// a machine that wakes from a long sleep has a sane clock.
pub fn uptime() -> Monotonic {
    let start = Instant::now();
    let counted = proc_uptime().is_some();
    Arc::new(move || match proc_uptime() {
        Some(uptime) if counted => uptime,
        _ => start.elapsed(),
    })
}

fn proc_uptime() -> Option<Duration> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Compares two clocks.
pub(super) struct Steady {
    monotonic: Monotonic,
    /// Both clocks when they last agreed.
    agreed: Option<(Timestamp, Duration)>,
}

impl Steady {
    pub(super) fn new(monotonic: Monotonic) -> Self {
        Self {
            monotonic,
            agreed: None,
        }
    }

    /// Steady time.
    pub(super) fn elapsed(&self) -> Duration {
        (self.monotonic)()
    }

    /// Believes the wall clock anew, whatever it says next.
    pub(super) fn forget(&mut self) {
        self.agreed = None;
    }

    /// Seconds by which the wall clock jumped since both agreed, if it is more than the tolerance. Stays so until the
    /// wall clock comes back.
    pub(super) fn jump(&mut self, now: Timestamp) -> Option<i64> {
        let elapsed = self.elapsed();
        if let Some((wall, steady)) = self.agreed {
            let passed = elapsed.saturating_sub(steady).as_secs() as i64;
            let jump = now.as_second() - wall.as_second() - passed;
            if jump.abs() > TOLERANCE {
                return Some(jump);
            }
        }
        self.agreed = Some((now, elapsed));
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_jump_lasts_until_the_clock_comes_back() {
        let seconds = Arc::new(AtomicU64::new(0));
        let shown = seconds.clone();
        let mut steady = Steady::new(Arc::new(move || Duration::from_secs(shown.load(Ordering::SeqCst))));
        let wall = |second| Timestamp::from_second(second).unwrap_or_default();
        assert_eq!(steady.jump(wall(1_000_000)), None);
        seconds.store(86_400, Ordering::SeqCst);
        assert_eq!(steady.jump(wall(1_086_400)), None, "a day passed on both");
        assert_eq!(steady.jump(wall(1_090_000)), None, "an hour is tolerated");
        assert_eq!(steady.jump(wall(1_093_601)), Some(3_601));
        assert_eq!(
            steady.jump(wall(1_093_601)),
            Some(3_601),
            "asking again changes nothing"
        );
        assert_eq!(steady.jump(wall(1_000_000)), Some(-90_000));
        assert_eq!(steady.jump(wall(1_090_100)), None);
    }

    #[test]
    fn uptime_runs_forward() {
        let uptime = uptime();
        assert!(uptime() <= uptime());
    }
}
