-- name: intend_file_act
INSERT INTO file_acts (item_id, act, folder, state, host, next_attempt_at)
SELECT d.item_id, :act::text, :folder::text, :state::text, :host::text, :now::bigint FROM item_data d WHERE d.item_id = :item_id AND d.file IS NOT NULL
ON CONFLICT (item_id) DO UPDATE SET act = excluded.act, folder = excluded.folder, state = excluded.state,
    host = excluded.host, attempts = 0, next_attempt_at = excluded.next_attempt_at, error = NULL

-- name: due_file_acts
SELECT f.item_id, f.act, f.folder, f.state, f.attempts, d.file
FROM file_acts f JOIN item_data d ON d.item_id = f.item_id JOIN items i ON i.id = f.item_id
WHERE f.host = :host AND f.next_attempt_at <= :now AND (:org::text IS NULL OR i.organization = :org)
ORDER BY f.next_attempt_at, f.item_id LIMIT :limit

-- name: begin_file_act
-- The item's file and state, where the act is still to be done as it was read.
SELECT d.file, i.state
FROM file_acts f JOIN item_data d ON d.item_id = f.item_id JOIN items i ON i.id = f.item_id
WHERE f.item_id = :item_id AND f.state = :state AND f.act = :act AND f.attempts = :attempts

-- name: end_file_act
DELETE FROM file_acts WHERE item_id = :item_id

-- name: put_off_file_act
UPDATE file_acts SET attempts = attempts + 1, next_attempt_at = :at, error = :error WHERE item_id = :item_id

-- name: file_is_at
UPDATE item_data SET file = :file WHERE item_id = :item_id

-- name: batch_of_item
SELECT batch_no, organization FROM items WHERE id = :id

-- name: delete_file_acts_of
DELETE FROM file_acts WHERE item_id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json)))
