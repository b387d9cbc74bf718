//! What proxies and operators ask of a ledger.

use super::*;

suite! {
    changes_are_noticed
    an_upload_is_reserved_then_pending
    a_released_upload_leaves_nothing
    uploads_of_the_same_bytes_stand_beside_each_other
    other_bytes_meet_what_is_recorded
    a_reservation_meets_another_path_never
    confirming_twice_is_an_error
    numbers_are_never_used_again
    intents_stand_until_they_are_settled
    drift_is_kept_and_audited_when_it_is_news
    audit_lines_come_newest_first
    every_act_survives
    odd_values_survive
}

async fn changes_are_noticed(ledger: &dyn Ledger) {
    let before = ledger.changes().await.unwrap();
    let id = granted(ledger, "a", 1).await;
    ledger.confirm(id, at(1)).await.unwrap();
    let fence = ledger.lease("s", 15, at(1)).await.unwrap().unwrap();
    ledger.audit(line("record")).await.unwrap();
    ledger.end_lease(fence).await.unwrap();
    let mut last = ledger.changes().await.unwrap();
    assert_eq!(last, before, "what was known reads as it did");
    for act in [
        Act::Replace {
            digest: digest(2),
            length: 5,
        },
        Act::Delete,
        Act::Retract { reason: String::new() },
        Act::Forget,
    ] {
        ledger.observe(observation("a", act.clone())).await.unwrap();
        let now = ledger.changes().await.unwrap();
        assert_ne!(now, last, "{act:?}");
        last = now;
    }
    // Also when the observation has come and gone between two looks.
    for action in ["supersede", "delete", "retract", "forget", "drift", "drift-end"] {
        ledger.audit(line(action)).await.unwrap();
        let now = ledger.changes().await.unwrap();
        assert_ne!(now, last, "{action}");
        last = now;
    }
    assert_eq!(ledger.changes().await.unwrap(), last, "nothing was written");
}

async fn an_upload_is_reserved_then_pending(ledger: &dyn Ledger) {
    let id = granted(ledger, "a/b", 1).await;
    let open = Reservation {
        id,
        ..reservation("a/b", 1)
    };
    let known = ledger.lookup(&path("a/b")).await.unwrap();
    assert_eq!(known.reservations, std::slice::from_ref(&open));
    ledger.doubt(id).await.unwrap();
    let doubtful = Reservation { doubtful: true, ..open };
    assert_eq!(ledger.reservations().await.unwrap(), [doubtful]);

    let seq = ledger.confirm(id, at(101)).await.unwrap();
    let seen = Observation {
        seq,
        at: at(101),
        ..observation("a/b", record(1))
    };
    let expected = Entry {
        pending: vec![seen.clone()],
        ..Entry::default()
    };
    assert_eq!(ledger.lookup(&path("a/b")).await.unwrap(), expected);
    assert_eq!(ledger.pending(10).await.unwrap(), [seen]);
    assert_eq!(ledger.counts().await.unwrap(), (0, 1));
}

async fn a_released_upload_leaves_nothing(ledger: &dyn Ledger) {
    let id = granted(ledger, "a/b", 1).await;
    ledger.release(id).await.unwrap();
    assert_eq!(ledger.lookup(&path("a/b")).await.unwrap(), Entry::default());
    assert_eq!(ledger.reservations().await.unwrap(), []);
    // Somebody else settled it: no news.
    ledger.release(id).await.unwrap();
    ledger.doubt(id).await.unwrap();
    assert_eq!(ledger.reservations().await.unwrap(), []);
}

async fn uploads_of_the_same_bytes_stand_beside_each_other(ledger: &dyn Ledger) {
    let first = granted(ledger, "a/b", 1).await;
    let second = granted(ledger, "a/b", 1).await;
    assert_ne!(first, second);
    for superseding in [false, true] {
        let held = ledger.reserve(reservation("a/b", 2), superseding).await.unwrap();
        let open = Reservation {
            id: first,
            ..reservation("a/b", 1)
        };
        assert_eq!(held, Reserved::Held(open));
    }
    ledger.release(first).await.unwrap();
    ledger.confirm(second, at(101)).await.unwrap();
    granted(ledger, "a/b", 1).await;
}

async fn other_bytes_meet_what_is_recorded(ledger: &dyn Ledger) {
    ledger.observe(observation("a/b", record(1))).await.unwrap();
    let recorded = Reserved::Conflict(rule::Conflict::Recorded { recorded: digest(1) });
    assert_eq!(ledger.reserve(reservation("a/b", 2), false).await.unwrap(), recorded);
    let fence = leased(ledger).await;
    sign(ledger, fence, 1).await.unwrap();
    assert_eq!(ledger.reserve(reservation("a/b", 2), false).await.unwrap(), recorded);
    ledger.observe(observation("a/b", Act::Delete)).await.unwrap();
    let deleted = Reserved::Conflict(rule::Conflict::Deleted { deleted: digest(1) });
    assert_eq!(ledger.reserve(reservation("a/b", 2), false).await.unwrap(), deleted);
    assert_eq!(ledger.reservations().await.unwrap(), []);
    ledger.observe(observation("a/b", Act::Forget)).await.unwrap();
    granted(ledger, "a/b", 2).await;
}

async fn a_reservation_meets_another_path_never(ledger: &dyn Ledger) {
    granted(ledger, "a/b", 1).await;
    granted(ledger, "a/c", 2).await;
    granted(ledger, "a/B", 3).await;
    assert_eq!(ledger.lookup(&path("a/c")).await.unwrap().reservations.len(), 1);
}

