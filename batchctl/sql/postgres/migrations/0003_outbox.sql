-- A message is given up at expires_at; a sender's claim on it ends at claimed_until at the latest.
ALTER TABLE outbox ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN claimed_until BIGINT;
CREATE INDEX outbox_sending ON outbox (worker_id) WHERE state = 'sending';
CREATE INDEX outbox_dead ON outbox (id) WHERE state = 'dead';
