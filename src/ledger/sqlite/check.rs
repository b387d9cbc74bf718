//! The full walk: structure, checksums, the audit chain and what must agree between tables.

use rusqlite::Connection;

use crate::ledger::{
    Claim, Drift, Intent, Observation, Offer, Reservation, RoleRow, State, Submission, Target, lease::Lease,
};

use super::{audit, fault::Fault, read, schema, stored::Numbered};

/// Reads everything; the first thing that is wrong is the error.
pub(super) fn everything(conn: &Connection) -> Result<(), Fault> {
    schema::structure(conn, "integrity_check")?;
    let mut live = 0;
    read::walk(conn, |target: &Target| live += u64::from(target.state == State::Live))?;
    read::walk(conn, |_: &Observation| {})?;
    read::walk(conn, |_: &Reservation| {})?;
    read::walk(conn, |_: &Intent| {})?;
    read::walk(conn, |_: &Submission| {})?;
    read::walk(conn, |_: &Claim| {})?;
    read::walk(conn, |_: &Offer| {})?;
    read::walk(conn, |_: &Drift| {})?;
    read::walk(conn, |_: &RoleRow| {})?;
    read::walk(conn, |_: &Lease| {})?;
    read::walk(conn, |_: &Numbered| {})?;
    audit::check(conn)?;
    let (tallied, _) = read::counts(conn)?;
    if tallied == live {
        return Ok(());
    }
    let detail = format!("{live} targets are live, but {tallied} are counted");
    Err(Fault::Damaged(detail))
}
