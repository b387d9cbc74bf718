//! Rows: how a value is laid out in columns, and the checksum that every row ends in.
//!
//! A disk, a file system or a hand may change a byte that SQLite has no reason to doubt; the signer would sign it.
//! Hence no row is believed before its checksum is.

use jiff::Timestamp;
use rusqlite::{
    Connection, OptionalExtension, Params, Row, params_from_iter,
    types::{Type, Value, ValueRef},
};
use serde::de::{
    DeserializeOwned, IntoDeserializer,
    value::{Error as ValueError, StrDeserializer},
};
use sha2::{Digest as _, Sha256};

use crate::{digest::Digest, target::TargetPath};

use super::fault::Fault;

/// A value that is one row of a table.
pub(super) trait Stored: Sized {
    /// The table.
    const TABLE: &'static str;
    /// Its columns in order, all but `sum`.
    const COLUMNS: &'static str;

    /// The values of the columns.
    fn cells(&self) -> Vec<Value>;

    /// The value of a row whose checksum is right.
    fn read(row: &Cells<'_>) -> Result<Self, Fault>;
}

/// All rows that match; `tail` is what follows `FROM table`.
pub(super) fn all<T: Stored>(conn: &Connection, tail: &str, params: impl Params) -> Result<Vec<T>, Fault> {
    let mut statement = conn.prepare_cached(&select::<T>(tail))?;
    statement.query_and_then(params, verified)?.collect()
}

/// The first row that matches.
pub(super) fn one<T: Stored>(conn: &Connection, tail: &str, params: impl Params) -> Result<Option<T>, Fault> {
    let mut statement = conn.prepare_cached(&select::<T>(tail))?;
    statement.query_and_then(params, verified)?.next().transpose()
}

/// Adds a row. A key that is there already is an error.
pub(super) fn add<T: Stored>(conn: &Connection, value: &T) -> Result<(), Fault> {
    write(conn, "INSERT", value)
}

/// Adds a row or puts it in place of the one with the same key.
pub(super) fn put<T: Stored>(conn: &Connection, value: &T) -> Result<(), Fault> {
    write(conn, "REPLACE", value)
}

fn select<T: Stored>(tail: &str) -> String {
    format!("SELECT {}, sum FROM {} {tail}", T::COLUMNS, T::TABLE)
}

fn write<T: Stored>(conn: &Connection, verb: &str, value: &T) -> Result<(), Fault> {
    let mut cells = value.cells();
    let marks = ", ?".repeat(cells.len());
    let sql = format!("{verb} INTO {} ({}, sum) VALUES (?{marks})", T::TABLE, T::COLUMNS);
    cells.push(Value::Blob(sum(T::TABLE, cells.iter().map(ValueRef::from)).into()));
    conn.prepare_cached(&sql)?.execute(params_from_iter(cells))?;
    Ok(())
}

/// The number that the next row of an AUTOINCREMENT table gets. Asked for ahead, since the checksum covers it.
pub(super) fn next(conn: &Connection, table: &str) -> Result<u64, Fault> {
    let mut statement = conn.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = ?")?;
    let last: Option<i64> = statement.query_row([table], |row| row.get(0)).optional()?;
    // A damaged counter may be any number.
    Ok(last.unwrap_or(0).cast_unsigned().saturating_add(1))
}

/// Reads a row after comparing its checksum.
pub(super) fn verified<T: Stored>(row: &Row<'_>) -> Result<T, Fault> {
    let cells = Cells { row, table: T::TABLE };
    let columns = row.as_ref().column_count() - 1;
    let values = (0..columns).map(|at| row.get_ref(at)).collect::<Result<Vec<_>, _>>()?;
    if row.get_ref(columns)?.as_blob().ok() != Some(&sum(T::TABLE, values)) {
        return Err(cells.damaged("the checksum does not match"));
    }
    T::read(&cells)
}

fn sum<'a>(table: &str, values: impl IntoIterator<Item = ValueRef<'a>>) -> [u8; 16] {
    let mut hasher = Sha256::new();
    absorb(&mut hasher, ValueRef::Text(table.as_bytes()));
    for value in values {
        absorb(&mut hasher, value);
    }
    let whole: [u8; 32] = hasher.finalize().into();
    std::array::from_fn(|at| whole[at])
}

/// Adds a value so that no other row of values gives the same stream: a type, a length, the bytes.
pub(super) fn absorb(hasher: &mut Sha256, value: ValueRef<'_>) {
    let mut put = |kind: u8, bytes: &[u8]| {
        hasher.update([kind]);
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match value {
        ValueRef::Null => put(0, &[]),
        ValueRef::Integer(number) => put(1, &number.to_le_bytes()),
        ValueRef::Real(number) => put(2, &number.to_le_bytes()),
        ValueRef::Text(text) => put(3, text),
        ValueRef::Blob(bytes) => put(4, bytes),
    }
}

/// A row whose checksum is right.
pub(super) struct Cells<'r> {
    row: &'r Row<'r>,
    table: &'static str,
}

impl Cells<'_> {
    fn damaged(&self, why: impl std::fmt::Display) -> Fault {
        let key = match self.row.get_ref(0) {
            Ok(ValueRef::Integer(number)) => number.to_string(),
            Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
            Ok(ValueRef::Blob(bytes)) => hex::encode(bytes),
            _ => "?".to_owned(),
        };
        Fault::Damaged(format!("row `{key}` of table `{}`: {why}", self.table))
    }

    pub(super) fn number(&self, at: usize) -> Result<u64, Fault> {
        Ok(self.row.get::<_, i64>(at)?.cast_unsigned())
    }

    pub(super) fn flag(&self, at: usize) -> Result<bool, Fault> {
        Ok(self.row.get(at)?)
    }

    pub(super) fn text(&self, at: usize) -> Result<String, Fault> {
        Ok(self.row.get(at)?)
    }

    pub(super) fn digest(&self, at: usize) -> Result<Digest, Fault> {
        Ok(Digest(self.row.get(at)?))
    }

    pub(super) fn path(&self, at: usize) -> Result<TargetPath, Fault> {
        TargetPath::new(self.str(at)?).map_err(|why| self.damaged(why))
    }

    pub(super) fn time(&self, at: usize) -> Result<Timestamp, Fault> {
        Timestamp::from_microsecond(self.row.get(at)?).map_err(|why| self.damaged(why))
    }

    pub(super) fn time_or_none(&self, at: usize) -> Result<Option<Timestamp>, Fault> {
        match self.row.get_ref(at)?.data_type() {
            Type::Null => Ok(None),
            _ => self.time(at).map(Some),
        }
    }

    pub(super) fn json<T: DeserializeOwned>(&self, at: usize) -> Result<T, Fault> {
        serde_json::from_str(self.str(at)?).map_err(|why| self.damaged(why))
    }

    pub(super) fn variant<T: DeserializeOwned>(&self, at: usize) -> Result<T, Fault> {
        let word: StrDeserializer<'_, ValueError> = self.str(at)?.into_deserializer();
        T::deserialize(word).map_err(|why| self.damaged(why))
    }

    fn str(&self, at: usize) -> Result<&str, Fault> {
        self.row.get_ref(at)?.as_str().map_err(|why| self.damaged(why))
    }
}
