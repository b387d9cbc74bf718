//! Files that are not, or no longer, what this tufgate wrote.

use super::*;

/// Changes a bit of the first place in the file where these bytes are.
fn flip(file: &Path, needle: &[u8]) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle);
    bytes[at.expect("the bytes are there")] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[track_caller]
fn assert_damaged<T>(answer: Result<T, LedgerError>, named: &str) {
    match answer {
        Err(LedgerError::Damaged { detail, .. }) => assert!(detail.contains(named), "`{detail}` names no `{named}`"),
        Err(other) => panic!("not damaged: {other}"),
        Ok(_) => panic!("nothing was noticed"),
    }
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let (_folder, file) = furnished().await;
    let conn = Connection::open(&file).unwrap();
    conn.pragma_update(None, "user_version", schema::KNOWN + 1).unwrap();
    drop(conn);
    let before = fs::read(&file).unwrap();
    let newer = LedgerError::Newer {
        place: file.display().to_string(),
        found: schema::KNOWN + 1,
        known: schema::KNOWN,
    };
    assert_eq!(refusal(&file), newer);
    assert!(fs::read(&file).unwrap() == before);
}

#[tokio::test]
async fn a_file_of_another_kind_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    fs::write(&file, "not a database, but long enough to look like one".repeat(99)).unwrap();
    assert_damaged(Err::<(), _>(refusal(&file)), "not a database");

    fs::remove_file(&file).unwrap();
    let other = Connection::open(&file).unwrap();
    other.execute_batch("CREATE TABLE theirs (id)").unwrap();
    drop(other);
    assert_damaged(Err::<(), _>(refusal(&file)), "not a tufgate ledger");

    // Created, then nothing: the process died in between.
    fs::write(&file, "").unwrap();
    open(&file).check().await.unwrap();
}

#[tokio::test]
async fn a_broken_structure_does_not_open() {
    let (_folder, file) = furnished().await;
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    assert_damaged(Err::<(), _>(refusal(&file)), "");
    for page in 1..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..][..4096].fill(0xff);
        fs::write(&file, bytes).unwrap();
        assert_damaged(Err::<(), _>(refusal(&file)), "");
    }
}

#[tokio::test]
async fn a_changed_byte_is_noticed_by_check_and_by_every_read() {
    let (_folder, file) = furnished().await;
    let whole = fs::read(&file).unwrap();
    let damage = |needle: &[u8]| {
        fs::write(&file, &whole).unwrap();
        flip(&file, needle);
        open(&file)
    };

    let ledger = damage(&[0x5a; 32]);
    assert_damaged(ledger.check().await, "target");
    assert_damaged(ledger.lookup(&path("signed")).await, "target");
    assert_damaged(ledger.targets(&[path("signed")]).await, "target");
    assert_damaged(ledger.bin(0, 0).await, "target");
    assert_damaged(ledger.each_target(&mut |_| {}).await, "target");
    let fence = Fence(1);
    drop(ledger);

    let id = path("signed").id();
    let ledger = damage(id.as_bytes());
    assert_damaged(ledger.check().await, "target");
    assert_damaged(ledger.bin(0, 0).await, "target");
    drop(ledger);

    let ledger = damage(b"bins1-0");
    assert_damaged(ledger.check().await, "role");
    assert_damaged(ledger.roles().await, "role");
    drop(ledger);

    let ledger = damage(b"a very bad reason");
    assert_damaged(ledger.check().await, "observation");
    assert_damaged(ledger.pending(10).await, "observation");
    assert_damaged(ledger.lookup(&path("pending")).await, "observation");
    drop(ledger);

    let ledger = damage(&[0x6b; 32]);
    assert_damaged(ledger.check().await, "reservation");
    assert_damaged(ledger.confirm(1, at(1)).await, "reservation");
    drop(ledger);

    let ledger = damage(b"because");
    assert_damaged(ledger.check().await, "audit chain");
    assert_damaged(ledger.audit_lines(10).await, "audit chain");
    drop(ledger);

    // A row changed with SQLite's own help is no less noticed.
    fs::write(&file, &whole).unwrap();
    let hand = Connection::open(&file).unwrap();
    hand.execute("UPDATE role SET reserved = 0 WHERE name = 'snapshot'", [])
        .unwrap();
    drop(hand);
    let ledger = open(&file);
    assert_damaged(sign(&ledger, fence, 2).await, "role");
}

#[tokio::test]
async fn a_line_that_left_the_audit_chain_is_missed() {
    let (_folder, file) = furnished().await;
    let whole = fs::read(&file).unwrap();
    for number in 1..=3 {
        fs::write(&file, &whole).unwrap();
        let hand = Connection::open(&file).unwrap();
        hand.execute("DELETE FROM audit WHERE number = ?", [number]).unwrap();
        drop(hand);
        assert_damaged(open(&file).check().await, "audit chain");
    }
}
