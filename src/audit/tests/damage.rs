//! Whatever is changed is found: every byte of every file, every column of every row, every row taken away or put there.

use std::fs;

use jiff::Timestamp;
use rusqlite::types::Value;

use super::world::{World, observe, record, settle, told};
use crate::{
    audit::{Report, Severity, Subject, cut::Cut, walk::Walk},
    depot::fs::FsDepot,
    digest::Digest,
    ledger::{Batch, Ledger as _, LedgerError, Provenance, State, Target},
    target::TargetPath,
    tuf::layout,
};

/// Every byte of every file, listed or superseded, with one bit of it flipped. The bits take turns, so that letters also
/// change their case, and digits to others.
#[tokio::test]
async fn a_flip_of_any_byte_of_any_metadata_file_is_found() {
    let world = World::furnished().await;
    let depot = FsDepot::look(&world.config.depot);
    let none = LedgerError::Full { place: String::new() };
    let subject = Subject {
        config: &world.config,
        ledger: Err(&none),
        depot: &depot,
        now: Timestamp::now(),
    };
    let cut = Cut::make(subject, &mut Report::default()).await;
    let mut report = Report::default();
    let mut walk = Walk::new(subject, &mut report, &cut.files);
    let walked = walk.run(cut.timestamp).await;
    assert_eq!(told(&std::mem::take(walk.report)), [""; 0]);
    let listed = walked.listed.unwrap();
    let (mut flips, mut files) = (0, 0);
    for name in world.names().await {
        let whole = fs::read(world.file(&name)).unwrap();
        let (version, role) = layout::versioned(&name).unwrap_or((listed.timestamp, "timestamp"));
        let pins = listed.roles.get(role).filter(|_| listed.version(role) == version);
        let mut found = |what: &str, bytes: Vec<u8>| {
            walk.judge(&name, role, Some(version), bytes.into(), pins);
            let report = std::mem::take(walk.report);
            let named = |place: &str| place == world.file(&name).display().to_string();
            // Other tools set white space between, and may have made this root: that it is there is told, as a warning.
            let spaced = what == "a line's end" && role == "root";
            let bad = |severity| severity == Severity::Error || (spaced && severity == Severity::Warning);
            let mut found = report.findings().filter(|finding| bad(finding.severity));
            let found = found.any(|finding| named(&finding.place));
            assert_eq!(found, what != "nothing", "{name}: {what}: {report}");
        };
        found("nothing", whole.clone());
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            // 5 is the bit of the case.
            let bit = [5, 0, 1, 4, 2, 7, 3, 6][at % 8];
            bytes[at] ^= 1 << bit;
            found(&format!("bit {bit} of byte {at}"), bytes);
        }
        found("a line's end", [&whole[..], b"\n"].concat());
        found("cut", whole[..whole.len() - 1].to_vec());
        found("empty", Vec::new());
        flips += whole.len();
        files += 1;
    }
    println!("flips of {flips} bytes of {files} files were found");
    assert!(files > 10 && flips > 5_000, "{flips} of {files}");
}

#[tokio::test]
async fn a_changed_or_missing_file_is_named_with_exit_code_65() {
    let world = World::furnished().await;
    let copy = world.copy();
    for name in world.names().await {
        let file = world.file(&name);
        let place = file.display().to_string();
        let whole = fs::read(&file).unwrap();
        for part in [0, 1, 2] {
            let mut bytes = whole.clone();
            bytes[whole.len() * part / 3 + name.len()] ^= 1;
            fs::write(&file, bytes).unwrap();
            let report = world.audit().await;
            assert_eq!(report.exit_code(), 65, "{name}");
            let named = report.findings().any(|finding| finding.place == place);
            assert!(named, "{name}: {report}");
        }
        world.restore(&copy, &file);
    }
    // Superseded files may go at any time; what is listed may not.
    for (name, missed) in [
        ("1.root.json", true),
        ("timestamp.json", true),
        ("1.targets.json", true),
        ("1.bins.json", true),
        ("succinct/1.bins.json", true),
        ("3.snapshot.json", true),
        ("1.snapshot.json", false),
        ("1.bins1-0.json", false),
    ] {
        fs::remove_file(world.file(name)).unwrap();
        let report = world.audit().await;
        assert_eq!(report.exit_code(), if missed { 65 } else { 0 }, "{name}: {report}");
        world.restore(&copy, &world.config.depot);
    }
}

