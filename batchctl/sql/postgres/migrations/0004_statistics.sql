-- What attempts came to, minute by minute: `stats` reads this and never the attempts themselves. Written in the commit
-- that records the attempts; what is older than two days is added up by the hour, older than sixty by the day.
-- `minute` is the beginning in ms UTC. `bucket` is the length of time that the attempts took, see batchctl/histogram.py;
-- -1 where they never began.
CREATE TABLE attempt_minutes (
    minute          BIGINT NOT NULL,
    processor       TEXT COLLATE "C" NOT NULL,
    organization    TEXT COLLATE "C" NOT NULL DEFAULT '',
    submitter       TEXT COLLATE "C" NOT NULL DEFAULT '',
    outcome         TEXT COLLATE "C" NOT NULL,
    bucket          INTEGER NOT NULL,
    attempts        BIGINT NOT NULL,
    took_ms         BIGINT NOT NULL,
    PRIMARY KEY (minute, processor, organization, submitter, outcome, bucket)
) WITH (fillfactor = 70);

-- Which of a batch's failures are alike: the hash of their type and folded message.
ALTER TABLE item_results ADD COLUMN pattern BIGINT;
CREATE INDEX item_results_pattern ON item_results (pattern, item_id) WHERE pattern IS NOT NULL;
