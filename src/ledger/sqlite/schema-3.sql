-- Schema 3: what submissions list anew, for as long as they wait.
CREATE TABLE claim (
    submission INTEGER NOT NULL,
    path TEXT NOT NULL,
    digest BLOB NOT NULL,
    length INTEGER NOT NULL,
    superseding INTEGER NOT NULL,
    sum BLOB NOT NULL,
    PRIMARY KEY (path, submission)
) STRICT, WITHOUT ROWID;

CREATE INDEX claim_submission ON claim (submission);
