//! Random sequences of operations, answered alike by every ledger.

use std::fmt::Debug;

use proptest::{collection::vec, prelude::*};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Reserve(u8, u8, bool),
    Confirm(u64),
    Release(u64),
    Doubt(u64),
    Observe(u8, Act),
    Intend(u8),
    SettleIntent(u64),
    SetDrift(u8, Option<u8>),
    Lease(u8, u32),
    EndLease(u64),
    Sign(u64),
    Raise(u64, u64, bool),
    Audit,
    Reopen,
}

fn steps() -> impl Strategy<Value = Step> {
    use Provenance::{Declared, Fetched, Published, Reported};
    let provenances = prop_oneof![Just(Fetched), Just(Reported), Just(Declared), Just(Published)];
    let acts = prop_oneof![
        6 => (1_u8..4, 0_u64..3, provenances).prop_map(|(of, length, provenance)| Act::Record {
            digest: digest(of), length, provenance,
        }),
        1 => (1_u8..4).prop_map(|of| Act::Replace { digest: digest(of), length: 1 }),
        2 => Just(Act::Delete),
        1 => Just(Act::Retract { reason: "r".into() }),
        1 => Just(Act::Forget),
    ];
    prop_oneof![
        6 => (0_u8..3, 1_u8..4, any::<bool>()).prop_map(|(path, of, over)| Step::Reserve(path, of, over)),
        4 => (1_u64..12).prop_map(Step::Confirm),
        1 => (1_u64..12).prop_map(Step::Release),
        1 => (1_u64..12).prop_map(Step::Doubt),
        6 => (0_u8..3, acts).prop_map(|(path, act)| Step::Observe(path, act)),
        1 => (0_u8..3).prop_map(Step::Intend),
        1 => (1_u64..4).prop_map(Step::SettleIntent),
        2 => (0_u8..3, proptest::option::of(1_u8..4)).prop_map(|(path, of)| Step::SetDrift(path, of)),
        3 => (0_u8..2, 0_u32..60).prop_map(|(who, ttl)| Step::Lease(who, ttl)),
        1 => (1_u64..6).prop_map(Step::EndLease),
        4 => (1_u64..6).prop_map(Step::Sign),
        1 => (1_u64..6, 0_u64..9, any::<bool>()).prop_map(|(fence, version, out)| Step::Raise(fence, version, out)),
        1 => Just(Step::Audit),
        1 => Just(Step::Reopen),
    ]
}

/// The answer as text; of a failure only what ledgers have in common.
fn said<T: Debug>(answer: Result<T, LedgerError>) -> String {
    match answer {
        Err(LedgerError::Store { detail, .. }) => format!("failed: {detail}"),
        answer => format!("{answer:?}"),
    }
}

fn named(path_number: u8) -> TargetPath {
    path(&format!("dir/{path_number}"))
}

/// Takes one step; `clock` counts the steps.
async fn take(ledger: &dyn Ledger, step: &Step, clock: i64) -> String {
    let now = at(clock * 10);
    match step.clone() {
        Step::Reserve(on, of, superseding) => {
            let wanted = Reservation {
                path: named(on),
                at: now,
                ..reservation("x", of)
            };
            said(ledger.reserve(wanted, superseding).await)
        }
        Step::Confirm(id) => said(ledger.confirm(id, now).await),
        Step::Release(id) => said(ledger.release(id).await),
        Step::Doubt(id) => said(ledger.doubt(id).await),
        Step::Observe(on, act) => {
            let seen = Observation {
                path: named(on),
                at: now,
                ..observation("x", act)
            };
            said(ledger.observe(seen).await)
        }
        Step::Intend(on) => {
            let intent = Intent {
                id: 0,
                path: named(on),
                provenance: Provenance::Reported,
                who: "gate".into(),
                at: now,
            };
            said(ledger.intend(intent).await)
        }
        Step::SettleIntent(id) => said(ledger.settle_intent(id).await),
        Step::SetDrift(on, of) => {
            let drift = of.map(|of| Drift {
                path: named(on),
                recorded: digest(9),
                observed: digest(of),
                observed_length: 1,
                at: now,
            });
            said(ledger.set_drift(&named(on), drift, "gate", now).await)
        }
        Step::Lease(who, ttl) => said(ledger.lease(&format!("signer {who}"), ttl, now).await),
        Step::EndLease(fence) => said(ledger.end_lease(Fence(fence)).await),
        Step::Sign(fence) => said(sign(ledger, Fence(fence), clock.unsigned_abs()).await),
        Step::Raise(fence, version, out) => said(ledger.raise_version(Fence(fence), "snapshot", version, out).await),
        Step::Audit => said(ledger.audit(line("note")).await),
        Step::Reopen => String::new(),
    }
}

/// All that can be asked.
async fn all(ledger: &dyn Ledger) -> Vec<String> {
    let paths = [0, 1, 2].map(named);
    let mut each = Vec::new();
    ledger
        .each_target(&mut |target| each.push(target.clone()))
        .await
        .unwrap();
    let mut answers = vec![
        said(ledger.reservations().await),
        said(ledger.intents().await),
        said(ledger.drifts().await),
        said(ledger.pending(100).await),
        said(ledger.targets(&paths).await),
        said(ledger.publication().await),
        said(ledger.roles().await),
        said(ledger.counts().await),
        said(ledger.audit_lines(100).await),
        said(ledger.bin(1, 0).await),
        said(ledger.bin_names(1, 1).await.map(|mut names| {
            names.sort_unstable();
            names
        })),
        said(ledger.check().await),
        format!("{each:?}"),
    ];
    for path in &paths {
        answers.push(said(ledger.lookup(path).await));
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_sqlite_answer_alike(steps in vec(steps(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let memory = MemoryLedger::new();
            let (folder, mut sqlite) = sqlite();
            for (clock, step) in (0..).zip(&steps) {
                if matches!(step, Step::Reopen) {
                    drop(sqlite);
                    sqlite = SqliteLedger::open(&file(&folder)).unwrap();
                }
                let (expected, answer) = (take(&memory, step, clock).await, take(&sqlite, step, clock).await);
                prop_assert_eq!(answer, expected, "at step {}: {:?}", clock, step);
            }
            prop_assert_eq!(all(&sqlite).await, all(&memory).await);
            Ok(())
        })?;
    }
}
