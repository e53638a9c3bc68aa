-- Deleting what nobody wants to keep.

-- name: expired_batches
SELECT no, id, name, processor, status, total_items, completed_at FROM batches
WHERE status = :status AND completed_at < :before AND bulk IS NULL AND no > :after
  AND (:org IS NULL OR organization = :org)
ORDER BY no LIMIT :limit

-- name: begin_cleanup
-- The idempotency key is free again at once: it must be unique, and nobody sees the batch any more.
UPDATE batches SET status = 'deleting', loader = :loader, idempotency_key = NULL
WHERE no = :no AND status = :status AND completed_at < :before AND bulk IS NULL

-- name: half_deleted
SELECT no, loader FROM batches
WHERE status IN ('loading', 'deleting', 'pending', 'processing')  -- these words are the index's
  AND status = 'deleting' AND (:org IS NULL OR organization = :org)

-- name: take_cleanup_over
UPDATE batches SET loader = :loader WHERE no = :no AND status = 'deleting' AND loader = :gone

-- name: doomed_items
-- With what --skip-known has to remember of those that are completed.
SELECT i.id, i.organization, i.key,
       CASE WHEN i.state = 'completed' AND b.explicit_keys = 0 AND d.file IS NULL THEN d.payload END,
       CASE WHEN i.state = 'completed' THEN d.file ->> 'sha256' END,
       b.explicit_keys, b.processor, i.state = 'completed'
FROM items i CROSS JOIN batches b ON b.no = i.batch_no LEFT JOIN item_data d ON d.item_id = i.id
WHERE +i.batch_no = :no AND i.id > :after AND i.id <= :last
ORDER BY i.id LIMIT :limit

-- name: remember_completed
INSERT INTO seen (processor, organization, fingerprint, item_id, completed) VALUES (?, ?, ?, ?, 1)
ON CONFLICT (processor, organization, fingerprint, item_id) DO UPDATE SET completed = 1

-- name: delete_logs_of
DELETE FROM attempt_logs WHERE item_id IN (SELECT value FROM json_each(:ids))

-- name: delete_steps_of
DELETE FROM item_steps WHERE item_id IN (SELECT value FROM json_each(:ids))

-- name: delete_attempts_of
DELETE FROM attempts WHERE item_id IN (SELECT value FROM json_each(:ids))

-- name: delete_results_of
DELETE FROM item_results WHERE item_id IN (SELECT value FROM json_each(:ids))

-- name: delete_data_of
DELETE FROM item_data WHERE item_id IN (SELECT value FROM json_each(:ids))

-- name: delete_items_of
DELETE FROM items WHERE id IN (SELECT value FROM json_each(:ids))

-- name: delete_events_of
DELETE FROM events WHERE id IN (SELECT id FROM events WHERE batch_no = :no ORDER BY id LIMIT :limit)

-- name: delete_notices_of
-- What is still to be sent is sent; it holds its whole message.
DELETE FROM outbox WHERE batch_no = :no AND state IN ('sent', 'dead')

-- name: delete_stray_notices
DELETE FROM outbox WHERE id IN (
    SELECT o.id FROM outbox o
    WHERE o.state IN ('sent', 'dead') AND o.batch_no IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.no = o.batch_no) LIMIT :limit)

-- name: delete_old_alerts
DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE cleared_at < :before LIMIT :limit)

-- name: delete_old_alert_notices
-- Messages about alerts belong to no batch.
DELETE FROM outbox WHERE id IN (
    SELECT id FROM outbox WHERE batch_no IS NULL AND state IN ('sent', 'dead') AND created_at < :before LIMIT :limit)
