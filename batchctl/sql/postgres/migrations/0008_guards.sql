-- Who answers whom. An origin is a host, or what a command or function stands for; '' is any origin of the processor.
-- `troubled`: something is to be remembered beyond that it has `answered` once. `failures`: in a row, none answered in
-- between. `out_since` to `expires_at`: its items wait and cost no attempts; with `gates` no item of the processor is
-- claimed. `probe_at`: when the next item may try; NULL while one does (`probe_item`, under `probe_claim`).
-- `refund`: tries from before the outage are still to be refunded; `resuming`: items are still to be set going again.
CREATE TABLE outages (
    processor       TEXT COLLATE "C" NOT NULL,
    origin          TEXT COLLATE "C" NOT NULL,
    answered        INTEGER NOT NULL DEFAULT 0,
    troubled        INTEGER NOT NULL DEFAULT 0,
    failures        BIGINT NOT NULL DEFAULT 0,
    throttled_since BIGINT,
    out_since       BIGINT,
    expires_at      BIGINT,
    gates           INTEGER NOT NULL DEFAULT 0,
    probe_at        BIGINT,
    pause_ms        BIGINT NOT NULL DEFAULT 0,
    probe_item      BIGINT,
    probe_claim     BIGINT,
    refund          INTEGER NOT NULL DEFAULT 0,
    resuming        INTEGER NOT NULL DEFAULT 0,
    error_type      TEXT COLLATE "C",
    error_message   TEXT,
    PRIMARY KEY (processor, origin)
);
CREATE INDEX outages_troubled ON outages (processor, origin) WHERE troubled = 1;

-- Tries that failed because an origin was down: counted ones that an outage would refund, and what waits for its end.
CREATE TABLE outage_items (
    item_id         BIGINT NOT NULL,
    claim_no        BIGINT NOT NULL,
    processor       TEXT COLLATE "C" NOT NULL,
    origin          TEXT COLLATE "C" NOT NULL,
    waits           INTEGER NOT NULL,
    PRIMARY KEY (item_id, claim_no)
);
CREATE INDEX outage_items_origin ON outage_items (processor, origin, waits, item_id);

-- `concurrency: auto`: how many may run now, and what the next change goes by (see batchctl/adaptive.py).
ALTER TABLE processors ADD COLUMN adaptive TEXT;
ALTER TABLE processors ADD COLUMN adaptive_limit INTEGER;

-- `max_failures`: the batch stops when so many of its items have failed since it began, or was opened again.
ALTER TABLE batches ADD COLUMN failure_limit BIGINT;
ALTER TABLE batches ADD COLUMN run_failures BIGINT NOT NULL DEFAULT 0;
