-- name: ended_batch
SELECT id, name, processor, organization, submitter, kind, run_no, total_items, completed_items, failed_items,
       cancelled_items, created_at, started_at
FROM batches WHERE no = :no

-- name: reopened_at
-- When the retry was made that this run of the batch goes back to.
SELECT at FROM events
WHERE batch_no = :no AND event = 'retry'
  AND id > coalesce((SELECT id FROM events WHERE batch_no = :no
      AND event IN ('completed', 'completed_with_errors', 'failed', 'cancelled') ORDER BY id DESC LIMIT 1), 0)
ORDER BY id LIMIT 1

-- name: frequent_failures
-- Among a batch's first failed items.
SELECT p.count, i.key, coalesce(r.error_type, ''), coalesce(r.error_message, '')
FROM (SELECT pattern, count(*) AS count, min(item_id) AS first
      FROM (SELECT r.pattern, r.item_id
            FROM items i INDEXED BY items_unsuccessful JOIN item_results r ON r.item_id = i.id
            WHERE i.batch_no = :no AND i.state IN ('failed', 'cancelled') AND i.state = 'failed'
            ORDER BY i.id LIMIT :sample) AS sample
      GROUP BY pattern ORDER BY count(*) DESC, min(item_id) LIMIT :limit) AS p
JOIN item_results r ON r.item_id = p.first
JOIN items i ON i.id = p.first
ORDER BY p.count DESC, p.first

-- name: insert_notice
INSERT INTO outbox (batch_no, run_no, organization, event, target, message, next_attempt_at, created_at, expires_at)
VALUES (:batch_no, :run_no, :organization, :event, :target, :message, :now, :now, :expires_at)
ON CONFLICT (batch_no, run_no, event, target) DO NOTHING

-- name: claim_notices
-- A few of each target, so that one with much to send does not keep the others waiting.
UPDATE outbox SET state = 'sending', worker_id = :sender, attempts = attempts + 1, claimed_until = :until
WHERE state = 'due' AND id IN
      (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY target ORDER BY next_attempt_at, id) AS place
                       FROM outbox
                       WHERE state = 'due' AND (next_attempt_at <= :now OR attempts = 0 AND created_at > :now)
                         AND target IN (SELECT value FROM json_each(:targets))
                         AND (:org IS NULL OR organization = :org))
       WHERE place <= :each ORDER BY place, id LIMIT :limit)
RETURNING id, batch_no, run_no, organization, event, target, message, attempts

-- name: any_expired_notice
SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 'due' AND expires_at <= :now AND (:org IS NULL OR organization = :org))

-- name: expired_notices
UPDATE outbox SET state = 'dead', next_attempt_at = NULL, error = coalesce(error, :error)
WHERE state = 'due' AND expires_at <= :now AND (:org IS NULL OR organization = :org)
RETURNING id, batch_no, run_no, organization, event, target, message, attempts, error

-- name: notice_sent
UPDATE outbox
SET state = 'sent', sent_at = :now, next_attempt_at = NULL, worker_id = NULL, claimed_until = NULL, error = NULL
WHERE id = :id AND state = 'sending' AND worker_id = :sender

-- name: notice_failed
UPDATE outbox
SET state = :state, next_attempt_at = :next_attempt_at, worker_id = NULL, claimed_until = NULL, error = :error
WHERE id = :id AND state = 'sending' AND worker_id = :sender

-- name: notice_expiry
SELECT expires_at FROM outbox WHERE id = :id

-- name: postpone_target
UPDATE outbox SET next_attempt_at = :at WHERE state = 'due' AND target = :target AND next_attempt_at < :at

-- name: senders
SELECT worker_id, max(claimed_until) FROM outbox WHERE state = 'sending' GROUP BY worker_id

-- name: release_sender
UPDATE outbox SET state = 'due', next_attempt_at = :now, worker_id = NULL, claimed_until = NULL
WHERE state = 'sending' AND worker_id = :sender

-- name: any_due_notice
-- What was written in what is now the future, because the clock was set back, is due as well.
SELECT EXISTS (SELECT 1 FROM outbox
               WHERE state = 'due' AND (next_attempt_at <= :now OR attempts = 0 AND created_at > :now)
                 AND target IN (SELECT value FROM json_each(:targets))
                 AND (:org IS NULL OR organization = :org))

-- name: notice_states
SELECT id, state FROM outbox WHERE id IN (SELECT value FROM json_each(:ids)) AND (:org IS NULL OR organization = :org)

-- name: dead_notices
SELECT id FROM outbox WHERE state = 'dead' AND (:org IS NULL OR organization = :org) ORDER BY id

-- name: retry_notice
UPDATE outbox SET state = 'due', attempts = 0, next_attempt_at = :now, expires_at = :expires_at
WHERE id = :id AND state IN ('dead', 'due')

-- name: view_notices
SELECT o.id, o.batch_no, o.run_no, o.event, o.target, o.message, o.state, o.attempts, o.next_attempt_at, o.created_at,
       o.sent_at, o.expires_at, o.error, b.id AS batch_id
FROM outbox o LEFT JOIN batches b ON b.no = o.batch_no
WHERE (:state IS NULL OR o.state = :state) AND (:org IS NULL OR o.organization = :org)
ORDER BY o.id DESC LIMIT :limit

-- name: view_notice_counts
SELECT state, count(*) FROM outbox WHERE :org IS NULL OR organization = :org GROUP BY state
