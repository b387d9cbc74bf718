//! Which value lies in which columns.

use jiff::Timestamp;
use rusqlite::types::Value;
use serde::Serialize;

use crate::{
    digest::Digest,
    ledger::{
        Claim, Drift, Fence, Intent, Observation, Offer, Provenance, Publication, Reservation, RoleRow, State,
        Submission, Target, lease::Lease,
    },
    target::TargetPath,
};

use super::{
    fault::Fault,
    row::{Cells, Stored},
};

fn number(value: u64) -> Value {
    Value::Integer(value.cast_signed())
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn path(value: &TargetPath) -> Value {
    text(value.as_str())
}

fn digest(value: &Digest) -> Value {
    Value::Blob(value.0.into())
}

fn time(value: Timestamp) -> Value {
    Value::Integer(value.as_microsecond())
}

/// JSON of plain values, which never fails: there are no maps with odd keys in them. Were it to, the row would read as
/// damaged.
fn json(value: &impl Serialize) -> Value {
    Value::Text(serde_json::to_string(value).unwrap_or_default())
}

/// The words are those of JSON, which [`Cells::variant`] reads.
fn word(provenance: Provenance) -> Value {
    text(match provenance {
        Provenance::Fetched => "fetched",
        Provenance::Reported => "reported",
        Provenance::Declared => "declared",
        Provenance::Published => "published",
        Provenance::Delegated => "delegated",
    })
}

impl Stored for Target {
    const TABLE: &'static str = "target";
    const COLUMNS: &'static str = "id, path, digest, length, provenance, state, seq, who, at, superseded";

    fn cells(&self) -> Vec<Value> {
        vec![
            digest(&self.path.id()),
            path(&self.path),
            digest(&self.digest),
            number(self.length),
            word(self.provenance),
            text(state(self.state)),
            number(self.seq),
            text(&self.who),
            time(self.at),
            json(&self.superseded),
        ]
    }

    fn read(row: &Cells<'_>) -> Result<Self, Fault> {
        Ok(Self {
            path: row.path(1)?,
            digest: row.digest(2)?,
            length: row.number(3)?,
            provenance: row.variant(4)?,
            state: row.variant(5)?,
            seq: row.number(6)?,
            who: row.text(7)?,
            at: row.time(8)?,
            superseded: row.json(9)?,
        })
    }
}

/// The word for a state, in the column and in queries.
pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Live => "live",
        State::Deleted => "deleted",
        State::Retracted => "retracted",
    }
}

impl Stored for Observation {
    const TABLE: &'static str = "observation";
    const COLUMNS: &'static str = "seq, path, act, who, at";

    fn cells(&self) -> Vec<Value> {
        vec![
            number(self.seq),
            path(&self.path),
            json(&self.act),
            text(&self.who),
            time(self.at),
        ]
    }

    fn read(row: &Cells<'_>) -> Result<Self, Fault> {
        Ok(Self {
            seq: row.number(0)?,
            path: row.path(1)?,
            act: row.json(2)?,
            who: row.text(3)?,
            at: row.time(4)?,
        })
    }
}

impl Stored for Reservation {
    const TABLE: &'static str = "reservation";
    const COLUMNS: &'static str = "id, path, digest, length, who, at, doubtful";

    fn cells(&self) -> Vec<Value> {
        vec![
            number(self.id),
            path(&self.path),
            digest(&self.digest),
            number(self.length),
            text(&self.who),
            time(self.at),
            number(self.doubtful.into()),
        ]
    }

    fn read(row: &Cells<'_>) -> Result<Self, Fault> {
        Ok(Self {
            id: row.number(0)?,
            path: row.path(1)?,
            digest: row.digest(2)?,
            length: row.number(3)?,
            who: row.text(4)?,
            at: row.time(5)?,
            doubtful: row.flag(6)?,
        })
    }
}

impl Stored for Intent {
    const TABLE: &'static str = "intent";
    const COLUMNS: &'static str = "id, path, provenance, who, at";

    fn cells(&self) -> Vec<Value> {
        vec![
            number(self.id),
            path(&self.path),
            word(self.provenance),
            text(&self.who),
            time(self.at),
        ]
    }

    fn read(row: &Cells<'_>) -> Result<Self, Fault> {
        Ok(Self {
            id: row.number(0)?,
            path: row.path(1)?,
            provenance: row.variant(2)?,
            who: row.text(3)?,
            at: row.time(4)?,
        })
    }
}

