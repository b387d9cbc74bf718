//! What the signer writes; each carries its fence and runs in a savepoint of its own (`writer.rs`).

use rusqlite::Connection;

use crate::{
    digest::Digest,
    ledger::{AuditLine, Batch, Fence, Offer, Publication, RoleRow, State, Target},
};

use super::{
    audit,
    fault::Fault,
    read::{self, admit},
    row::{self, add, one, put},
    stored::{self, Numbered},
};

/// Publications kept.
pub(super) const KEPT: i64 = 1000;

/// See [`Ledger::apply`](crate::ledger::Ledger::apply).
pub(super) fn apply(conn: &Connection, fence: Fence, batch: &Batch) -> Result<Vec<u64>, Fault> {
    admit(conn, fence)?;
    let mut live = 0;
    for path in &batch.forgotten {
        let id = path.id();
        live -= was_live(conn, &id)?;
        conn.prepare_cached("DELETE FROM target WHERE id = ?")?
            .execute([id.0])?;
    }
    // In the order of the tree, so that a large batch touches each page once. The sort keeps the order of equal ids.
    let mut targets: Vec<(Digest, &Target)> = batch.targets.iter().map(|target| (target.path.id(), target)).collect();
    targets.sort_by_key(|(id, _)| *id);
    for (id, target) in targets {
        live += i64::from(target.state == State::Live) - was_live(conn, &id)?;
        put(conn, target)?;
    }
    if live != 0 {
        let mut tally = conn.prepare_cached("UPDATE tally SET value = value + ? WHERE name = 'live'")?;
        tally.execute([live])?;
    }
    audit::append(conn, &batch.audit)?;
    let reserve = |name: &String| change(conn, name, RoleRow::reserve);
    batch.versions.iter().map(reserve).collect()
}

/// See [`Ledger::raise_version`](crate::ledger::Ledger::raise_version).
pub(super) fn raise_version(
    conn: &Connection,
    fence: Fence,
    role: &str,
    version: u64,
    published: bool,
) -> Result<(), Fault> {
    admit(conn, fence)?;
    change(conn, role, |role| role.raise(version, published))
}

/// See [`Ledger::publish`](crate::ledger::Ledger::publish).
pub(super) fn publish(conn: &Connection, fence: Fence, publication: &Publication) -> Result<(), Fault> {
    admit(conn, fence)?;
    let upto = i64::try_from(publication.upto).unwrap_or(i64::MAX);
    conn.prepare_cached("DELETE FROM observation WHERE seq <= ?")?
        .execute([upto])?;
    for (name, version, expires) in &publication.roles {
        change(conn, name, |role| role.list(*version, *expires))?;
    }
    // The list of roles is only asked of the newest, and may be long.
    if let Some(mut before) = read::newest(conn)? {
        before.publication.roles.clear();
        put(conn, &before)?;
    }
    audit::append(conn, publication.line().as_slice())?;
    let number = row::next(conn, "publication")?;
    let publication = publication.clone();
    add(conn, &Numbered { number, publication })?;
    let mut forget = conn.prepare_cached("DELETE FROM publication WHERE number <= ?")?;
    forget.execute([number.cast_signed() - KEPT])?;
    Ok(())
}

/// See [`Ledger::end_submissions`](crate::ledger::Ledger::end_submissions).
pub(super) fn end_submissions(conn: &Connection, fence: Fence, ids: &[u64], lines: &[AuditLine]) -> Result<(), Fault> {
    admit(conn, fence)?;
    for id in ids {
        conn.prepare_cached("DELETE FROM submission WHERE id = ?")?
            .execute([id.cast_signed()])?;
        conn.prepare_cached("DELETE FROM claim WHERE submission = ?")?
            .execute([id.cast_signed()])?;
    }
    audit::append(conn, lines)
}

/// See [`Ledger::offer`](crate::ledger::Ledger::offer).
pub(super) fn offer(conn: &Connection, fence: Fence, offer: &Offer) -> Result<(), Fault> {
    admit(conn, fence)?;
    if !offer.body.is_empty() {
        return put(conn, offer);
    }
    conn.prepare_cached("DELETE FROM offer WHERE role = ?")?
        .execute([&offer.role])?;
    Ok(())
}

/// Changes a role's row, which is made when it is missing.
fn change<T>(conn: &Connection, name: &str, step: impl FnOnce(&mut RoleRow) -> T) -> Result<T, Fault> {
    let mut role = one(conn, "WHERE name = ?", [name])?.unwrap_or_else(|| RoleRow::new(name));
    let answer = step(&mut role);
    put(conn, &role)?;
    Ok(answer)
}

/// 1 when the row is there and live, else 0.
fn was_live(conn: &Connection, id: &Digest) -> Result<i64, Fault> {
    let mut statement = conn.prepare_cached("SELECT count(*) FROM target WHERE id = ? AND state = ?")?;
    let live = stored::state(State::Live);
    Ok(statement.query_row(rusqlite::params![id.0, live], |row| row.get(0))?)
}
