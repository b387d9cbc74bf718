//! What stands in the depot without being listed: superseded files that their grace covers, leftovers, and what is not
//! the gate's. Their content was verified by the walk; this is about whether they should be there.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    depot::{Stored, TIMESTAMP},
    tuf::layout::{self, SUCCINCT},
};

use super::{Code, Report, Subject, walk::Walked};

/// A file this young may belong to a publication that goes on.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// Beside the grace itself: the signer collects every ten minutes, and counts the grace anew when it starts.
const SLACK: Duration = Duration::from_secs(3_600);

/// Says what each file is doing there.
pub(super) fn check(subject: Subject<'_>, stored: &[Stored], walked: &Walked, report: &mut Report) {
    let mut written: HashMap<&str, BTreeMap<u64, Timestamp>> = HashMap::new();
    for file in stored {
        if let Some((version, role)) = layout::versioned(&file.name) {
            written.entry(role).or_default().insert(version, file.modified);
        }
    }
    let offline = subject.config.keys.targets.is_none();
    let grace = subject.config.signer.retain.max(SLACK) * 2 + SLACK;
    let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
    for file in stored {
        let place = subject.config.depot.join(&file.name);
        let place = place.display();
        let role = layout::versioned(&file.name);
        let (version, role) = match role.filter(|(_, role)| is_ours(&file.name, role, walked)) {
            Some(known) => known,
            None if file.name == TIMESTAMP => continue,
            None => {
                report.warning(Code::Foreign, place, "the gate does not write files of this name");
                continue;
            }
        };
        let Some(listed) = walked.listed.as_ref().map(|listed| listed.version(role)) else {
            continue;
        };
        let age = |since: Timestamp| subject.now.duration_since(since);
        if role == "root" || version == listed {
            continue;
        }
        if version > listed {
            if age(file.modified) > FRESH && !(role == "targets" && offline) {
                report.note(Code::Leftover, place, "written for a publication that never ended");
            }
            continue;
        }
        let successor = written.get(role).and_then(|files| files.range(version + 1..).next());
        if successor.is_some_and(|(_, at)| age(*at) > grace) {
            report.note(Code::Leftover, place, "superseded long ago, and not collected");
        }
    }
}

/// Whether a versioned name is one that this depot's roles give.
fn is_ours(name: &str, role: &str, walked: &Walked) -> bool {
    // A depot that cannot be followed says nothing about its roles.
    let known = walked.known.contains(role) || (walked.listed.is_none() && role.starts_with("bins"));
    known && role != "timestamp" && (layout::is_twofold(role) || !name.starts_with(SUCCINCT))
}
