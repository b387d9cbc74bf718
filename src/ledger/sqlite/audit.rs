//! The audit chain: every line carries a hash over the line before and itself, so that none can change, vanish or slip
//! in unseen. Who can rewrite the whole file can rewrite the chain; it is proof against accidents and half measures.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params, types::ValueRef};
use sha2::{Digest as _, Sha256};

use crate::{digest::Digest, ledger::AuditLine};

use super::{fault::Fault, row};

/// What the first line follows.
const START: Digest = Digest([0; 32]);

/// A line in its place.
struct Link {
    number: u64,
    line: AuditLine,
    link: Digest,
}

/// Appends lines.
pub(super) fn append(conn: &Connection, lines: &[AuditLine]) -> Result<(), Fault> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut newest = conn.prepare_cached("SELECT link FROM audit ORDER BY number DESC LIMIT 1")?;
    let newest: Option<[u8; 32]> = newest.query_row([], |row| row.get(0)).optional()?;
    let mut before = newest.map_or(START, Digest);
    let next = row::next(conn, "audit")?;
    let mut insert = conn.prepare_cached("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)")?;
    for (number, line) in (next..).zip(lines) {
        before = chained(&before, number, line);
        insert.execute(params![
            number.cast_signed(),
            line.at.as_microsecond(),
            line.who,
            line.action,
            line.path,
            line.detail,
            before.0
        ])?;
    }
    Ok(())
}

/// The newest `limit` lines, newest first.
pub(super) fn newest(conn: &Connection, limit: usize) -> Result<Vec<AuditLine>, Fault> {
    // One more than asked for: the oldest is checked against the one before it.
    let limit = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut query = conn.prepare_cached("SELECT * FROM audit ORDER BY number DESC LIMIT ?")?;
    let links = query.query_and_then([limit], read)?.collect::<Result<Vec<_>, _>>()?;
    for (at, link) in links.iter().enumerate() {
        match links.get(at + 1) {
            Some(before) => link.follows(before.number, &before.link)?,
            None if link.number == 1 => link.follows(0, &START)?,
            None => {}
        }
    }
    let asked = usize::try_from(limit - 1).unwrap_or(usize::MAX);
    Ok(links.into_iter().take(asked).map(|link| link.line).collect())
}

/// Walks the whole chain, from the first line to the last that was ever written; the first thing wrong is the error.
pub(super) fn check(conn: &Connection) -> Result<(), Fault> {
    walk(conn, |_, line| line.map(drop))
}

/// Calls `each` with every line in its place, or with what is wrong there, and goes on as long as that is fine. A line
/// is held against the link that stands in the one before, so that one broken line does not condemn all that follow.
pub(super) fn walk(
    conn: &Connection,
    mut each: impl FnMut(u64, Result<AuditLine, Fault>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut query = conn.prepare_cached("SELECT * FROM audit ORDER BY number")?;
    let mut rows = query.query([])?;
    let (mut number, mut before) = (0, START);
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(link) => {
                let follows = link.follows(number, &before);
                (number, before) = (link.number, link.link);
                each(number, follows.map(|()| link.line))?;
            }
            Err(fault) => {
                number = row.get::<_, i64>(0)?.cast_unsigned();
                before = row.get(6).map_or(START, Digest);
                each(number, Err(fault))?;
            }
        }
    }
    let next = row::next(conn, "audit")?;
    if next == number.saturating_add(1) {
        return Ok(());
    }
    let detail = format!(
        "the audit chain ends at line {number}, but line {} was written",
        next.saturating_sub(1)
    );
    each(next.saturating_sub(1), Err(Fault::Damaged(detail)))
}

impl Link {
    fn follows(&self, number: u64, before: &Digest) -> Result<(), Fault> {
        if self.number == number.saturating_add(1) && self.link == chained(before, self.number, &self.line) {
            return Ok(());
        }
        let detail = format!("the audit chain is broken at line {}", self.number);
        Err(Fault::Damaged(detail))
    }
}

fn read(row: &Row<'_>) -> Result<Link, Fault> {
    let number = row.get::<_, i64>(0)?.cast_unsigned();
    let at = Timestamp::from_microsecond(row.get(1)?);
    Ok(Link {
        number,
        line: AuditLine {
            at: at.map_err(|why| Fault::Damaged(format!("line {number} of the audit chain: {why}")))?,
            who: row.get(2)?,
            action: row.get(3)?,
            path: row.get(4)?,
            detail: row.get(5)?,
        },
        link: Digest(row.get(6)?),
    })
}

fn chained(before: &Digest, number: u64, line: &AuditLine) -> Digest {
    let mut hasher = Sha256::new();
    for value in [
        ValueRef::Blob(&before.0),
        ValueRef::Integer(number.cast_signed()),
        ValueRef::Integer(line.at.as_microsecond()),
        ValueRef::Text(line.who.as_bytes()),
        ValueRef::Text(line.action.as_bytes()),
        ValueRef::Text(line.path.as_bytes()),
        ValueRef::Text(line.detail.as_bytes()),
    ] {
        row::absorb(&mut hasher, value);
    }
    Digest(hasher.finalize().into())
}
