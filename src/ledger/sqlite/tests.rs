//! What only a file can do: be shared, reopened, full (and, in `damage`, broken).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod damage;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::mpsc,
};

use futures_util::{FutureExt, future::join_all};
use rusqlite::Connection;

use super::*;
use crate::ledger::{
    Act, Row, State,
    conformance::{at, digest, file, granted, leased, line, observation, path, record, reservation, sign, sqlite},
};

fn open(path: &Path) -> SqliteLedger {
    SqliteLedger::open(path).unwrap()
}

fn refusal(path: &Path) -> LedgerError {
    SqliteLedger::open(path).err().expect("it must not open")
}

/// A ledger with a row in every table, closed.
async fn furnished() -> (tempfile::TempDir, PathBuf) {
    let (folder, ledger) = sqlite();
    ledger.observe(observation("signed", record(0x5a))).await.unwrap();
    let fence = leased(&ledger).await;
    sign(&ledger, fence, 1).await.unwrap();
    let reason = "a very bad reason".into();
    ledger
        .observe(observation("pending", Act::Retract { reason }))
        .await
        .unwrap();
    granted(&ledger, "reserved", 0x6b).await;
    ledger.audit(line("first")).await.unwrap();
    ledger.audit(line("second")).await.unwrap();
    let file = file(&folder);
    (folder, file)
}

/// Stops the writer until the sender is used or dropped, so that what is queued meanwhile makes one group.
fn hold(ledger: &SqliteLedger) -> (mpsc::Sender<()>, impl Future<Output = Result<(), LedgerError>>) {
    let (go, wait) = mpsc::channel::<()>();
    let (began, begun) = mpsc::channel();
    let mut held = Box::pin(ledger.writer.write(move |_| {
        let _ = began.send(());
        let _ = wait.recv();
        Ok(())
    }));
    // The first poll queues it.
    assert!(held.as_mut().now_or_never().is_none());
    begun.recv().unwrap();
    (go, held)
}

#[tokio::test]
async fn only_its_owner_reads_the_file() {
    let (folder, ledger) = sqlite();
    ledger.audit(line("note")).await.unwrap();
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let mode = folder.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let (folder, _ledger) = sqlite();
    let refusal = refusal(&folder.path().join("none/ledger.sqlite")).to_string();
    assert!(
        refusal.contains("none/ledger.sqlite") && refusal.contains("No such file"),
        "{refusal}"
    );
}

#[tokio::test]
async fn reopening_keeps_all() {
    let (_folder, file) = furnished().await;
    let ledger = open(&file);
    ledger.check().await.unwrap();
    let signed = ledger.lookup(&path("signed")).await.unwrap().target.unwrap();
    assert_eq!((signed.digest, signed.state), (digest(0x5a), State::Live));
    assert_eq!(ledger.pending(10).await.unwrap().len(), 1);
    assert_eq!(ledger.reservations().await.unwrap()[0].digest, digest(0x6b));
    assert_eq!(ledger.audit_lines(2).await.unwrap(), [line("second"), line("first")]);
    assert_eq!(ledger.publication().await.unwrap().unwrap().roles.len(), 2);
    assert_eq!(ledger.counts().await.unwrap(), (1, 1));
    assert_eq!(ledger.lease("another", 60, at(1)).await.unwrap(), None);
}

#[tokio::test]
async fn looking_neither_makes_nor_changes_a_file() {
    let (folder, file) = furnished().await;
    assert!(SqliteLedger::look(&folder.path().join("none.sqlite")).is_err());
    assert!(!folder.path().join("none.sqlite").exists());
    let before = fs::read(&file).unwrap();
    let looking = SqliteLedger::look(&file).unwrap();
    assert_eq!(looking.counts().await.unwrap(), (1, 1));
    let refused = looking.audit(line("third")).await.unwrap_err().to_string();
    assert!(refused.contains("reading only"), "{refused}");
    drop(looking);
    assert!(fs::read(&file).unwrap() == before);

    Connection::open(&file)
        .unwrap()
        .pragma_update(None, "user_version", schema::KNOWN + 1)
        .unwrap();
    assert!(matches!(SqliteLedger::look(&file), Err(LedgerError::Newer { .. })));
}

