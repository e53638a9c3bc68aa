-- Items that share a value (an account, a host) go through one lane: only as many of them as may run are `pending`, the
-- others are `waiting` for the `lane`. `dirty`: somebody changed what may run and left it to the next claim to work that
-- out. `held_by`: the failed item since which nothing of the lane starts. `tat` (ms UTC): when the next may start.
CREATE TABLE lanes (
    no              INTEGER PRIMARY KEY AUTOINCREMENT,
    processor       TEXT NOT NULL,
    organization    TEXT NOT NULL DEFAULT '',
    value           TEXT NOT NULL,
    tat             REAL NOT NULL DEFAULT 0,
    dirty           INTEGER NOT NULL DEFAULT 0,
    held_by         INTEGER,
    UNIQUE (processor, organization, value)
);
CREATE INDEX lanes_processor ON lanes (processor, no);
CREATE INDEX lanes_dirty ON lanes (no) WHERE dirty = 1;
CREATE INDEX lanes_held ON lanes (no) WHERE held_by IS NOT NULL;

-- Which lanes a batch has items in. `open`: some of them may be waiting for the lane.
CREATE TABLE lane_batches (
    batch_no        INTEGER NOT NULL REFERENCES batches (no),
    lane_no         INTEGER NOT NULL REFERENCES lanes (no),
    priority        INTEGER NOT NULL,
    open            INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (batch_no, lane_no)
) WITHOUT ROWID;
CREATE UNIQUE INDEX lane_batches_open ON lane_batches (lane_no, priority, batch_no) WHERE open = 1;

-- How fast a processor may go, as the config of the worker that came last says. `interval_ms` lies between two starts,
-- `tat` (ms UTC) is when the next may be. `relane`: its lanes past this one are still to follow a change.
CREATE TABLE paces (
    processor       TEXT PRIMARY KEY,
    interval_ms     REAL,
    tat             REAL NOT NULL DEFAULT 0,
    lane_limit      INTEGER NOT NULL DEFAULT 1,
    lane_interval_ms REAL,
    lane_hold       INTEGER NOT NULL DEFAULT 0,
    relane          INTEGER
) WITHOUT ROWID;

ALTER TABLE items ADD COLUMN lane_no INTEGER;
CREATE INDEX items_lane_waiting ON items (lane_no, batch_no) WHERE waiting_for = 'lane';
CREATE INDEX items_lane_heads ON items (lane_no)
    WHERE lane_no IS NOT NULL AND completed_at IS NULL AND waiting_for IS NOT 'lane';
CREATE INDEX items_rated ON items (next_attempt_at) WHERE state = 'waiting' AND waiting_for = 'rate';

-- The batch's lanes past this one are still to follow a change of its gate or priority; NULL: they all have.
ALTER TABLE ready_groups ADD COLUMN relane INTEGER;
CREATE INDEX ready_groups_relane ON ready_groups (batch_no) WHERE relane IS NOT NULL;
