//! Queries; each runs inside a transaction that the caller began.

use rusqlite::{Connection, params};

use crate::{
    digest::Digest,
    ledger::{Claim, Entry, Fence, LedgerError, Observation, Publication, Reservation, Target, lease::Lease, range},
    target::TargetPath,
};

use super::{
    fault::Fault,
    row::{self, all, one},
    stored::Numbered,
};

/// All that is known of a path: five look-ups by key.
pub(super) fn entry(conn: &Connection, path: &TargetPath) -> Result<Entry, Fault> {
    let target = target(conn, path)?;
    let applied = target.as_ref().map_or(0, |target| target.seq);
    let text = path.as_str();
    Ok(Entry {
        // The unary plus keeps SQLite on the index by path: by `seq` it would walk all that is pending.
        pending: all::<Observation>(
            conn,
            "WHERE path = ? AND +seq > ? ORDER BY seq",
            params![text, applied.cast_signed()],
        )?,
        reservations: all::<Reservation>(conn, "WHERE path = ? ORDER BY id", [text])?,
        claims: all::<Claim>(conn, "WHERE path = ? ORDER BY submission", [text])?,
        drift: one(conn, "WHERE path = ?", [text])?,
        target,
    })
}

/// What is recorded at a path.
pub(super) fn target(conn: &Connection, path: &TargetPath) -> Result<Option<Target>, Fault> {
    one(conn, "WHERE id = ?", [path.id().0])
}

/// What is recorded at these paths.
pub(super) fn targets(conn: &Connection, paths: &[TargetPath]) -> Result<Vec<Target>, Fault> {
    paths.iter().filter_map(|path| target(conn, path).transpose()).collect()
}

/// Observations that no publication covers. Those it covers are gone, so this is all of them.
pub(super) fn pending(conn: &Connection, limit: usize) -> Result<Vec<Observation>, Fault> {
    all(conn, "ORDER BY seq LIMIT ?", [i64::try_from(limit).unwrap_or(i64::MAX)])
}

/// Live targets of a bin, by path.
pub(super) fn bin(conn: &Connection, bits: u8, bin: u32) -> Result<Vec<Target>, Fault> {
    let Some(ids) = range::of_bin(bits, bin) else {
        return Ok(Vec::new());
    };
    let tail = "WHERE id BETWEEN ? AND ? AND state = 'live'";
    let mut targets: Vec<Target> = all(conn, tail, [ids.start().0, ids.end().0])?;
    targets.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(targets)
}

/// Paths of the live targets in a bin.
pub(super) fn bin_names(conn: &Connection, bits: u8, bin: u32) -> Result<Vec<String>, Fault> {
    let Some(ids) = range::of_bin(bits, bin) else {
        return Ok(Vec::new());
    };
    let sql = "SELECT path FROM target WHERE id BETWEEN ? AND ? AND state = 'live'";
    let mut statement = conn.prepare_cached(sql)?;
    let names = statement.query_map([ids.start().0, ids.end().0], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// The next `limit` live targets by id; `None` starts.
pub(super) fn after(conn: &Connection, id: Option<Digest>, limit: usize) -> Result<Vec<Target>, Fault> {
    // Every id is greater than the empty one.
    let id = id.as_ref().map_or(&[][..], |id| &id.0);
    let tail = "WHERE id > ? AND state = 'live' ORDER BY id LIMIT ?";
    all(conn, tail, params![id, i64::try_from(limit).unwrap_or(i64::MAX)])
}

/// Numbers of live targets and of pending observations.
pub(super) fn counts(conn: &Connection) -> Result<(u64, u64), Fault> {
    let mut statement = conn.prepare_cached("SELECT value, (SELECT count(*) FROM observation) FROM tally")?;
    let (live, pending): (i64, i64) = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((live.cast_unsigned(), pending.cast_unsigned()))
}

/// The newest publication.
pub(super) fn publication(conn: &Connection) -> Result<Option<Publication>, Fault> {
    Ok(newest(conn)?.map(|newest| newest.publication))
}

/// The newest publication with its number.
pub(super) fn newest(conn: &Connection) -> Result<Option<Numbered>, Fault> {
    one(conn, "ORDER BY number DESC LIMIT 1", [])
}

/// The newest lease.
pub(super) fn lease(conn: &Connection) -> Result<Option<Lease>, Fault> {
    one(conn, "WHERE one = 1", [])
}

/// Refuses any fence but the newest.
pub(super) fn admit(conn: &Connection, fence: Fence) -> Result<(), Fault> {
    Lease::admit(lease(conn)?.as_ref(), fence).map_err(|refused: LedgerError| refused.into())
}

/// Reads every row of a table, to see that it can be read.
pub(super) fn walk<T: row::Stored>(conn: &Connection, mut each: impl FnMut(&T)) -> Result<(), Fault> {
    let sql = format!("SELECT {}, sum FROM {}", T::COLUMNS, T::TABLE);
    let mut statement = conn.prepare(&sql)?;
    for value in statement.query_and_then([], row::verified::<T>)? {
        each(&value?);
    }
    Ok(())
}
