//! Tombstones against the audit chain. No signed file lists a deleted or retracted path, so that only the chain can tell
//! that such a row was taken away, or put there, by hand. Pure.

use std::collections::BTreeMap;

use crate::ledger::{AuditLine, State, Target};

/// What the chain last said of each path that it says is no longer live.
#[derive(Debug, Default)]
pub(super) struct Tombstones(BTreeMap<String, State>);

impl Tombstones {
    /// Takes the next line of the chain.
    pub(super) fn line(&mut self, line: &AuditLine) {
        match line.action.as_str() {
            "delete" => drop(self.0.insert(line.path.clone(), State::Deleted)),
            "retract" => drop(self.0.insert(line.path.clone(), State::Retracted)),
            "record" | "supersede" | "forget" => drop(self.0.remove(&line.path)),
            _ => {}
        }
    }

    /// Holds a row against it; what is wrong with the row.
    pub(super) fn row(&mut self, target: &Target) -> Option<String> {
        let said = self.0.remove(target.path.as_str()).unwrap_or(State::Live);
        (said != target.state).then(|| {
            format!(
                "the row says {}, the audit chain's last word is {}",
                word(target.state),
                word(said)
            )
        })
    }

    /// Paths the chain says are gone without a row that says so, too.
    pub(super) fn missing(self) -> impl Iterator<Item = (String, String)> {
        let told = |state| format!("there is no row, the audit chain's last word is {}", word(state));
        self.0.into_iter().map(move |(path, state)| (path, told(state)))
    }
}

pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Live => "live",
        State::Deleted => "deleted",
        State::Retracted => "retracted",
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use jiff::Timestamp;

    use super::*;
    use crate::{digest::Digest, ledger::Provenance, target::TargetPath};

    fn line(action: &str, path: &str) -> AuditLine {
        AuditLine {
            at: Timestamp::UNIX_EPOCH,
            who: "client".into(),
            action: action.into(),
            path: path.into(),
            detail: String::new(),
        }
    }

    fn row(path: &str, state: State) -> Target {
        Target {
            path: TargetPath::new(path).unwrap(),
            digest: Digest([0; 32]),
            length: 0,
            provenance: Provenance::Published,
            state,
            seq: 1,
            who: "client".into(),
            at: Timestamp::UNIX_EPOCH,
            superseded: vec![],
        }
    }

    #[test]
    fn the_chains_last_word_counts() {
        let mut stones = Tombstones::default();
        for (action, path) in [
            ("record", "live"),
            ("delete", "live"),
            ("record", "live"),
            ("refuse", "live"),
            ("delete", "deleted"),
            ("refuse", "deleted"),
            ("delete", "taken"),
            ("delete", "retracted"),
            ("retract", "retracted"),
            ("retract", "forgotten"),
            ("forget", "forgotten"),
            ("publish", ""),
        ] {
            stones.line(&line(action, path));
        }
        for (path, state, good) in [
            ("live", State::Live, true),
            ("deleted", State::Deleted, true),
            ("retracted", State::Live, false),
            ("never", State::Retracted, false),
        ] {
            assert_eq!(stones.row(&row(path, state)).is_none(), good, "{path}");
        }
        let missing: Vec<_> = stones.missing().map(|(path, _)| path).collect();
        assert_eq!(missing, ["taken"]);
    }
}
