//! The walk for audits: like `check.rs`, but it goes on after what is wrong and hands out all that is right.

use rusqlite::{Connection, Row as SqlRow, types::ValueRef};

use crate::ledger::{
    Claim, Drift, Intent, Observation, Offer, Reservation, RoleRow, State, Submission, Target,
    lease::Lease,
    survey::{Abandoned, Damage, Row, Walker},
};

use super::{
    audit,
    fault::Fault,
    publish, read,
    row::{self, Stored},
    schema,
    stored::Numbered,
};

/// Most complaints about the file's structure.
const COMPLAINTS: u32 = 100;

/// Walks everything inside the caller's transaction.
pub(super) fn walk(conn: &Connection, out: &mut Walker) -> Result<(), Fault> {
    // The first read fixes what the transaction sees.
    schema::current(conn)?;
    out.begin().map_err(abandoned)?;
    structure(conn, out)?;
    let mut numbers = Numbers::default();
    // Told by the counter: an older one is not the newest because that one is damaged.
    let newest = row::next(conn, "publication").map_or(0, |next| next.saturating_sub(1));
    numbers.published = table(conn, out, "ORDER BY number DESC", |last: Numbered| {
        numbers.publications = numbers.publications.max(last.number);
        numbers.kept.push(last.number);
        numbers.covered = numbers.covered.max(last.publication.upto);
        (last.number == newest).then_some(Row::Publication(last.publication))
    })?;
    numbers.upto = numbers.covered;
    table(conn, out, "", |Lease { holder, fence, until }| {
        Some(Row::Lease { holder, fence, until })
    })?;
    table(conn, out, "ORDER BY name", |role: RoleRow| Some(Row::Role(role)))?;
    table(conn, out, "ORDER BY seq", |seen: Observation| {
        numbers.observations = numbers.observations.max(seen.seq);
        Some(Row::Observation(seen))
    })?;
    table(conn, out, "ORDER BY id", |open: Reservation| {
        numbers.reservations = numbers.reservations.max(open.id);
        Some(Row::Reservation(open))
    })?;
    table(conn, out, "ORDER BY id", |intent: Intent| {
        numbers.intents = numbers.intents.max(intent.id);
        Some(Row::Intent(intent))
    })?;
    table(conn, out, "ORDER BY id", |waits: Submission| {
        numbers.submissions = numbers.submissions.max(waits.id);
        Some(Row::Submission(waits))
    })?;
    // Told by the submission and made again by the signer: whole or not is all there is to them.
    table(conn, out, "ORDER BY submission, path", |_: Claim| None)?;
    table(conn, out, "ORDER BY role", |_: Offer| None)?;
    table(conn, out, "ORDER BY path", |drift: Drift| Some(Row::Drift(drift)))?;
    let chain = audit::walk(conn, |number, line| {
        let given = match line {
            Ok(line) => out.give(Row::Audit(line)),
            Err(fault) => out.give(damaged("audit", format!("line {number}"), &fault)),
        };
        given.map_err(abandoned)
    });
    went_on(chain, "audit", out)?;
    let whole = targets(conn, out, &mut numbers)?;
    went_on(between(conn, &numbers, whole, out), "structure", out)?;
    out.end().map_err(abandoned)
}

/// What the rows say of the counters beside them.
#[derive(Default)]
struct Numbers {
    publications: u64,
    /// Every publication that stands there, newest first.
    kept: Vec<u64>,
    observations: u64,
    reservations: u64,
    intents: u64,
    submissions: u64,
    /// The last observation that a publication covered.
    upto: u64,
    /// Whether every publication could be read.
    published: bool,
    /// The highest observation that a publication or a target came from.
    covered: u64,
    live: u64,
}

/// Hands out the targets; whether every row was readable.
fn targets(conn: &Connection, out: &mut Walker, numbers: &mut Numbers) -> Result<bool, Fault> {
    rows(conn, out, "ORDER BY id", |target: Target, row| {
        numbers.live += u64::from(target.state == State::Live);
        numbers.covered = numbers.covered.max(target.seq);
        // A row whose id is not that of its path would be looked for in vain, and listed in another's bin.
        let id = target.path.id();
        if row.get_ref(0).is_ok_and(|cell| cell.as_blob() == Ok(id.as_bytes())) {
            return Some(Row::Target(target));
        }
        Some(Row::Damaged(Damage {
            table: Target::TABLE.to_owned(),
            row: target.path.to_string(),
            detail: "its id is not that of its path".to_owned(),
        }))
    })
}

fn structure(conn: &Connection, out: &mut Walker) -> Result<(), Fault> {
    let complaints = schema::complaints(conn, COMPLAINTS);
    let complaints = complaints.unwrap_or_else(|fault| vec![words(&fault)]);
    for detail in complaints {
        let damage = Damage {
            table: "structure".to_owned(),
            row: String::new(),
            detail,
        };
        out.give(Row::Damaged(damage)).map_err(abandoned)?;
    }
    Ok(())
}

