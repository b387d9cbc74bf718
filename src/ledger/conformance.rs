//! One suite that every ledger passes (`intake`, `signer`), and random sequences that all must answer alike
//! (`sequences`).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod intake;
mod sequences;
mod signer;
mod survey;

use std::path::PathBuf;

use jiff::Timestamp;

use crate::{digest::Digest, target::TargetPath};

use super::{
    Act, AuditLine, Batch, Claim, Drift, Entry, Fence, Intent, Ledger, LedgerError, Observation, Offer, Provenance,
    Publication, Reservation, Reserved, Seq, State, Submission, Submitted, Target, memory::MemoryLedger, rule,
    sqlite::SqliteLedger,
};

/// Makes a test of each function for each ledger.
macro_rules! suite {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&$crate::ledger::memory::MemoryLedger::new()).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                let (_folder, ledger) = $crate::ledger::conformance::sqlite();
                super::$name(&ledger).await;
                $crate::ledger::Ledger::check(&ledger).await.unwrap();
            })*
        }
    };
}
use suite;

/// A ledger in a folder that lasts as long as the first half.
pub(super) fn sqlite() -> (tempfile::TempDir, SqliteLedger) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(&file(&folder)).unwrap();
    (folder, ledger)
}

/// Where [`sqlite`] keeps it.
pub(super) fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("ledger.sqlite")
}

pub(super) fn path(text: &str) -> TargetPath {
    TargetPath::new(text).unwrap()
}

pub(super) fn digest(of: u8) -> Digest {
    Digest([of; 32])
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn observation(text: &str, act: Act) -> Observation {
    Observation {
        seq: 0,
        path: path(text),
        act,
        who: "client 127.0.0.1".into(),
        at: at(100),
    }
}

pub(super) fn record(of: u8) -> Act {
    Act::Record {
        digest: digest(of),
        length: u64::from(of) * 1000,
        provenance: Provenance::Published,
    }
}

pub(super) fn reservation(text: &str, of: u8) -> Reservation {
    Reservation {
        id: 0,
        path: path(text),
        digest: digest(of),
        length: u64::from(of) * 1000,
        who: "client 127.0.0.1".into(),
        at: at(90),
        doubtful: false,
    }
}

pub(super) fn line(action: &str) -> AuditLine {
    AuditLine {
        at: at(7),
        who: "operator".into(),
        action: action.into(),
        path: "a/b".into(),
        detail: "because".into(),
    }
}

pub(super) async fn granted(ledger: &dyn Ledger, text: &str, of: u8) -> u64 {
    match ledger.reserve(reservation(text, of), false).await.unwrap() {
        Reserved::Granted(id) => id,
        other => panic!("not granted: {other:?}"),
    }
}

pub(super) async fn leased(ledger: &dyn Ledger) -> Fence {
    ledger.lease("signer", 60, at(0)).await.unwrap().unwrap()
}

/// What a signer does: applies what is pending, publishes it as that snapshot.
pub(super) async fn sign(ledger: &dyn Ledger, fence: Fence, snapshot: u64) -> Result<Vec<u64>, LedgerError> {
    let pending = ledger.pending(100).await?;
    let mut batch = Batch {
        versions: vec!["bins1-0".into(), "snapshot".into()],
        ..Batch::default()
    };
    let mut upto = ledger.publication().await?.map_or(0, |last| last.upto);
    for seen in pending {
        let current = batch.targets.iter().find(|target| target.path == seen.path).cloned();
        let current = match current {
            _ if batch.forgotten.contains(&seen.path) => current,
            None => ledger.lookup(&seen.path).await?.target,
            known => known,
        };
        match rule::decide(current.as_ref(), &seen, false) {
            rule::Verdict::Changed(target) => {
                batch.targets.retain(|old| old.path != target.path);
                batch.targets.push(target);
            }
            rule::Verdict::Forgotten => {
                batch.targets.retain(|old| old.path != seen.path);
                batch.forgotten.push(seen.path.clone());
            }
            rule::Verdict::Same => {}
            rule::Verdict::Refused(why) => batch.audit.push(AuditLine {
                detail: why.to_string(),
                ..line("refuse")
            }),
        }
        upto = seen.seq;
    }
    let versions = ledger.apply(fence, batch).await?;
    let publication = Publication {
        snapshot,
        timestamp: snapshot,
        upto,
        at: at(snapshot.cast_signed()),
        roles: vec![
            ("bins1-0".into(), versions[0], at(1000)),
            ("snapshot".into(), versions[1], at(500)),
        ],
    };
    ledger.publish(fence, publication).await?;
    Ok(versions)
}
