-- Files that are still to be moved or deleted because their item came to an end: stored in the commit of that end, taken
-- away when it is done. `state`: what became of the item; if it is in another one by now, the file stays where it is.
-- `folder` is a JSON string. `host`: where the file is; '' where all work is done on one host.
CREATE TABLE file_acts (
    item_id         BIGINT PRIMARY KEY,
    act             TEXT NOT NULL CHECK (act IN ('move', 'delete')),
    folder          TEXT,
    state           TEXT NOT NULL CHECK (state IN ('completed', 'failed')),
    host            TEXT COLLATE "C" NOT NULL DEFAULT '',
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at BIGINT NOT NULL,
    error           TEXT
);
CREATE INDEX file_acts_due ON file_acts (host, next_attempt_at, item_id);
