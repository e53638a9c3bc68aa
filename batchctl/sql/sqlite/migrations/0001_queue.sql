-- Times are milliseconds since 1970 UTC: datetime(created_at / 1000, 'unixepoch') reads one.
-- An organization that nobody named is ''.

CREATE TABLE batches (
    no              INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    name            TEXT,
    group_name      TEXT,
    kind            TEXT NOT NULL CHECK (kind IN ('files', 'orders')),
    processor       TEXT NOT NULL,
    definition      TEXT,
    organization    TEXT NOT NULL DEFAULT '',
    submitter       TEXT,
    priority        INTEGER NOT NULL DEFAULT 1 CHECK (priority IN (0, 1, 2)),
    status          TEXT NOT NULL CHECK (status IN
        ('loading', 'deleting', 'pending', 'processing', 'completed', 'completed_with_errors', 'failed', 'cancelled')),
    bulk            TEXT CHECK (bulk IN ('cancel', 'retry')),
    bulk_detail     TEXT,
    loader          TEXT,
    explicit_keys   INTEGER NOT NULL DEFAULT 1,
    not_before      INTEGER,
    paused          INTEGER NOT NULL DEFAULT 0,
    paused_until    INTEGER,
    cancelled_at    INTEGER,
    limit_reached   INTEGER NOT NULL DEFAULT 0,
    total_items     INTEGER NOT NULL DEFAULT 0,
    completed_items INTEGER NOT NULL DEFAULT 0,
    failed_items    INTEGER NOT NULL DEFAULT 0,
    cancelled_items INTEGER NOT NULL DEFAULT 0,
    run_no          INTEGER NOT NULL DEFAULT 1,
    idempotency_key TEXT,
    content_hash    TEXT,
    request_hash    TEXT,
    error           TEXT,
    usage           TEXT,
    cost            TEXT,
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    completed_at    INTEGER,
    CHECK ((completed_at IS NOT NULL) =
           (status IN ('completed', 'completed_with_errors', 'failed', 'cancelled', 'deleting')))
);
CREATE UNIQUE INDEX batches_idempotency ON batches (organization, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX batches_unfinished ON batches (status) WHERE status IN ('loading', 'deleting', 'pending', 'processing');
CREATE INDEX batches_bulk ON batches (bulk) WHERE bulk IS NOT NULL;
CREATE INDEX batches_name ON batches (name) WHERE name IS NOT NULL;
CREATE INDEX batches_group ON batches (group_name) WHERE group_name IS NOT NULL;
CREATE INDEX batches_content ON batches (content_hash) WHERE content_hash IS NOT NULL;

-- The hot row: small, because every transition rewrites it. One CASE says what goes with which state: it takes a
-- quarter of the time of IN lists, which SQLite looks up in a temporary index.
CREATE TABLE items (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    batch_no        INTEGER NOT NULL REFERENCES batches (no),
    position        INTEGER NOT NULL,
    key             TEXT NOT NULL,
    state           TEXT NOT NULL DEFAULT 'pending',
    waiting_for     TEXT CHECK (waiting_for IS NULL OR waiting_for IN
        ('retry', 'lane', 'rate', 'schedule', 'paused', 'outage', 'processor')),
    organization    TEXT NOT NULL DEFAULT '',
    lane            TEXT,
    suspect         INTEGER NOT NULL DEFAULT 0,
    crashes         INTEGER NOT NULL DEFAULT 0,
    claim_no        INTEGER NOT NULL DEFAULT 0,
    attempts_used   INTEGER NOT NULL DEFAULT 0,
    worker_id       TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    progress        REAL,
    next_attempt_at INTEGER,
    started_at      INTEGER,
    completed_at    INTEGER,
    CHECK (CASE state
        WHEN 'pending'    THEN worker_id IS NULL     AND waiting_for IS NULL     AND completed_at IS NULL
        WHEN 'processing' THEN worker_id IS NOT NULL AND waiting_for IS NULL     AND completed_at IS NULL
        WHEN 'completed'  THEN worker_id IS NULL     AND waiting_for IS NULL     AND completed_at IS NOT NULL
        WHEN 'waiting'    THEN worker_id IS NULL     AND waiting_for IS NOT NULL AND completed_at IS NULL
        WHEN 'failed'     THEN worker_id IS NULL     AND waiting_for IS NULL     AND completed_at IS NOT NULL
        WHEN 'cancelled'  THEN worker_id IS NULL     AND waiting_for IS NULL     AND completed_at IS NOT NULL
        WHEN 'submitted'  THEN worker_id IS NULL     AND waiting_for IS NULL     AND completed_at IS NULL
        ELSE 0 END)
);
CREATE UNIQUE INDEX items_key ON items (batch_no, key);
CREATE INDEX items_ready ON items (batch_no) WHERE state = 'pending' AND suspect = 0;
CREATE INDEX items_suspect ON items (batch_no) WHERE state = 'pending' AND suspect = 1;
CREATE INDEX items_held ON items (batch_no, worker_id) WHERE state = 'processing';
CREATE INDEX items_due ON items (next_attempt_at) WHERE state = 'waiting' AND waiting_for = 'retry';
CREATE INDEX items_waiting ON items (batch_no, waiting_for) WHERE state IN ('waiting', 'submitted');
CREATE INDEX items_unsuccessful ON items (batch_no) WHERE state IN ('failed', 'cancelled');

-- The bulky, unchanging part of an item.
CREATE TABLE item_data (
    item_id         INTEGER PRIMARY KEY REFERENCES items (id),
    payload         TEXT NOT NULL,
    file            TEXT,
    idempotency_key TEXT NOT NULL
);

CREATE TABLE item_results (
    item_id         INTEGER PRIMARY KEY REFERENCES items (id),
    result          TEXT,
    error_type      TEXT,
    error_message   TEXT,
    permanent       INTEGER NOT NULL DEFAULT 0,
    usage           TEXT,
    artifacts       TEXT
);

-- Every try is kept. counted = 0 where it cost no attempt.
CREATE TABLE attempts (
    item_id         INTEGER NOT NULL REFERENCES items (id),
    claim_no        INTEGER NOT NULL,
    organization    TEXT NOT NULL DEFAULT '',
    worker_id       TEXT NOT NULL,
    outcome         TEXT NOT NULL CHECK (outcome = 'completed' OR outcome IN
        ('retry', 'failed', 'cancelled', 'crashed', 'handed_back', 'outage', 'throttled')),
    counted         INTEGER NOT NULL,
    started_at      INTEGER,
    ended_at        INTEGER NOT NULL,
    error_type      TEXT,
    error_message   TEXT,
    permanent       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (item_id, claim_no)
) WITHOUT ROWID;

CREATE TABLE attempt_logs (
    item_id         INTEGER NOT NULL REFERENCES items (id),
    claim_no        INTEGER NOT NULL,
    text            TEXT NOT NULL,
    PRIMARY KEY (item_id, claim_no)
) WITHOUT ROWID;

CREATE TABLE item_steps (
    item_id         INTEGER NOT NULL REFERENCES items (id),
    step            TEXT NOT NULL,
    definition_hash TEXT NOT NULL,
    result          TEXT,
    path            TEXT,
    completed_at    INTEGER NOT NULL,
    PRIMARY KEY (item_id, step)
) WITHOUT ROWID;

-- What may run, one row for each unfinished batch. Gates close a whole group without touching its items.
CREATE TABLE ready_groups (
    batch_no        INTEGER PRIMARY KEY REFERENCES batches (no),
    processor       TEXT NOT NULL,
    organization    TEXT NOT NULL DEFAULT '',
    priority        INTEGER NOT NULL,
    started         INTEGER NOT NULL DEFAULT 0,
    empty           INTEGER NOT NULL DEFAULT 0,
    gate            TEXT CHECK (gate IN ('paused', 'schedule', 'cancel')),
    opens_at        INTEGER
);
CREATE INDEX ready_groups_open ON ready_groups (processor, priority, organization, batch_no) WHERE gate IS NULL AND empty = 0;
CREATE INDEX ready_groups_opening ON ready_groups (opens_at) WHERE opens_at IS NOT NULL;

-- Organizations take turns: the lowest turn that has something ready goes first.
CREATE TABLE turns (
    processor       TEXT NOT NULL,
    priority        INTEGER NOT NULL,
    organization    TEXT NOT NULL,
    turn            INTEGER NOT NULL DEFAULT 0,
    ready           INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (processor, priority, organization)
) WITHOUT ROWID;
CREATE INDEX turns_ready ON turns (processor, priority, turn) WHERE ready = 1;
CREATE INDEX turns_minimum ON turns (priority, turn) WHERE ready = 1;
CREATE INDEX turns_organization ON turns (priority, organization);

CREATE TABLE processors (
    name            TEXT PRIMARY KEY,
    paused          INTEGER NOT NULL DEFAULT 0,
    paused_until    INTEGER,
    broken_since    INTEGER,
    broken_type     TEXT,
    broken_message  TEXT,
    broken_config   TEXT,
    remembers       INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE workers (
    id              TEXT PRIMARY KEY,
    host            TEXT NOT NULL,
    boot_id         TEXT NOT NULL,
    pid_namespace   TEXT NOT NULL,
    pid             INTEGER NOT NULL,
    pid_started     TEXT NOT NULL,
    command         TEXT NOT NULL,
    concurrency     INTEGER NOT NULL,
    processors      TEXT NOT NULL,
    lease_ms        INTEGER NOT NULL,
    started_at      INTEGER NOT NULL,
    seen_at         INTEGER NOT NULL,
    seen_monotonic  INTEGER NOT NULL
) WITHOUT ROWID;

-- Looked at before an item starts: pause, cancel and resume raise it.
CREATE TABLE control (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    number          INTEGER NOT NULL
);
INSERT INTO control (id, number) VALUES (1, 0);

-- The audit trail. A bulk act is one row with its count.
CREATE TABLE events (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    at              INTEGER NOT NULL,
    organization    TEXT NOT NULL DEFAULT '',
    batch_no        INTEGER,
    item_id         INTEGER,
    actor           TEXT,
    event           TEXT NOT NULL,
    count           INTEGER,
    detail          TEXT
);
CREATE INDEX events_batch ON events (batch_no, id);

-- What --skip-known remembers; outlives retention. Kept for processors with remembers = 1, and by cleanup.
-- A row an item: the same thing may have been enqueued several times, and what became of each counts.
CREATE TABLE seen (
    processor       TEXT NOT NULL,
    organization    TEXT NOT NULL DEFAULT '',
    fingerprint     BLOB NOT NULL,
    item_id         INTEGER NOT NULL,
    completed       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (processor, organization, fingerprint, item_id)
) WITHOUT ROWID;

-- Files that `into` appends to, with the size that is committed.
CREATE TABLE sinks (
    path            TEXT PRIMARY KEY,
    size            INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE outbox (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    batch_no        INTEGER,
    run_no          INTEGER,
    organization    TEXT NOT NULL DEFAULT '',
    event           TEXT NOT NULL,
    target          TEXT NOT NULL,
    message         BLOB NOT NULL,
    state           TEXT NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'sending', 'sent', 'dead')),
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER,
    worker_id       TEXT,
    error           TEXT,
    created_at      INTEGER NOT NULL,
    sent_at         INTEGER,
    UNIQUE (batch_no, run_no, event, target)
);
CREATE INDEX outbox_due ON outbox (next_attempt_at) WHERE state = 'due';
