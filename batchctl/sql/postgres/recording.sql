-- name: complete_items
-- json_typeof is always true: it makes the planner expect one row, and so look each item up by its number.
UPDATE items
SET state = 'completed', worker_id = NULL, attempts_used = attempts_used + 1, progress = NULL, cancel_requested = 0,
    started_at = r.started_at, completed_at = r.ended_at
FROM (SELECT (value ->> 0)::bigint AS id, (value ->> 1)::bigint AS claim_no, (value ->> 2)::bigint AS started_at,
             (value ->> 3)::bigint AS ended_at
      FROM json_array_elements(:rows::json) WHERE json_typeof(value) = 'array') r
WHERE items.id = r.id AND items.state || '' = 'processing' AND items.worker_id = :worker_id AND items.claim_no = r.claim_no

-- name: settle_item
UPDATE items
SET state = :state, waiting_for = :waiting_for, worker_id = NULL, attempts_used = attempts_used + :counted,
    next_attempt_at = :next_attempt_at, progress = NULL, cancel_requested = 0,
    started_at = coalesce(:started_at, started_at), completed_at = :completed_at
WHERE id = :id AND state || '' = 'processing' AND worker_id = :worker_id AND claim_no = :claim_no

-- name: insert_attempt
INSERT INTO attempts (item_id, claim_no, organization, worker_id, outcome, counted, started_at, ended_at, error_type,
                      error_message, permanent)
SELECT * FROM unnest(?::bigint[], ?::bigint[], ?::text[], ?::text[], ?::text[], ?::integer[], ?::bigint[], ?::bigint[],
                     ?::text[], ?::text[], ?::integer[])
ON CONFLICT (item_id, claim_no) DO NOTHING

-- name: insert_attempts_of_completed
INSERT INTO attempts (item_id, claim_no, organization, worker_id, outcome, counted, started_at, ended_at)
SELECT i.id, i.claim_no, i.organization, :worker_id, 'completed', 1, i.started_at, i.completed_at
FROM (SELECT (value ->> 0)::bigint AS id, (value ->> 1)::bigint AS claim_no
      FROM json_array_elements(:rows::json)) r
JOIN items i ON i.id = r.id AND i.claim_no = r.claim_no
ON CONFLICT (item_id, claim_no) DO NOTHING

-- name: insert_plain_result
INSERT INTO item_results (item_id, result)
SELECT * FROM unnest(?::bigint[], ?::text[])
ON CONFLICT (item_id) DO UPDATE SET result = excluded.result, error_type = NULL, error_message = NULL, permanent = 0,
    usage = NULL, artifacts = NULL, pattern = NULL

-- name: insert_result
INSERT INTO item_results (item_id, result, error_type, error_message, permanent, usage, artifacts, pattern)
SELECT * FROM unnest(?::bigint[], ?::text[], ?::text[], ?::text[], ?::integer[], ?::text[], ?::text[], ?::bigint[])
ON CONFLICT (item_id) DO UPDATE SET result = excluded.result, error_type = excluded.error_type,
    error_message = excluded.error_message, permanent = excluded.permanent, usage = excluded.usage,
    artifacts = excluded.artifacts, pattern = excluded.pattern

-- name: append_log
INSERT INTO attempt_logs (item_id, claim_no, text) VALUES (?, ?, ?)
ON CONFLICT (item_id, claim_no) DO UPDATE SET text = right(attempt_logs.text || excluded.text, 262144)

-- name: set_progress
UPDATE items SET progress = ? WHERE id = ? AND state || '' = 'processing' AND worker_id = ? AND claim_no = ?

-- name: told_to_cancel
SELECT id FROM items
WHERE id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json))) AND (cancel_requested = 1 OR EXISTS
      (SELECT 1 FROM batches b WHERE b.no = items.batch_no AND (b.cancelled_at IS NOT NULL OR b.limit_reached = 1)
       AND b.status IN ('pending', 'processing')))

-- name: count_final
UPDATE batches
SET completed_items = completed_items + :completed, failed_items = failed_items + :failed,
    cancelled_items = cancelled_items + :cancelled, run_failures = greatest(0, run_failures + :failures)
WHERE no = :no
RETURNING total_items, completed_items, failed_items, cancelled_items, cancelled_at, limit_reached, bulk, status, run_no,
          organization, failure_limit, run_failures

-- name: reach_limit
UPDATE batches SET limit_reached = 1, bulk = 'cancel', bulk_detail = NULL, loader = :loader WHERE no = :no

-- name: finish_batch
UPDATE batches SET status = :status, completed_at = :now, error = :error WHERE no = :no
RETURNING pg_notify('batchctl', '')

-- name: break_processor
UPDATE processors SET broken_since = :now, broken_type = :type, broken_message = :message, broken_config = :config,
    broken_organization = :organization
WHERE name = :processor AND broken_since IS NULL

-- name: mend_processor
UPDATE processors SET broken_since = NULL, broken_type = NULL, broken_message = NULL, broken_config = NULL,
    broken_organization = NULL
WHERE name = :processor AND broken_since IS NOT NULL
RETURNING pg_notify('batchctl', '')

-- name: completed_claims
SELECT i.id, i.claim_no, EXISTS (SELECT 1 FROM attempts a WHERE a.item_id = i.id AND a.claim_no = i.claim_no)
FROM items i
WHERE i.id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json))) AND i.state = 'completed'