#[tokio::test]
async fn a_survey_goes_on_after_what_is_damaged() {
    let (_folder, file) = furnished().await;
    let hand = Connection::open(&file).unwrap();
    hand.execute_batch(
        "UPDATE role SET reserved = 9 WHERE name = 'snapshot'; UPDATE audit SET who = 'me' WHERE number = 2;
         UPDATE tally SET value = 7; UPDATE sqlite_sequence SET seq = 0 WHERE name = 'observation';
         CREATE TRIGGER theirs AFTER INSERT ON audit BEGIN DELETE FROM observation; END;",
    )
    .unwrap();
    drop(hand);
    let mut survey = SqliteLedger::look(&file).unwrap().survey().await.unwrap();
    let (mut damaged, mut whole) = (Vec::new(), 0);
    while let Some(row) = survey.next().await.unwrap() {
        match row {
            Row::Damaged(damage) => damaged.push((damage.table, damage.row)),
            _ => whole += 1,
        }
    }
    let damaged: Vec<_> = damaged.iter().map(|(table, row)| (&**table, &**row)).collect();
    let expected = [
        ("structure", ""),
        ("role", "snapshot"),
        ("audit", "line 2"),
        ("tally", ""),
        ("observation", ""),
    ];
    assert_eq!(damaged, expected);
    // Publication, lease, the other role, the observation, the reservation, the other two lines, the target.
    assert_eq!(whole, 8);
}

#[tokio::test]
async fn what_was_answered_survives_a_crash() {
    let (folder, ledger) = sqlite();
    let seq = ledger.observe(observation("a/b", record(1))).await.unwrap();
    // What a machine that loses its power now would find.
    let after = tempfile::tempdir().unwrap();
    for name in ["ledger.sqlite", "ledger.sqlite-wal"] {
        fs::copy(folder.path().join(name), after.path().join(name)).unwrap();
    }
    let survivor = open(&file(&after));
    assert_eq!(survivor.pending(10).await.unwrap()[0].seq, seq);
    survivor.check().await.unwrap();
}

#[tokio::test]
async fn two_handles_see_each_other() {
    let (folder, gate) = sqlite();
    let signer = open(&file(&folder));
    let id = granted(&gate, "a/b", 1).await;
    assert_eq!(signer.lookup(&path("a/b")).await.unwrap().reservations.len(), 1);
    gate.confirm(id, at(1)).await.unwrap();
    let fence = leased(&signer).await;
    sign(&signer, fence, 1).await.unwrap();
    let entry = gate.lookup(&path("a/b")).await.unwrap();
    assert_eq!((entry.target.unwrap().digest, entry.pending), (digest(1), vec![]));
    assert_eq!(gate.lease("gate", 60, at(1)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_handles_write_at_once() {
    let (folder, one) = sqlite();
    let two = open(&file(&folder));
    let writes = (0..200).map(|n| {
        let ledger = if n % 2 == 0 { &one } else { &two };
        ledger.observe(observation(&format!("dir/{n}"), record(1)))
    });
    let mut numbers: Vec<_> = join_all(writes).await.into_iter().map(Result::unwrap).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    one.audit(line("one")).await.unwrap();
    two.audit(line("two")).await.unwrap();
    one.check().await.unwrap();
}

#[test]
fn many_may_create_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    let opened: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| SqliteLedger::open(&file))).collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap().map(drop))
            .collect()
    });
    assert_eq!(opened, vec![Ok(()); 8]);
}

#[tokio::test]
async fn writes_that_wait_share_a_commit() {
    let (_folder, ledger) = sqlite();
    let (go, held) = hold(&ledger);
    let mut writes = Box::pin(join_all(
        (0..200).map(|n| ledger.observe(observation(&format!("dir/{n}"), record(1)))),
    ));
    assert!(writes.as_mut().now_or_never().is_none());
    let before = ledger.commits();
    drop(go);
    held.await.unwrap();
    assert!(writes.await.into_iter().all(|seq| seq.is_ok()));
    // The one that was held, and all others.
    assert_eq!(ledger.commits() - before, 2);
}

#[tokio::test]
async fn a_failed_operation_fails_no_other() {
    let (_folder, ledger) = sqlite();
    let (go, held) = hold(&ledger);
    let (first, second) = (observation("first", record(1)), observation("second", record(1)));
    let mut group = Box::pin(futures_util::future::join3(
        ledger.observe(first),
        ledger.writer.write(|conn| -> Result<(), Fault> {
            write::observe(conn, &observation("failed", record(1)))?;
            Err(Fault::Refused("no".to_owned()))
        }),
        ledger.observe(second),
    ));
    assert!(group.as_mut().now_or_never().is_none());
    drop(go);
    held.await.unwrap();
    let (first, failed, second) = group.await;
    assert!(failed.is_err());
    assert_eq!((first, second), (Ok(1), Ok(2)));
    let paths: Vec<_> = ledger
        .pending(9)
        .await
        .unwrap()
        .into_iter()
        .map(|seen| seen.path)
        .collect();
    assert_eq!(paths, [path("first"), path("second")]);
}

