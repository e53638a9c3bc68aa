-- name: complete_items
UPDATE items
SET state = 'completed', worker_id = NULL, attempts_used = attempts_used + 1, progress = NULL, cancel_requested = 0,
    started_at = j.value ->> 2, completed_at = j.value ->> 3
FROM json_each(:rows) j
WHERE items.id = j.value ->> 0 AND items.state = 'processing' AND items.worker_id = :worker_id
  AND items.claim_no = j.value ->> 1

-- name: settle_item
UPDATE items
SET state = :state, waiting_for = :waiting_for, worker_id = NULL, attempts_used = attempts_used + :counted,
    next_attempt_at = :next_attempt_at, progress = NULL, cancel_requested = 0,
    started_at = coalesce(:started_at, started_at), completed_at = :completed_at
WHERE id = :id AND state = 'processing' AND worker_id = :worker_id AND claim_no = :claim_no

-- name: insert_attempt
INSERT INTO attempts (item_id, claim_no, organization, worker_id, outcome, counted, started_at, ended_at, error_type,
                      error_message, permanent)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (item_id, claim_no) DO NOTHING

-- name: insert_attempts_of_completed
INSERT INTO attempts (item_id, claim_no, organization, worker_id, outcome, counted, started_at, ended_at)
SELECT i.id, i.claim_no, i.organization, :worker_id, 'completed', 1, i.started_at, i.completed_at
FROM json_each(:rows) j CROSS JOIN items i ON i.id = j.value ->> 0
WHERE i.claim_no = j.value ->> 1
ON CONFLICT (item_id, claim_no) DO NOTHING

-- name: insert_plain_result
INSERT INTO item_results (item_id, result)
VALUES (?, ?)
ON CONFLICT (item_id) DO UPDATE SET result = excluded.result, error_type = NULL, error_message = NULL, permanent = 0,
    usage = NULL, artifacts = NULL, pattern = NULL

-- name: insert_result
INSERT INTO item_results (item_id, result, error_type, error_message, permanent, usage, artifacts, pattern)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (item_id) DO UPDATE SET result = excluded.result, error_type = excluded.error_type,
    error_message = excluded.error_message, permanent = excluded.permanent, usage = excluded.usage,
    artifacts = excluded.artifacts, pattern = excluded.pattern

-- name: append_log
INSERT INTO attempt_logs (item_id, claim_no, text) VALUES (?, ?, ?)
ON CONFLICT (item_id, claim_no) DO UPDATE SET text = substr(text || excluded.text, -262144)

-- name: set_progress
UPDATE items SET progress = ? WHERE id = ? AND state = 'processing' AND worker_id = ? AND claim_no = ?

-- name: told_to_cancel
SELECT id FROM items
WHERE id IN (SELECT value FROM json_each(:ids)) AND (cancel_requested = 1 OR EXISTS
      (SELECT 1 FROM batches b WHERE b.no = items.batch_no AND (b.cancelled_at IS NOT NULL OR b.limit_reached = 1)
       AND b.status IN ('pending', 'processing')))

-- name: count_final
UPDATE batches
SET completed_items = completed_items + :completed, failed_items = failed_items + :failed,
    cancelled_items = cancelled_items + :cancelled, run_failures = max(0, run_failures + :failures)
WHERE no = :no
RETURNING total_items, completed_items, failed_items, cancelled_items, cancelled_at, limit_reached, bulk, status, run_no,
          organization, failure_limit, run_failures

-- name: reach_limit
UPDATE batches SET limit_reached = 1, bulk = 'cancel', bulk_detail = NULL, loader = :loader WHERE no = :no

-- name: finish_batch
UPDATE batches SET status = :status, completed_at = :now, error = :error WHERE no = :no

-- name: break_processor
UPDATE processors SET broken_since = :now, broken_type = :type, broken_message = :message, broken_config = :config,
    broken_organization = :organization
WHERE name = :processor AND broken_since IS NULL

-- name: mend_processor
UPDATE processors SET broken_since = NULL, broken_type = NULL, broken_message = NULL, broken_config = NULL,
    broken_organization = NULL
WHERE name = :processor AND broken_since IS NOT NULL

-- name: completed_claims
SELECT i.id, i.claim_no, EXISTS (SELECT 1 FROM attempts a WHERE a.item_id = i.id AND a.claim_no = i.claim_no)
FROM items i
WHERE i.id IN (SELECT value FROM json_each(:ids)) AND i.state = 'completed'
