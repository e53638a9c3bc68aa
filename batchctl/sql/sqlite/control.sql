-- name: pause_batch
UPDATE batches SET paused = 1, paused_until = :until WHERE no = :no AND status IN ('pending', 'processing')

-- name: resume_batch
UPDATE batches SET paused = 0, paused_until = NULL WHERE no = :no AND paused = 1

-- name: batch_organization
SELECT organization FROM batches WHERE no = :no

-- name: pause_processor
INSERT INTO processors (name, paused, paused_until) VALUES (:processor, 1, :until)
ON CONFLICT (name) DO UPDATE SET paused = 1, paused_until = excluded.paused_until

-- name: resume_processor
UPDATE processors SET paused = 0, paused_until = NULL WHERE name = :processor AND paused = 1

-- name: paused_processors
SELECT name FROM processors WHERE paused = 1

-- name: paused_batches
SELECT no FROM batches
WHERE status IN ('loading', 'deleting', 'pending', 'processing')  -- these words are the index's
  AND status IN ('pending', 'processing') AND paused = 1
LIMIT :limit

-- name: alter_batch
UPDATE batches SET priority = :priority, name = :name, not_before = :not_before WHERE no = :no

-- name: batch_settings
SELECT priority, name, not_before, status, organization FROM batches WHERE no = :no

-- name: begin_cancel
UPDATE batches SET bulk = 'cancel', bulk_detail = NULL, cancelled_at = :now, loader = :loader WHERE no = :no AND status IN ('pending', 'processing')
RETURNING organization

-- name: gate_cancel
UPDATE ready_groups SET gate = 'cancel', opens_at = NULL WHERE batch_no = :no

-- name: tell_held_of_batch
UPDATE items SET cancel_requested = 1 WHERE batch_no = :no AND state = 'processing'

-- name: tell_item
UPDATE items SET cancel_requested = 1 WHERE id = :id AND state = 'processing'

-- name: cancel_pending
UPDATE items SET state = 'cancelled', completed_at = :now
WHERE id IN (SELECT id FROM items WHERE batch_no = :no AND state = 'pending' AND suspect = 0 LIMIT :limit)
RETURNING lane_no

-- name: cancel_suspects
UPDATE items SET state = 'cancelled', completed_at = :now
WHERE id IN (SELECT id FROM items WHERE batch_no = :no AND state = 'pending' AND suspect = 1 LIMIT :limit)
RETURNING lane_no

-- name: cancel_waiting
UPDATE items SET state = 'cancelled', waiting_for = NULL, next_attempt_at = NULL, completed_at = :now
WHERE id IN (SELECT id FROM items WHERE batch_no = :no AND state IN ('waiting', 'submitted')
             AND state = 'waiting' LIMIT :limit)
RETURNING lane_no

-- name: cancel_item
UPDATE items SET state = 'cancelled', waiting_for = NULL, next_attempt_at = NULL, completed_at = :now
WHERE id = :id AND state IN ('pending', 'waiting')
RETURNING batch_no, organization, lane_no

-- name: end_bulk
UPDATE batches SET bulk = NULL, bulk_detail = NULL, loader = NULL WHERE no = :no AND bulk = :bulk AND loader = :loader

-- name: bulk_left
SELECT no, bulk, loader FROM batches WHERE bulk IS NOT NULL AND (:org IS NULL OR organization = :org)

-- name: bulk_of_batch
SELECT no, bulk, loader FROM batches WHERE no = :no AND bulk IS NOT NULL

-- name: bulk_is_ours
SELECT 1 FROM batches WHERE no = :no AND bulk = :bulk AND loader = :loader

-- name: take_bulk_over
UPDATE batches SET loader = :loader WHERE no = :no AND bulk = :bulk AND loader = :gone RETURNING bulk_detail

-- name: begin_retry
UPDATE batches
SET bulk = 'retry', bulk_detail = :detail, loader = :loader, completed_at = NULL, error = NULL, cancelled_at = NULL,
    limit_reached = 0, run_failures = 0, run_no = run_no + (completed_at IS NOT NULL),
    status = CASE WHEN completed_at IS NULL THEN status ELSE 'processing' END
WHERE no = :no AND status NOT IN ('loading', 'deleting') AND bulk IS NULL

-- name: note_bulk_progress
UPDATE batches SET bulk_detail = :detail WHERE no = :no

-- name: retriable_items
SELECT i.id, i.state, i.key FROM items i
WHERE i.batch_no = :no AND i.state IN ('failed', 'cancelled') AND i.id > :after
  AND (i.state = 'failed' AND :failed OR i.state = 'cancelled' AND :cancelled)
  AND (:ids IS NULL OR i.id IN (SELECT value FROM json_each(:ids)))
  AND (:lane IS NULL OR i.lane = :lane)
  AND (:error IS NULL OR EXISTS (SELECT 1 FROM item_results r WHERE r.item_id = i.id
       AND instr(lower(r.error_type || ': ' || r.error_message), lower(:error))))
ORDER BY i.id LIMIT :limit

-- name: still_retriable
SELECT i.id, i.state, i.key, i.lane_no FROM items i
WHERE i.id IN (SELECT value FROM json_each(:ids))
  AND (i.state = 'failed' AND :failed OR i.state = 'cancelled' AND :cancelled)
ORDER BY i.id

-- name: retry_items
UPDATE items
SET state = CASE WHEN lane_no IS NULL THEN 'pending' ELSE 'waiting' END,
    waiting_for = CASE WHEN lane_no IS NOT NULL THEN 'lane' END,
    attempts_used = 0, crashes = 0, suspect = 0, completed_at = NULL, started_at = NULL,
    next_attempt_at = NULL
WHERE id IN (SELECT value FROM json_each(:ids)) AND state IN ('failed', 'cancelled')

-- name: new_payload
UPDATE item_data SET payload = :payload, idempotency_key = lower(hex(randomblob(16)))
WHERE item_id = :id

-- name: drop_result
DELETE FROM item_results WHERE item_id = ?

-- name: reread_file
UPDATE item_data SET file = :file, idempotency_key = lower(hex(randomblob(16))) WHERE item_id = :id
