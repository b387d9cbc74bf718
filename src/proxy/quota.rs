//! How much the roles that others sign may bring in a time. What they list and drop leaves rows and audit lines for good, so
//! who holds a team's key must not fill the ledger with it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::StatusCode;

use super::problem::Problem;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Most targets that one role, with those below it, lists anew in a day.
const ROWS: u64 = 20_000;

/// What each role that the operator delegates to has used.
pub(super) struct Quotas {
    hourly: u64,
    used: Mutex<HashMap<String, Used>>,
}

#[derive(Clone, Copy)]
struct Used {
    submissions: Window,
    rows: Window,
}

/// A count since a moment.
#[derive(Clone, Copy)]
struct Window {
    since: Instant,
    count: u64,
}

impl Window {
    /// The same, or an empty one once it is over.
    fn at(self, now: Instant, length: Duration) -> Self {
        match now.duration_since(self.since) < length {
            true => self,
            false => Self { since: now, count: 0 },
        }
    }
}

impl Quotas {
    /// So many submissions a role and hour.
    pub(super) fn new(hourly: u64) -> Self {
        let used = Mutex::default();
        Self { hourly, used }
    }

    /// Whether these roles may have one submission more, which lists so many targets anew.
    ///
    /// # Errors
    /// 429.
    pub(super) fn admit(&self, roles: &BTreeSet<String>, rows: usize, now: Instant) -> Result<(), Problem> {
        let all = self.used();
        for role in roles {
            let used = current(&all, role, now);
            let submissions = used.submissions.count >= self.hourly;
            // One that lists more than a day's may be the first of its day: a role is filled somehow.
            let rows = used.rows.count > 0 && used.rows.count + rows as u64 > ROWS;
            let (detail, since, length) = match (submissions, rows) {
                (true, _) => (
                    format!("{} submissions an hour", self.hourly),
                    used.submissions.since,
                    HOUR,
                ),
                (_, true) => (format!("{ROWS} new targets a day"), used.rows.since, DAY),
                _ => continue,
            };
            let wait = length.saturating_sub(now.duration_since(since)).as_secs() + 1;
            let problem = Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate",
                format!("role `{role}`: it has had its {detail}"),
            );
            return Err(problem.retry(u32::try_from(wait).unwrap_or(u32::MAX)).hint(
                "submit less often; if it was not you, have the operator take your key out (`tufgate targets draft`)",
            ));
        }
        Ok(())
    }

    /// Counts one that was accepted.
    pub(super) fn take(&self, roles: &BTreeSet<String>, rows: usize, now: Instant) {
        let mut all = self.used();
        for role in roles {
            let mut used = current(&all, role, now);
            used.submissions.count += 1;
            used.rows.count += rows as u64;
            all.insert(role.clone(), used);
        }
    }

    fn used(&self) -> MutexGuard<'_, HashMap<String, Used>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn current(all: &HashMap<String, Used>, role: &str, now: Instant) -> Used {
    let empty = Window { since: now, count: 0 };
    match all.get(role) {
        Some(used) => Used {
            submissions: used.submissions.at(now, HOUR),
            rows: used.rows.at(now, DAY),
        },
        None => Used {
            submissions: empty,
            rows: empty,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_its_share_of_an_hour_and_a_day() {
        let quotas = Quotas::new(2);
        let of = |role: &str| BTreeSet::from([role.to_owned()]);
        let start = Instant::now();
        for rows in [0, 5] {
            assert_eq!(quotas.admit(&of("a"), rows, start), Ok(()));
            quotas.take(&of("a"), rows, start);
        }
        let refused = quotas.admit(&of("a"), 0, start + HOUR / 2).err();
        assert_eq!(refused.as_ref().and_then(|problem| problem.retry_after), Some(1801));
        assert_eq!(refused.map(|problem| problem.status.as_u16()), Some(429));
        assert_eq!(quotas.admit(&of("b"), 0, start), Ok(()), "each its own");
        let both = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        assert!(quotas.admit(&both, 0, start).is_err());
        let later = start + HOUR;
        assert_eq!(quotas.admit(&of("a"), 0, later), Ok(()));
        let refused = quotas.admit(&of("a"), ROWS as usize, later).err();
        assert_eq!(
            refused.and_then(|problem| problem.retry_after),
            Some(23 * 3_600 + 1),
            "5 of the day are gone"
        );
        assert_eq!(quotas.admit(&of("a"), ROWS as usize - 5, later), Ok(()));
        assert_eq!(quotas.admit(&of("a"), ROWS as usize, start + DAY), Ok(()));
        assert_eq!(quotas.admit(&of("b"), ROWS as usize + 1, start), Ok(()), "its first");
    }
}
