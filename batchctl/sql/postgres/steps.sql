-- name: claimed_steps
SELECT item_id, step, position, definition_hash, path, finished, attempts_before, completed_at, result, error_type,
       error_message, usage, artifacts
FROM item_steps WHERE item_id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json))) ORDER BY item_id, position

-- name: claims_held
SELECT id, claim_no FROM items
WHERE id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json))) AND state || '' = 'processing' AND worker_id = :worker_id
ORDER BY id FOR UPDATE

-- name: store_step
INSERT INTO item_steps (item_id, step, position, definition_hash, path, finished, attempts_before, completed_at, result,
                        error_type, error_message, usage, artifacts)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (item_id, step) DO UPDATE SET position = excluded.position, definition_hash = excluded.definition_hash,
    path = excluded.path, finished = excluded.finished, attempts_before = excluded.attempts_before,
    completed_at = excluded.completed_at, result = excluded.result, error_type = excluded.error_type,
    error_message = excluded.error_message, usage = excluded.usage, artifacts = excluded.artifacts

-- name: forget_steps
DELETE FROM item_steps WHERE item_id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json)))

-- name: forget_unfinished_steps
DELETE FROM item_steps WHERE item_id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json))) AND finished = 0

-- name: count_steps_anew
UPDATE item_steps SET attempts_before = 0
WHERE item_id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json))) AND attempts_before > 0