/// The rows of a table: its columns, and the key of each row with all its cells.
fn cells(world: &World, table: &str) -> Vec<(String, Value, Value)> {
    let hand = world.hand();
    let mut statement = hand.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut found = Vec::new();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let key: Value = row.get(0).unwrap();
        for (at, column) in columns.iter().enumerate() {
            found.push((column.clone(), key.clone(), row.get(at).unwrap()));
        }
    }
    found
}

/// The value with one bit changed.
fn flipped(value: &Value, salt: usize) -> Value {
    match value {
        Value::Null => Value::Integer(1),
        Value::Integer(number) => Value::Integer(number ^ (1 << (5 + salt % 20))),
        Value::Text(text) if text.is_empty() => Value::Text("x".to_owned()),
        Value::Text(text) => {
            let mut bytes = text.clone().into_bytes();
            let at = salt % bytes.len();
            // Within ASCII, so that it stays text: only the meaning changes.
            bytes[at] = if bytes[at].is_ascii() { bytes[at] ^ 1 } else { b'x' };
            Value::Text(String::from_utf8_lossy(&bytes).into_owned())
        }
        Value::Blob(bytes) => {
            let mut bytes = bytes.clone();
            let at = salt % bytes.len();
            bytes[at] ^= 1 << (salt % 8);
            Value::Blob(bytes)
        }
        Value::Real(_) => unreachable!("no column holds one"),
    }
}

#[tokio::test]
async fn a_flip_of_any_column_of_any_row_is_found() {
    let world = World::furnished().await;
    // Rows of every kind.
    let ledger = world.ledger();
    observe(&ledger, "waiting", record("waiting")).await;
    let reservation = crate::ledger::Reservation {
        id: 0,
        path: TargetPath::new("uploading").unwrap(),
        digest: Digest::of("uploading"),
        length: 9,
        who: "client".to_owned(),
        at: Timestamp::now(),
        doubtful: false,
    };
    ledger.reserve(reservation, false).await.unwrap();
    drop(ledger);
    assert_eq!(told(&world.pass().await), [""; 0]);
    let copy = world.copy();
    let mut counts = Vec::new();
    for table in [
        "target",
        "role",
        "audit",
        "observation",
        "reservation",
        "lease",
        "publication",
        "tally",
    ] {
        let cells = cells(&world, table);
        for (salt, (column, key, value)) in cells.iter().enumerate() {
            let hand = world.hand();
            let first = &cells[0].0;
            let sql = format!("UPDATE {table} SET {column} = ? WHERE {first} = ?");
            let changed = hand
                .execute(&sql, rusqlite::params![flipped(value, salt), key])
                .unwrap();
            assert_eq!(changed, 1, "{table}.{column} of {key:?}");
            drop(hand);
            let report = world.pass().await;
            assert_eq!(report.exit_code(), 65, "{table}.{column} of {key:?}: {report}");
            let named = |place: &str| place.contains(&format!("ledger.db: {table}"));
            assert!(
                report.findings().any(|finding| named(&finding.place)),
                "{table}.{column}: {report}"
            );
            world.restore(&copy, &world.config.ledger);
        }
        counts.push(format!("{} of {table}", cells.len()));
    }
    println!("changed columns that were found: {}", counts.join(", "));
}

