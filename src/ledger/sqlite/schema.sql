-- Schema 1. Every table but `audit` and `tally` ends in `sum`: SHA-256, cut to 16 bytes, over the table's name and all
-- other columns (row.rs). Times are microseconds since 1970 UTC.

PRAGMA application_id = 0x74756667; -- 'tufg'

-- id is SHA-256(path): a bin of any generation is one contiguous range.
CREATE TABLE target (
    id BLOB NOT NULL PRIMARY KEY,
    path TEXT NOT NULL,
    digest BLOB NOT NULL,
    length INTEGER NOT NULL,
    provenance TEXT NOT NULL,
    state TEXT NOT NULL,
    seq INTEGER NOT NULL,
    who TEXT NOT NULL,
    at INTEGER NOT NULL,
    superseded TEXT NOT NULL, -- JSON, newest first
    sum BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Numbers of live targets, kept in step with `target`, since counting millions takes seconds.
CREATE TABLE tally (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO tally VALUES ('live', 0);

-- AUTOINCREMENT here and below: a number is never handed out twice, even when its row is gone.
CREATE TABLE observation (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL,
    act TEXT NOT NULL, -- JSON
    who TEXT NOT NULL,
    at INTEGER NOT NULL,
    sum BLOB NOT NULL
) STRICT;

CREATE INDEX observation_path ON observation (path);

CREATE TABLE reservation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL,
    digest BLOB NOT NULL,
    length INTEGER NOT NULL,
    who TEXT NOT NULL,
    at INTEGER NOT NULL,
    doubtful INTEGER NOT NULL,
    sum BLOB NOT NULL
) STRICT;

CREATE INDEX reservation_path ON reservation (path);

CREATE TABLE intent (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL,
    provenance TEXT NOT NULL,
    who TEXT NOT NULL,
    at INTEGER NOT NULL,
    sum BLOB NOT NULL
) STRICT;

CREATE TABLE drift (
    path TEXT NOT NULL PRIMARY KEY,
    recorded BLOB NOT NULL,
    observed BLOB NOT NULL,
    observed_length INTEGER NOT NULL,
    at INTEGER NOT NULL,
    sum BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE role (
    name TEXT NOT NULL PRIMARY KEY,
    reserved INTEGER NOT NULL,
    published INTEGER NOT NULL,
    expires INTEGER,
    sum BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: the newest lease.
CREATE TABLE lease (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    holder TEXT NOT NULL,
    fence INTEGER NOT NULL,
    until INTEGER, -- NULL once given up
    sum BLOB NOT NULL
) STRICT;

-- The last 1,000; only the newest still lists its roles.
CREATE TABLE publication (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    snapshot INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    at INTEGER NOT NULL,
    roles TEXT NOT NULL, -- JSON
    sum BLOB NOT NULL
) STRICT;

-- link is SHA-256 over the link before (32 zero bytes at first) and the other columns.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    path TEXT NOT NULL,
    detail TEXT NOT NULL,
    link BLOB NOT NULL
) STRICT;