async fn confirming_twice_is_an_error(ledger: &dyn Ledger) {
    let id = granted(ledger, "a/b", 1).await;
    ledger.confirm(id, at(101)).await.unwrap();
    for id in [id, 77] {
        let Err(LedgerError::Store { detail, .. }) = ledger.confirm(id, at(101)).await else {
            panic!("nothing is open")
        };
        assert_eq!(detail, format!("no reservation {id} is open"));
    }
    assert_eq!(ledger.pending(10).await.unwrap().len(), 1);
}

async fn numbers_are_never_used_again(ledger: &dyn Ledger) {
    let seq = ledger.observe(observation("a/b", record(1))).await.unwrap();
    let fence = leased(ledger).await;
    sign(ledger, fence, 1).await.unwrap();
    assert_eq!(ledger.pending(10).await.unwrap(), []);
    assert!(ledger.observe(observation("a/b", record(1))).await.unwrap() > seq);
    let id = granted(ledger, "a/c", 1).await;
    ledger.release(id).await.unwrap();
    assert!(granted(ledger, "a/c", 1).await > id);
}

async fn intents_stand_until_they_are_settled(ledger: &dyn Ledger) {
    let intent = |text| Intent {
        id: 0,
        path: path(text),
        provenance: Provenance::Reported,
        who: "gate".into(),
        at: at(5),
    };
    let first = ledger.intend(intent("a/b")).await.unwrap();
    let second = ledger.intend(intent("a/c")).await.unwrap();
    let expected = [
        Intent {
            id: first,
            ..intent("a/b")
        },
        Intent {
            id: second,
            ..intent("a/c")
        },
    ];
    assert_eq!(ledger.intents().await.unwrap(), expected);
    ledger.settle_intent(first).await.unwrap();
    ledger.settle_intent(first).await.unwrap();
    assert_eq!(ledger.intents().await.unwrap(), expected[1..]);
}

async fn drift_is_kept_and_audited_when_it_is_news(ledger: &dyn Ledger) {
    let drift = |text, of, second| Drift {
        path: path(text),
        recorded: digest(1),
        observed: digest(of),
        observed_length: 9,
        at: at(second),
    };
    let actions = async || {
        let lines = ledger.audit_lines(10).await.unwrap();
        lines
            .into_iter()
            .map(|line| (line.action, line.path, line.who))
            .collect::<Vec<_>>()
    };
    let said = |action: &str| (action.to_owned(), "b".to_owned(), "gate".to_owned());

    ledger.set_drift(&path("b"), None, "gate", at(1)).await.unwrap();
    assert_eq!(actions().await, []);
    for (of, second, lines) in [(2, 1, 1), (2, 2, 1), (3, 3, 2)] {
        let drift = drift("b", of, second);
        ledger
            .set_drift(&path("b"), Some(drift.clone()), "gate", at(second))
            .await
            .unwrap();
        assert_eq!(ledger.lookup(&path("b")).await.unwrap().drift, Some(drift));
        assert_eq!(actions().await, vec![said("drift"); lines]);
    }
    ledger
        .set_drift(&path("a"), Some(drift("a", 2, 4)), "gate", at(4))
        .await
        .unwrap();
    assert_eq!(ledger.drifts().await.unwrap(), [drift("a", 2, 4), drift("b", 3, 3)]);
    ledger.set_drift(&path("b"), None, "gate", at(5)).await.unwrap();
    assert_eq!(actions().await[0], said("drift-end"));
    assert_eq!(ledger.lookup(&path("b")).await.unwrap(), Entry::default());
    assert_eq!(ledger.drifts().await.unwrap(), [drift("a", 2, 4)]);
}

async fn audit_lines_come_newest_first(ledger: &dyn Ledger) {
    assert_eq!(ledger.audit_lines(3).await.unwrap(), []);
    for action in ["one", "two", "three"] {
        ledger.audit(line(action)).await.unwrap();
    }
    assert_eq!(ledger.audit_lines(2).await.unwrap(), [line("three"), line("two")]);
    assert_eq!(ledger.audit_lines(usize::MAX).await.unwrap().len(), 3);
    assert_eq!(ledger.audit_lines(0).await.unwrap(), []);
}

async fn every_act_survives(ledger: &dyn Ledger) {
    let provenances = [
        Provenance::Fetched,
        Provenance::Reported,
        Provenance::Declared,
        Provenance::Published,
    ];
    let mut acts = vec![
        Act::Replace {
            digest: digest(3),
            length: 0,
        },
        Act::Delete,
        Act::Retract {
            reason: "„malware“\n\0".into(),
        },
        Act::Forget,
    ];
    acts.extend(provenances.map(|provenance| Act::Record {
        digest: digest(1),
        length: u64::MAX,
        provenance,
    }));
    for act in &acts {
        ledger.observe(observation("a/b", act.clone())).await.unwrap();
    }
    let pending = ledger.pending(usize::MAX).await.unwrap();
    assert_eq!(
        pending.iter().map(|seen| &seen.act).collect::<Vec<_>>(),
        acts.iter().collect::<Vec<_>>()
    );
    assert!(pending.is_sorted_by(|a, b| a.seq < b.seq));
    assert_eq!(ledger.pending(2).await.unwrap(), pending[..2]);
}

async fn odd_values_survive(ledger: &dyn Ledger) {
    let odd = Observation {
        who: "client ::1 'quoted' \u{202e}".into(),
        at: Timestamp::from_microsecond(-1).unwrap(),
        ..observation("dir/ö/☃ +'!", record(1))
    };
    let seq = ledger.observe(odd.clone()).await.unwrap();
    assert_eq!(ledger.pending(1).await.unwrap(), [Observation { seq, ..odd }]);
    let big = Reservation {
        length: u64::MAX,
        ..reservation("big", 1)
    };
    ledger.reserve(big, false).await.unwrap();
    assert_eq!(ledger.reservations().await.unwrap()[0].length, u64::MAX);
}