#[tokio::test]
async fn a_row_taken_away_by_hand_is_found() {
    let world = World::furnished().await;
    let ledger = world.ledger();
    for text in ["waiting", "waiting too"] {
        observe(&ledger, text, record(text)).await;
    }
    drop(ledger);
    let copy = world.copy();
    let mut number = 0;
    for table in ["target", "role", "audit", "observation", "lease"] {
        let cells = cells(&world, table);
        let first = &cells[0].0;
        let mut keys: Vec<_> = cells
            .iter()
            .filter(|(column, ..)| column == first)
            .map(|(_, key, _)| key)
            .collect();
        keys.dedup();
        for key in keys {
            let gone = world
                .hand()
                .execute(&format!("DELETE FROM {table} WHERE {first} = ?"), [key])
                .unwrap();
            assert_eq!(gone, 1);
            let report = world.pass().await;
            assert_eq!(report.exit_code(), 65, "{key:?} of {table}: {report}");
            world.restore(&copy, &world.config.ledger);
            number += 1;
        }
    }
    // Publications are numbered without gaps, up to what the counter remembers.
    let all = cells(&world, "publication").into_iter().map(|(_, key, _)| key);
    let mut all: Vec<_> = all.collect();
    all.dedup();
    assert!(all.len() > 2, "{all:?}");
    for key in &all {
        let gone = "DELETE FROM publication WHERE number = ?";
        assert_eq!(world.hand().execute(gone, [key]).unwrap(), 1);
        let report = world.pass().await;
        assert_eq!(report.exit_code(), 65, "{key:?}: {report}");
        let lines = told(&report);
        assert!(
            lines.iter().any(|line| line.contains("ledger.db: publication")),
            "{lines:?}"
        );
        world.restore(&copy, &world.config.ledger);
    }
    // The end of the chain together with the counter that remembers it: found as long as a publication was in it.
    let tail = "DELETE FROM audit WHERE number > (SELECT max(number) - 2 FROM audit);
                UPDATE sqlite_sequence SET seq = seq - 2 WHERE name = 'audit';";
    world.hand().execute_batch(tail).unwrap();
    let report = world.pass().await;
    assert!(
        told(&report).iter().any(|line| line.starts_with("publication")),
        "{report}"
    );
    println!("{number} rows taken away were found");
}

/// Exit code and text of an audit after this was done to the files, which are put back.
async fn said_after(world: &World, damage: impl FnOnce(&World)) -> (u8, String) {
    let copy = world.copy();
    damage(world);
    let report = world.audit().await;
    world.restore(&copy, &world.config.ledger);
    fs::create_dir_all(&world.config.depot).unwrap();
    world.restore(&copy, &world.config.depot);
    (report.exit_code(), report.to_string())
}

#[tokio::test]
async fn the_hint_fits_what_was_found() {
    let world = World::furnished().await;
    let (code, said) = said_after(&world, |world| {
        let mut bytes = fs::read(world.file("timestamp.json")).unwrap();
        bytes[40] ^= 1;
        fs::write(world.file("timestamp.json"), bytes).unwrap();
    })
    .await;
    assert!(code == 65 && said.contains("put the newest one back"), "{said}");
    assert!(!said.contains("a listed file never changes"), "{said}");

    let (code, said) = said_after(&world, |world| {
        assert_eq!(world.hand().execute("DELETE FROM lease", []).unwrap(), 1);
    })
    .await;
    assert!(
        code == 65 && said.contains("restore the ledger from a backup"),
        "{said}"
    );
    assert!(!said.contains("clock"), "{said}");

    let (code, said) = said_after(&world, |world| fs::remove_dir_all(&world.config.depot).unwrap()).await;
    assert!(code == 65 && said.contains("restore the depot from a backup"), "{said}");
    assert!(!said.contains("as the gate's user"), "{said}");
    assert_eq!(told(&world.audit().await), [""; 0]);
}