#[tokio::test]
async fn a_failed_commit_is_taken_apart() {
    let (_folder, ledger) = sqlite();
    let tables = "CREATE TABLE parent (id INTEGER PRIMARY KEY);
        CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED);";
    ledger
        .writer
        .write(move |conn| Ok(conn.execute_batch(tables)?))
        .await
        .unwrap();
    let (go, held) = hold(&ledger);
    let mut group = Box::pin(futures_util::future::join3(
        ledger.observe(observation("first", record(1))),
        // Runs well, but makes the commit of everything beside it fail.
        ledger
            .writer
            .write(|conn| Ok(conn.execute("INSERT INTO child VALUES (1)", [])?)),
        ledger.observe(observation("second", record(1))),
    ));
    assert!(group.as_mut().now_or_never().is_none());
    drop(go);
    held.await.unwrap();
    let (first, failed, second) = group.await;
    assert!(matches!(failed, Err(LedgerError::Store { .. })), "{failed:?}");
    assert_eq!((first, second), (Ok(1), Ok(2)));
    assert_eq!(ledger.counts().await.unwrap(), (0, 2));
}

#[tokio::test]
async fn a_write_nobody_waits_for_is_made() {
    let (_folder, ledger) = sqlite();
    let (go, held) = hold(&ledger);
    let mut abandoned = Box::pin(ledger.observe(observation("a/b", record(1))));
    assert!(abandoned.as_mut().now_or_never().is_none());
    drop(abandoned);
    drop(go);
    held.await.unwrap();
    ledger.audit(line("after it")).await.unwrap();
    assert_eq!(ledger.pending(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_disk_is_said_and_passes() {
    let (_folder, ledger) = sqlite();
    let limit = async |spare: i64| {
        let limit = move |conn: &Connection| {
            let pages: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0))?;
            Ok(conn.pragma_update_and_check(None, "max_page_count", pages + spare, |_| Ok(()))?)
        };
        ledger.writer.write(limit).await.unwrap();
    };
    let large = || Observation {
        who: "x".repeat(1 << 20),
        ..observation("large", record(1))
    };
    limit(8).await;
    let (go, held) = hold(&ledger);
    let mut group = Box::pin(futures_util::future::join3(
        ledger.observe(observation("first", record(1))),
        ledger.observe(large()),
        ledger.observe(observation("second", record(1))),
    ));
    assert!(group.as_mut().now_or_never().is_none());
    drop(go);
    held.await.unwrap();
    let (first, full, second) = group.await;
    assert!(matches!(full, Err(LedgerError::Full { .. })), "{full:?}");
    assert_eq!((first, second), (Ok(1), Ok(2)));
    // Reads go on; once there is space, so do writes.
    assert_eq!(ledger.counts().await.unwrap(), (0, 2));
    limit(1 << 20).await;
    assert_eq!(ledger.observe(large()).await, Ok(3));
    ledger.check().await.unwrap();
}

#[tokio::test]
async fn old_publications_are_dropped() {
    let (_folder, ledger) = sqlite();
    let fence = leased(&ledger).await;
    let publication = |number: u64| Publication {
        snapshot: number,
        timestamp: number,
        upto: 0,
        at: at(1),
        roles: vec![("timestamp".into(), number, at(2))],
    };
    let publish = |number| ledger.publish(fence, publication(number));
    for result in join_all((1..=1010).map(publish)).await {
        result.unwrap();
    }
    assert_eq!(ledger.publication().await.unwrap(), Some(publication(1010)));
    let kept = ledger.readers.read(|conn| {
        let sql = "SELECT count(*), min(number), sum(roles <> '[]') FROM publication";
        Ok(conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
    });
    assert_eq!(kept.await, Ok((1000, 11, 1)));
    ledger.check().await.unwrap();
}

#[tokio::test]
async fn a_held_upload_is_told_across_handles() {
    let (folder, one) = sqlite();
    let two = open(&file(&folder));
    let id = granted(&one, "a/b", 1).await;
    one.doubt(id).await.unwrap();
    let Reserved::Held(open) = two.reserve(reservation("a/b", 2), true).await.unwrap() else {
        panic!("another upload is open")
    };
    assert!(open.doubtful);
}
