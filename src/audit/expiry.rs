//! What has expired, or will before anybody signs it anew.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{config::Tuf, depot::TIMESTAMP, tuf::layout};

use super::{Code, Report, Subject, walk::Walked};

/// What people sign is due this long before.
const BY_HAND: Duration = Duration::from_secs(30 * 86_400);

/// Reports.
pub(super) fn check(subject: Subject<'_>, walked: &Walked, report: &mut Report) {
    let mut look = |name: String, expires: Timestamp, ahead: Duration| {
        if let Some(message) = judge(expires, ahead, subject.now) {
            let place = subject.config.depot.join(name);
            report.warning(Code::Expiry, place.display(), message);
        }
    };
    let root = walked.root.as_ref();
    let date = |root: &serde_json::Value| {
        Some((
            root.get("version")?.as_u64()?,
            root.get("expires")?.as_str()?.parse().ok()?,
        ))
    };
    if let Some((version, expires)) = root.and_then(date) {
        look(layout::file("root", version), expires, BY_HAND);
    }
    let offline = subject.config.keys.targets.is_none();
    if let Some(listed) = &walked.listed {
        for (role, expires) in &listed.expires {
            let name = match role.as_str() {
                "timestamp" => TIMESTAMP.to_owned(),
                _ => layout::file(role, listed.version(role)),
            };
            let ahead = match role.as_str() {
                "targets" if offline => BY_HAND,
                _ => lifetime(&subject.config.tuf, role) / 4,
            };
            look(name, *expires, ahead);
        }
    }
}

fn lifetime(tuf: &Tuf, role: &str) -> Duration {
    match role {
        "timestamp" => tuf.timestamp_expiry,
        "snapshot" => tuf.snapshot_expiry,
        "targets" => tuf.targets_expiry,
        "bins" => tuf.delegator_expiry,
        _ => tuf.bin_expiry,
    }
}

/// The signer renews at half of a lifetime: what has less than `ahead` left was not renewed.
fn judge(expires: Timestamp, ahead: Duration, now: Timestamp) -> Option<String> {
    let left = expires.duration_since(now);
    if left <= SignedDuration::ZERO {
        return Some(format!("it expired at {expires:.0}: clients refuse it"));
    }
    let near = left < SignedDuration::try_from(ahead).unwrap_or(SignedDuration::MAX);
    near.then(|| format!("it expires at {expires:.0} and should have been signed anew by now"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn near_is_told_from_over() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let ahead = Duration::from_secs(100);
        assert_eq!(judge(at(1_101), ahead, at(1_001)), None);
        assert!(judge(at(1_100), ahead, at(1_001)).unwrap().contains("expires at"));
        assert!(judge(at(1_001), ahead, at(1_001)).unwrap().contains("expired"));
    }
}
