//! What proxies and operators write; each runs in a savepoint of its own (`writer.rs`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::{
    ledger::{
        AuditLine, Claim, Drift, Fence, Intent, Observation, Reservation, ReservationId, Reserved, RoleRow, Seq,
        Submission, Submitted, drift, lease::Lease, rule, submission,
    },
    target::TargetPath,
};

use super::{
    audit,
    fault::Fault,
    read,
    row::{self, add, one, put},
};

/// See [`Ledger::reserve`](crate::ledger::Ledger::reserve).
pub(super) fn reserve(conn: &Connection, wanted: &Reservation, superseding: bool) -> Result<Reserved, Fault> {
    let entry = read::entry(conn, &wanted.path)?;
    if let Some(refused) = rule::admit(&entry, &wanted.digest, superseding) {
        return Ok(refused);
    }
    let id = row::next(conn, "reservation")?;
    let open = Reservation {
        id,
        doubtful: false,
        ..wanted.clone()
    };
    add(conn, &open)?;
    Ok(Reserved::Granted(id))
}

/// See [`Ledger::confirm`](crate::ledger::Ledger::confirm).
pub(super) fn confirm(conn: &Connection, id: ReservationId, at: Timestamp) -> Result<Seq, Fault> {
    let Some(open) = reservation(conn, id)? else {
        return Err(Fault::Refused(format!("no reservation {id} is open")));
    };
    release(conn, id)?;
    observe(conn, &rule::confirmed(open, at))
}

/// See [`Ledger::release`](crate::ledger::Ledger::release).
pub(super) fn release(conn: &Connection, id: ReservationId) -> Result<(), Fault> {
    delete(conn, "DELETE FROM reservation WHERE id = ?", id)
}

/// See [`Ledger::doubt`](crate::ledger::Ledger::doubt).
pub(super) fn doubt(conn: &Connection, id: ReservationId) -> Result<(), Fault> {
    match reservation(conn, id)? {
        Some(open) => put(conn, &Reservation { doubtful: true, ..open }),
        None => Ok(()),
    }
}

/// See [`Ledger::observe`](crate::ledger::Ledger::observe).
pub(super) fn observe(conn: &Connection, seen: &Observation) -> Result<Seq, Fault> {
    let seq = row::next(conn, "observation")?;
    add(conn, &Observation { seq, ..seen.clone() })?;
    Ok(seq)
}

/// See [`Ledger::intend`](crate::ledger::Ledger::intend).
pub(super) fn intend(conn: &Connection, intent: &Intent) -> Result<u64, Fault> {
    let id = row::next(conn, "intent")?;
    add(conn, &Intent { id, ..intent.clone() })?;
    Ok(id)
}

/// See [`Ledger::settle_intent`](crate::ledger::Ledger::settle_intent).
pub(super) fn settle_intent(conn: &Connection, id: u64) -> Result<(), Fault> {
    delete(conn, "DELETE FROM intent WHERE id = ?", id)
}

/// See [`Ledger::submit`](crate::ledger::Ledger::submit).
pub(super) fn submit(conn: &Connection, new: &Submission, claims: &[Claim]) -> Result<Submitted, Fault> {
    let waiting: Vec<Submission> = row::all(conn, "ORDER BY id", [])?;
    let mut reserved = BTreeMap::new();
    for role in new.versions.keys() {
        if let Some(row) = one::<RoleRow>(conn, "WHERE name = ?", [role])? {
            reserved.insert(row.name, row.reserved);
        }
    }
    if let Some(refused) = submission::admit(&waiting, new, &reserved) {
        return Ok(refused);
    }
    for claim in claims {
        if let Some(refused) = submission::admit_claim(&read::entry(conn, &claim.path)?, claim) {
            return Ok(refused);
        }
    }
    let id = row::next(conn, "submission")?;
    add(conn, &Submission { id, ..new.clone() })?;
    for claim in claims.iter().cloned() {
        add(
            conn,
            &Claim {
                submission: id,
                ..claim
            },
        )?;
    }
    Ok(Submitted::Waits(id))
}

/// See [`Ledger::set_drift`](crate::ledger::Ledger::set_drift).
pub(super) fn set_drift(
    conn: &Connection,
    path: &TargetPath,
    new: Option<&Drift>,
    who: &str,
    at: Timestamp,
) -> Result<(), Fault> {
    let old: Option<Drift> = one(conn, "WHERE path = ?", [path.as_str()])?;
    let line: Option<AuditLine> = drift::line(path, old.as_ref(), new, who, at);
    audit::append(conn, line.as_slice())?;
    if let Some(new) = new {
        return put(conn, new);
    }
    let mut statement = conn.prepare_cached("DELETE FROM drift WHERE path = ?")?;
    statement.execute([path.as_str()])?;
    Ok(())
}

/// See [`Ledger::lease`](crate::ledger::Ledger::lease).
pub(super) fn lease(conn: &Connection, holder: &str, ttl_secs: u32, now: Timestamp) -> Result<Option<Fence>, Fault> {
    let Some(lease) = Lease::granted(read::lease(conn)?.as_ref(), holder, ttl_secs, now) else {
        return Ok(None);
    };
    put(conn, &lease)?;
    Ok(Some(lease.fence))
}

/// See [`Ledger::end_lease`](crate::ledger::Ledger::end_lease).
pub(super) fn end_lease(conn: &Connection, fence: Fence) -> Result<(), Fault> {
    match read::lease(conn)? {
        Some(lease) if lease.fence == fence => put(conn, &Lease { until: None, ..lease }),
        _ => Ok(()),
    }
}

fn reservation(conn: &Connection, id: ReservationId) -> Result<Option<Reservation>, Fault> {
    one(conn, "WHERE id = ?", [id.cast_signed()])
}

fn delete(conn: &Connection, sql: &str, id: u64) -> Result<(), Fault> {
    conn.prepare_cached(sql)?.execute([id.cast_signed()])?;
    Ok(())
}
