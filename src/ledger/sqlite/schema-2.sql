-- Schema 2: files of roles that others sign, until the signer has listed or refused them.
CREATE TABLE submission (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    versions TEXT NOT NULL, -- JSON: version by role
    body TEXT NOT NULL, -- JSON
    who TEXT NOT NULL,
    at INTEGER NOT NULL,
    sum BLOB NOT NULL
) STRICT;

-- Files that wait for those who countersign them.
CREATE TABLE offer (
    role TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL, -- JSON
    sum BLOB NOT NULL
) STRICT, WITHOUT ROWID;
