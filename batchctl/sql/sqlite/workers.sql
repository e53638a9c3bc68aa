-- name: insert_worker
INSERT INTO workers (id, host, boot_id, pid_namespace, pid, pid_started, command, concurrency, processors, lease_ms,
                     started_at, seen_at)
VALUES (:id, :host, :boot_id, :pid_namespace, :pid, :pid_started, :command, :concurrency, :processors, :lease_ms,
        :now, :now)

-- name: heartbeat
UPDATE workers SET seen_at = :now WHERE id = :id

-- name: delete_worker
DELETE FROM workers WHERE id = :id

-- name: all_workers
SELECT id, host, boot_id, pid_namespace, pid, pid_started, lease_ms, seen_at FROM workers

-- name: held_by_worker
SELECT i.id, i.claim_no FROM batches b CROSS JOIN items i ON i.batch_no = b.no
WHERE b.status IN ('pending', 'processing') AND i.state = 'processing' AND i.worker_id = :worker_id

-- name: held_details
SELECT i.id, i.claim_no, i.batch_no, i.organization, i.suspect, i.crashes, i.cancel_requested, i.started_at, b.cancelled_at
FROM batches b CROSS JOIN items i ON i.batch_no = b.no
WHERE b.status IN ('pending', 'processing') AND i.state = 'processing' AND i.worker_id = :worker_id
LIMIT :limit

-- name: ownerless_items
SELECT DISTINCT i.worker_id FROM batches b CROSS JOIN items i ON i.batch_no = b.no
WHERE b.status IN ('pending', 'processing') AND i.state = 'processing'
  AND i.worker_id NOT IN (SELECT id FROM workers)

-- name: mark_suspect
UPDATE items SET suspect = 1, crashes = crashes + :alone WHERE id = :id

-- name: cancel_told
SELECT id FROM items WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'processing' AND cancel_requested = 1

-- name: lost_claims
SELECT j.value FROM json_each(:ids) j LEFT JOIN items i ON i.id = j.value AND i.state = 'processing' AND i.worker_id = :worker_id
WHERE i.id IS NULL
