//! Opening the file: who may read it, how it is written, which schema it has.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::ledger::LedgerError;

use super::fault::Fault;

/// The steps from an empty file to the newest schema; `PRAGMA user_version` counts those taken.
const STEPS: [&str; 3] = [
    include_str!("schema.sql"),
    include_str!("schema-2.sql"),
    include_str!("schema-3.sql"),
];

/// `PRAGMA application_id` of a ledger: "tufg".
const APPLICATION_ID: i64 = 0x7475_6667;

/// The newest schema this binary knows.
pub(super) const KNOWN: i64 = STEPS.len() as i64;

/// How long a statement waits for another process to end its transaction.
const PATIENCE: Duration = Duration::from_secs(10);

/// Files up to this size have their structure checked when they are opened. Larger ones would delay every start by
/// seconds; [`Ledger::check`](crate::ledger::Ledger::check) walks them.
const CHECKED_WHEN_OPENED: u64 = 256 << 20;

/// Opens the file for writing; creates it, readable by its owner alone, when it is missing.
pub(super) fn writer(path: &Path) -> Result<Connection, LedgerError> {
    let place = path.display().to_string();
    create(path).map_err(|error| LedgerError::Store {
        place: place.clone(),
        detail: error.to_string(),
    })?;
    let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|fault| fault.at(&place))?;
    recognise(&conn, &place).map_err(|fault| fault.at(&place))?;
    prepare(&mut conn, path).map_err(|fault| fault.at(&place))?;
    Ok(conn)
}

/// Whether the file is a ledger that can be read as it is.
pub(super) fn look(path: &Path, place: &str) -> Result<(), LedgerError> {
    let looked = reader(path).and_then(|conn| {
        recognise(&conn, place)?;
        current(&conn)
    });
    looked.map_err(|fault| fault.at(place))
}

/// Refuses a schema that is not this binary's own.
pub(super) fn current(conn: &Connection) -> Result<(), Fault> {
    match version(conn)? {
        KNOWN => Ok(()),
        0 => Err(Fault::Damaged("it is empty".to_owned())),
        older => Err(Fault::Refused(format!(
            "its schema is {older}; a tufgate that serves brings it to {KNOWN}"
        ))),
    }
}

/// Opens the file for reading.
pub(super) fn reader(path: &Path) -> Result<Connection, Fault> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn create(path: &Path) -> io::Result<()> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match created {
        Ok(_) => {
            // The file's own name must survive a power cut as its content does.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, Fault> {
    // Without SQLITE_OPEN_URI, though a name that starts with `file:` is still taken for a URI by this build.
    let mut conn = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    wait_briskly(&mut conn)?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.execute_batch(
        "PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -4096;",
    )?;
    Ok(conn)
}

/// Waits for another process's lock in short steps. SQLite's own handler soon sleeps 100 ms at a time, which a signer
/// beside a busy gate would add to every publication.
fn wait_briskly(conn: &mut Connection) -> Result<(), Fault> {
    let mut since = Instant::now();
    conn.busy_handler(Some(move |tries: i32| {
        if tries == 0 {
            since = Instant::now();
        }
        thread::sleep(Duration::from_micros(
            200 * u64::from(tries.clamp(1, 10).unsigned_abs()),
        ));
        since.elapsed() < PATIENCE
    }))?;
    Ok(())
}

fn version(conn: &Connection) -> Result<i64, Fault> {
    Ok(conn.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Refuses a file that is not ours to change: another program's, or a newer tufgate's.
fn recognise(conn: &Connection, place: &str) -> Result<(), Fault> {
    let found = version(conn)?;
    if found > KNOWN {
        let place = place.to_owned();
        let newer = LedgerError::Newer {
            place,
            found,
            known: KNOWN,
        };
        return Err(newer.into());
    }
    let application: i64 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, found, tables) {
        (APPLICATION_ID, ..) | (_, 0, 0) => Ok(()),
        _ => Err(Fault::Damaged("this is not a tufgate ledger".to_owned())),
    }
}

/// Brings the file to the newest schema and checks it.
fn prepare(conn: &mut Connection, path: &Path) -> Result<(), Fault> {
    write_ahead(conn)?;
    let step = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Asked again inside the transaction: another process may just have made the tables.
    let found = version(&step)?;
    for sql in STEPS.iter().skip(usize::try_from(found).unwrap_or_default()) {
        step.execute_batch(sql)?;
    }
    if found != KNOWN {
        step.pragma_update(None, "user_version", KNOWN)?;
    }
    step.commit()?;
    let length = path.metadata().map_or(0, |meta| meta.len());
    if length <= CHECKED_WHEN_OPENED {
        structure(conn, "quick_check")?;
    }
    Ok(())
}

/// Write-ahead log, flushed at every commit.
fn write_ahead(conn: &Connection) -> Result<(), Fault> {
    let since = Instant::now();
    let mode: String = loop {
        // SQLite does not call the busy handler here, and two processes may start at the same moment.
        match conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)) {
            Err(error) if busy(&error) && since.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(2)),
            answer => break answer?,
        }
    };
    if mode != "wal" {
        let detail = format!("its file system allows no write-ahead log (journal mode `{mode}`)");
        return Err(Fault::Refused(detail));
    }
    conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384;")?;
    Ok(())
}

fn busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}

/// Everything `integrity_check` and a comparison with the schema's own text have to say, at most `limit` of it.
pub(super) fn complaints(conn: &Connection, limit: u32) -> Result<Vec<String>, Fault> {
    let mut found = Vec::new();
    let mut check = conn.prepare(&format!("PRAGMA integrity_check({limit})"))?;
    for said in check.query_map([], |row| row.get::<_, String>(0))? {
        found.extend(Some(said?).filter(|said| said != "ok"));
    }
    // A trigger or an index of somebody else's would be no damage to SQLite.
    let model = Connection::open_in_memory()?;
    STEPS.iter().try_for_each(|sql| model.execute_batch(sql))?;
    let (ours, theirs) = (objects(&model)?, objects(conn)?);
    found.extend(
        ours.difference(&theirs)
            .map(|(kind, name, _)| format!("the schema's {kind} `{name}` is missing or was changed")),
    );
    let names: BTreeSet<_> = ours.iter().map(|(_, name, _)| name).collect();
    let strange = theirs.difference(&ours).filter(|(_, name, _)| !names.contains(name));
    found.extend(strange.map(|(kind, name, _)| format!("the {kind} `{name}` is not this schema's")));
    Ok(found)
}

/// What a file's schema defines: kind, name and text.
fn objects(conn: &Connection) -> Result<BTreeSet<(String, String, Option<String>)>, Fault> {
    let mut query = conn.prepare("SELECT type, name, sql FROM sqlite_schema")?;
    let objects = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(objects.collect::<Result<_, _>>()?)
}

/// Runs `quick_check` or `integrity_check`; the first complaint is the error.
pub(super) fn structure(conn: &Connection, pragma: &str) -> Result<(), Fault> {
    let said: String = conn.query_row(&format!("PRAGMA {pragma}(1)"), [], |row| row.get(0))?;
    if said == "ok" {
        Ok(())
    } else {
        Err(Fault::Damaged(said))
    }
}
