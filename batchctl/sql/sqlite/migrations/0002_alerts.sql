-- What `check` found wrong: a row from the moment it was told until it was over.
CREATE TABLE alerts (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    name            TEXT NOT NULL,
    subject         TEXT NOT NULL DEFAULT '',
    organization    TEXT NOT NULL DEFAULT '',
    processor       TEXT,
    message         TEXT NOT NULL,
    hint            TEXT,
    raised_at       INTEGER NOT NULL,
    cleared_at      INTEGER
);
CREATE UNIQUE INDEX alerts_open ON alerts (name, subject) WHERE cleared_at IS NULL;

-- What `check` remembers from one pass to the next: how something stood (mark), and since when it has stood like that.
CREATE TABLE watches (
    name            TEXT NOT NULL,
    subject         TEXT NOT NULL,
    mark            TEXT NOT NULL,
    since           INTEGER NOT NULL,
    PRIMARY KEY (name, subject)
) WITHOUT ROWID;