/// Counters against rows. `whole`: every target could be read, so that they can be counted.
fn between(conn: &Connection, numbers: &Numbers, whole: bool, out: &mut Walker) -> Result<(), Fault> {
    let mut complain = |table: &str, detail: String| {
        let damage = Damage {
            table: table.to_owned(),
            row: String::new(),
            detail,
        };
        out.give(Row::Damaged(damage)).map_err(abandoned)
    };
    let (tallied, _) = read::counts(conn)?;
    if whole && tallied != numbers.live {
        complain(
            "tally",
            format!("{} targets are live, but {tallied} are counted", numbers.live),
        )?;
    }
    let (rows, name): (i64, String) = conn.query_row("SELECT count(*), max(name) FROM tally", [], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    if (rows, name.as_str()) != (1, "live") {
        complain("tally", "it counts other things than live targets".to_owned())?;
    }
    // Only a publication drops observations, and none but those it covers: a gap is an upload that would never be signed.
    let last = row::next(conn, "observation")?.saturating_sub(1);
    let mut standing = conn.prepare("SELECT count(*) FROM observation WHERE seq > ?")?;
    let standing: i64 = standing.query_row([numbers.upto.cast_signed()], |row| row.get(0))?;
    let due = last.saturating_sub(numbers.upto);
    if numbers.published && standing.cast_unsigned() < due {
        let detail = format!("{standing} of the {due} that no publication covers are there");
        complain("observation", detail)?;
    }
    let last = row::next(conn, "publication")?.saturating_sub(1);
    if numbers.published && last > numbers.publications {
        let detail = format!(
            "the newest is number {}, but number {last} was recorded",
            numbers.publications
        );
        complain("publication", detail)?;
    }
    // Each one's number follows the one before, and the signer drops none but those beyond the last so many.
    let first = last.saturating_sub(publish::KEPT.unsigned_abs()) + 1;
    let due = (first..=numbers.publications).rev();
    if numbers.published
        && let Some(gone) = due
            .clone()
            .find(|number| numbers.kept.binary_search_by(|kept| number.cmp(kept)).is_err())
    {
        let detail = format!(
            "number {gone} is gone: {} of {} are there",
            numbers.kept.len(),
            due.count()
        );
        complain("publication", detail)?;
    }
    // A counter that fell behind would hand out a number twice, and what it numbers would count as done already.
    for (table, used) in [
        ("observation", numbers.observations.max(numbers.covered)),
        ("reservation", numbers.reservations),
        ("intent", numbers.intents),
        ("submission", numbers.submissions),
        ("publication", numbers.publications),
    ] {
        let next = row::next(conn, table)?;
        if next <= used {
            let detail = format!("number {used} was handed out, but the next one is {next}");
            complain(table, detail)?;
        }
    }
    Ok(())
}

/// Hands out a table; whether every row of it was readable.
fn table<T: Stored>(
    conn: &Connection,
    out: &mut Walker,
    order: &str,
    mut keep: impl FnMut(T) -> Option<Row>,
) -> Result<bool, Fault> {
    rows(conn, out, order, |value, _| keep(value))
}

/// The same, with a look at the row itself.
fn rows<T: Stored>(
    conn: &Connection,
    out: &mut Walker,
    order: &str,
    mut keep: impl FnMut(T, &SqlRow<'_>) -> Option<Row>,
) -> Result<bool, Fault> {
    let mut whole = true;
    let walked = (|| {
        let mut statement = conn.prepare(&format!("SELECT {}, sum FROM {} {order}", T::COLUMNS, T::TABLE))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let next = match row::verified::<T>(row) {
                Ok(value) => keep(value, row),
                Err(fault) => {
                    whole = false;
                    Some(damaged(T::TABLE, label(row), &fault))
                }
            };
            if let Some(next) = next {
                out.give(next).map_err(abandoned)?;
            }
        }
        Ok(())
    })();
    whole &= walked.is_ok();
    went_on(walked, T::TABLE, out)?;
    Ok(whole)
}

/// A table that cannot be read to its end is damage; that nobody listens any more is the end.
fn went_on(walked: Result<(), Fault>, table: &str, out: &mut Walker) -> Result<(), Fault> {
    match walked {
        Ok(()) => Ok(()),
        Err(Fault::Refused(why)) => Err(Fault::Refused(why)),
        Err(fault) => out.give(damaged(table, String::new(), &fault)).map_err(abandoned),
    }
}

fn damaged(table: &str, row: String, fault: &Fault) -> Row {
    Row::Damaged(Damage {
        table: table.to_owned(),
        row,
        detail: words(fault),
    })
}

fn words(fault: &Fault) -> String {
    match fault {
        Fault::Damaged(detail) | Fault::Refused(detail) => detail.clone(),
        Fault::Ledger(error) => error.to_string(),
        Fault::Sql(error) => error.to_string(),
    }
}

/// The row's key and, where it has one, its path: as much as can be read of it.
fn label(row: &SqlRow<'_>) -> String {
    let path = row.get_ref("path").ok().and_then(|path| path.as_str().ok());
    match (row.get_ref(0), path) {
        (Ok(ValueRef::Blob(_)), Some(path)) => path.to_owned(),
        (Ok(ValueRef::Integer(number)), Some(path)) => format!("{number} ({path})"),
        (Ok(ValueRef::Integer(number)), None) => number.to_string(),
        (Ok(ValueRef::Text(text)), _) => String::from_utf8_lossy(text).into_owned(),
        (Ok(ValueRef::Blob(bytes)), None) => hex::encode(bytes),
        _ => String::new(),
    }
}

fn abandoned(_: Abandoned) -> Fault {
    Fault::Refused("nobody reads the survey any more".to_owned())
}