impl Stored for Offer {
    const TABLE: &'static str = "offer";
    const COLUMNS: &'static str = "role, body";

    fn cells(&self) -> Vec<Value> {
        vec![text(&self.role), text(&self.body)]
    }

    fn read(row: &Cells<'_>) -> Result<Self, Fault> {
        Ok(Self {
            role: row.text(0)?,
            body: row.text(1)?,
        })
    }
}

impl Stored for Submission {
    const TABLE: &'static str = "submission";
    const COLUMNS: &'static str = "id, versions, body, who, at";

    fn cells(&self) -> Vec<Value> {
        vec![
            number(self.id),
            json(&self.versions),
            text(&self.body),
            text(&self.who),
            time(self.at),
        ]
    }

    fn read(row: &Cells<'_>) -> Result<Self, Fault> {
        Ok(Self {
            id: row.number(0)?,
            versions: row.json(1)?,
            body: row.text(2)?,
            who: row.text(3)?,
            at: row.time(4)?,
        })
    }
}

impl Stored for Claim {
    const TABLE: &'static str = "claim";
    const COLUMNS: &'static str = "submission, path, digest, length, superseding";

    fn cells(&self) -> Vec<Value> {
        vec![
            number(self.submission),
            path(&self.path),
            digest(&self.digest),
            number(self.length),
            number(self.superseding.into()),
        ]
    }

    fn read(row: &Cells<'_>) -> Result<Self, Fault> {
        Ok(Self {
            submission: row.number(0)?,
            path: row.path(1)?,
            digest: row.digest(2)?,
            length: row.number(3)?,
            superseding: row.flag(4)?,
        })
    }
}

impl Stored for Drift {
    const TABLE: &'static str = "drift";
    const COLUMNS: &'static str = "path, recorded, observed, observed_length, at";

    fn cells(&self) -> Vec<Value> {
        vec![
            path(&self.path),
            digest(&self.recorded),
            digest(&self.observed),
            number(self.observed_length),
            time(self.at),
        ]
    }

    fn read(row: &Cells<'_>) -> Result<Self, Fault> {
        Ok(Self {
            path: row.path(0)?,
            recorded: row.digest(1)?,
            observed: row.digest(2)?,
            observed_length: row.number(3)?,
            at: row.time(4)?,
        })
    }
}

impl Stored for RoleRow {
    const TABLE: &'static str = "role";
    const COLUMNS: &'static str = "name, reserved, published, expires";

    fn cells(&self) -> Vec<Value> {
        vec![
            text(&self.name),
            number(self.reserved),
            number(self.published),
            self.expires.map_or(Value::Null, time),
        ]
    }

    fn read(row: &Cells<'_>) -> Result<Self, Fault> {
        Ok(Self {
            name: row.text(0)?,
            reserved: row.number(1)?,
            published: row.number(2)?,
            expires: row.time_or_none(3)?,
        })
    }
}

impl Stored for Lease {
    const TABLE: &'static str = "lease";
    const COLUMNS: &'static str = "one, holder, fence, until";

    fn cells(&self) -> Vec<Value> {
        vec![
            number(1),
            text(&self.holder),
            number(self.fence.0),
            self.until.map_or(Value::Null, time),
        ]
    }

    fn read(row: &Cells<'_>) -> Result<Self, Fault> {
        Ok(Self {
            holder: row.text(1)?,
            fence: Fence(row.number(2)?),
            until: row.time_or_none(3)?,
        })
    }
}

/// A publication and its place in the row of them.
pub(super) struct Numbered {
    /// Its number, from 1.
    pub(super) number: u64,
    /// What was published.
    pub(super) publication: Publication,
}

impl Stored for Numbered {
    const TABLE: &'static str = "publication";
    const COLUMNS: &'static str = "number, snapshot, timestamp, upto, at, roles";

    fn cells(&self) -> Vec<Value> {
        let Publication {
            snapshot,
            timestamp,
            upto,
            at,
            roles,
        } = &self.publication;
        vec![
            number(self.number),
            number(*snapshot),
            number(*timestamp),
            number(*upto),
            time(*at),
            json(roles),
        ]
    }

    fn read(row: &Cells<'_>) -> Result<Self, Fault> {
        let publication = Publication {
            snapshot: row.number(1)?,
            timestamp: row.number(2)?,
            upto: row.number(3)?,
            at: row.time(4)?,
            roles: row.json(5)?,
        };
        Ok(Self {
            number: row.number(0)?,
            publication,
        })
    }
}