#[tokio::test]
async fn a_row_written_past_the_signer_is_found() {
    let world = World::furnished().await;
    let copy = world.copy();
    let target = |text: &str, of: &str, state| Target {
        path: TargetPath::new(text).unwrap(),
        digest: Digest::of(of),
        length: of.len() as u64,
        provenance: Provenance::Published,
        state,
        seq: 1,
        who: "client".to_owned(),
        at: Timestamp::now(),
        superseded: vec![],
    };
    let live = State::Live;
    for (what, targets, forgotten) in [
        (
            "a target that nobody observed",
            vec![target("new", "new", live)],
            vec![],
        ),
        ("other bytes", vec![target("dir/b", "other", live)], vec![]),
        (
            "another length",
            vec![Target {
                length: 1,
                ..target("dir/b", "dir/b", live)
            }],
            vec![],
        ),
        (
            "a tombstone in place of a target",
            vec![target("dir/b", "dir/b", State::Deleted)],
            vec![],
        ),
        (
            "a tombstone where nothing was",
            vec![target("nothing", "nothing", State::Retracted)],
            vec![],
        ),
        (
            "a retraction undone",
            vec![target("withdrawn", "withdrawn", live)],
            vec![],
        ),
        (
            "a retraction made a deletion",
            vec![target("withdrawn", "withdrawn", State::Deleted)],
            vec![],
        ),
        ("a target forgotten", vec![], vec!["dir/b"]),
        ("a tombstone forgotten", vec![], vec!["gone"]),
    ] {
        // With the checksums that the ledger itself makes: only what is signed and what was audited can tell.
        let ledger = world.ledger();
        let fence = ledger.lease("somebody", 15, Timestamp::now()).await.unwrap().unwrap();
        let forgotten = forgotten
            .into_iter()
            .map(|text| TargetPath::new(text).unwrap())
            .collect();
        let batch = Batch {
            targets,
            forgotten,
            ..Batch::default()
        };
        ledger.apply(fence, batch).await.unwrap();
        drop(ledger);
        let report = world.pass().await;
        assert_eq!(report.exit_code(), 65, "{what}: {report}");
        world.restore(&copy, &world.config.ledger);
    }
}

#[tokio::test]
async fn an_older_copy_of_either_store_is_told_from_the_other() {
    let world = World::furnished().await;
    let copy = world.copy();
    let ledger = world.ledger();
    observe(&ledger, "later", record("later")).await;
    settle(&mut world.signer()).await;
    drop(ledger);
    let newer = world.copy();
    world.restore(&copy, &world.config.depot);
    let lines = told(&world.audit().await);
    assert!(lines.iter().any(|line| line.starts_with("depot-behind")), "{lines:?}");
    world.restore(&newer, &world.config.depot);
    assert_eq!(told(&world.audit().await), [""; 0]);
    world.restore(&copy, &world.config.ledger);
    let lines = told(&world.audit().await);
    assert!(lines.iter().any(|line| line.starts_with("ledger-behind")), "{lines:?}");
}

#[tokio::test]
async fn a_ledger_that_is_none_does_not_hide_the_depot() {
    let world = World::furnished().await;
    let name = world.file("1.root.json");
    let whole = fs::read(&name).unwrap();
    fs::write(&name, [&whole[..], b" "].concat()).unwrap();
    let ledger = fs::read(&world.config.ledger).unwrap();
    for broken in [
        b"not a database".repeat(999),
        ledger[..ledger.len() / 2].to_vec(),
        Vec::new(),
    ] {
        fs::write(&world.config.ledger, broken).unwrap();
        let report = world.audit().await;
        assert_eq!(report.exit_code(), 65);
        let places: Vec<_> = report.findings().map(|finding| finding.place.as_str()).collect();
        assert!(places.iter().any(|place| place.contains("ledger.db")), "{places:?}");
        assert!(places.iter().any(|place| place.ends_with("1.root.json")), "{places:?}");
    }
}
