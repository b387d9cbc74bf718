//! What an audit asks of a ledger.

use super::*;
use crate::ledger::Row;

suite! {
    a_survey_hands_out_everything_once_and_in_order
    a_survey_sees_one_moment
}

async fn rows(ledger: &dyn Ledger) -> Vec<Row> {
    let mut survey = ledger.survey().await.unwrap();
    let mut rows = Vec::new();
    while let Some(row) = survey.next().await.unwrap() {
        rows.push(row);
    }
    rows
}

async fn a_survey_hands_out_everything_once_and_in_order(ledger: &dyn Ledger) {
    assert_eq!(rows(ledger).await, []);
    for text in ["a", "b", "gone"] {
        ledger.observe(observation(text, record(1))).await.unwrap();
    }
    ledger.observe(observation("gone", Act::Delete)).await.unwrap();
    let fence = leased(ledger).await;
    sign(ledger, fence, 1).await.unwrap();
    ledger.observe(observation("c", record(2))).await.unwrap();
    granted(ledger, "d", 3).await;
    let intent = Intent {
        id: 0,
        path: path("e"),
        provenance: Provenance::Reported,
        who: "client".into(),
        at: at(4),
    };
    ledger.intend(intent).await.unwrap();
    let drift = Drift {
        path: path("a"),
        recorded: digest(1),
        observed: digest(2),
        observed_length: 9,
        at: at(5),
    };
    ledger.set_drift(&path("a"), Some(drift), "gate", at(5)).await.unwrap();

    let mut expected = vec![Row::Publication(ledger.publication().await.unwrap().unwrap())];
    expected.push(Row::Lease {
        holder: "signer".into(),
        fence,
        until: Some(at(60)),
    });
    expected.extend(ledger.roles().await.unwrap().into_iter().map(Row::Role));
    expected.extend(ledger.pending(9).await.unwrap().into_iter().map(Row::Observation));
    expected.extend(ledger.reservations().await.unwrap().into_iter().map(Row::Reservation));
    expected.extend(ledger.intents().await.unwrap().into_iter().map(Row::Intent));
    expected.extend(ledger.submissions().await.unwrap().into_iter().map(Row::Submission));
    expected.extend(ledger.drifts().await.unwrap().into_iter().map(Row::Drift));
    let lines = ledger.audit_lines(9).await.unwrap();
    expected.extend(lines.into_iter().rev().map(Row::Audit));
    let mut targets = ledger.targets(&["a", "b", "gone"].map(path)).await.unwrap();
    targets.sort_by_key(|target| target.path.id());
    expected.extend(targets.into_iter().map(Row::Target));
    assert_eq!(expected.len(), 1 + 1 + 2 + 1 + 1 + 1 + 1 + 2 + 3);
    assert_eq!(rows(ledger).await, expected);
}

async fn a_survey_sees_one_moment(ledger: &dyn Ledger) {
    ledger.audit(line("before")).await.unwrap();
    let mut survey = ledger.survey().await.unwrap();
    ledger.audit(line("after")).await.unwrap();
    ledger.observe(observation("a", record(1))).await.unwrap();
    assert_eq!(survey.next().await.unwrap(), Some(Row::Audit(line("before"))));
    assert_eq!(survey.next().await.unwrap(), None);
}
