-- name: insert_worker
INSERT INTO workers (id, host, boot_id, pid_namespace, pid, pid_started, command, concurrency, processors, lease_ms,
                     roots, scope, started_at, seen_at, seen_monotonic)
VALUES (:id, :host, :boot_id, :pid_namespace, :pid, :pid_started, :command, :concurrency, :processors, :lease_ms,
        :roots, :scope, :now, :now, :monotonic)

-- name: heartbeat
UPDATE workers SET seen_at = :now, seen_monotonic = :monotonic WHERE id = :id

-- name: describe_worker
UPDATE workers SET concurrency = :concurrency, processors = :processors, roots = :roots WHERE id = :id

-- name: delete_worker
DELETE FROM workers WHERE id = :id

-- name: all_workers
SELECT id, host, boot_id, pid_namespace, pid, pid_started, lease_ms, seen_at, seen_monotonic FROM workers

-- name: other_workers
SELECT processors, scope FROM workers WHERE id <> :id

-- name: held_by_worker
SELECT id, claim_no FROM items WHERE state = 'processing' AND worker_id = :worker_id

-- name: held_details
SELECT id, claim_no, batch_no, organization, suspect, crashes, started_at, lane_no
FROM items
WHERE state = 'processing' AND worker_id = :worker_id AND (:org::text IS NULL OR organization = :org)
LIMIT :limit

-- name: holds_any
SELECT 1 FROM items WHERE state = 'processing' AND worker_id = :worker_id LIMIT 1

-- name: ownerless_items
SELECT DISTINCT worker_id FROM items
WHERE state = 'processing' AND worker_id NOT IN (SELECT id FROM workers)

-- name: mark_suspect
UPDATE items SET suspect = 1, crashes = crashes + :alone WHERE id = :id

-- name: cancel_told
SELECT id FROM items WHERE id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json))) AND state || '' = 'processing' AND cancel_requested = 1
