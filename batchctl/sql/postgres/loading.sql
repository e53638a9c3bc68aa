-- name: next_item_id
-- A run of numbers in a row: others wait for the moment that takes, not for our commit.
WITH locked AS MATERIALIZED (SELECT pg_advisory_lock(1650553955, 3) AS done),
     reserved AS MATERIALIZED (
         SELECT setval('items_id_seq', nextval('items_id_seq') + :count - 1) AS newest, done::text FROM locked),
     freed AS MATERIALIZED (SELECT newest, pg_advisory_unlock(1650553955, 3) AS done FROM reserved)
SELECT newest - :count + 1 FROM freed WHERE done

-- name: insert_batch
INSERT INTO batches (id, name, group_name, kind, processor, definition, organization, submitter, priority, status,
                     loader, explicit_keys, not_before, host, created_at)
VALUES (:id, :name, :group_name, :kind, :processor, :definition, :organization, :submitter, :priority, 'loading',
        :loader, :explicit_keys, :not_before, :host, :now)
RETURNING no

-- name: insert_items
INSERT INTO items (id, batch_no, position, key, organization)
SELECT * FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::text[], ?::text[])
ON CONFLICT DO NOTHING

-- name: insert_item_data
INSERT INTO item_data (item_id, payload, file)
SELECT * FROM unnest(?::bigint[], ?::text[], ?::text[])

-- name: load_is_ours
SELECT 1 FROM batches WHERE no = :no AND status = 'loading' AND loader = :loader

-- name: items_by_key
SELECT i.key, i.id, i.position
FROM json_array_elements_text(:keys::json) k (value) JOIN items i ON i.batch_no = :batch_no AND short_key(i.key) = short_key(k.value) AND i.key = k.value

-- name: replace_item_data
UPDATE item_data SET payload = :payload, file = :file WHERE item_id = :item_id

-- name: processor_remembers
SELECT remembers FROM processors WHERE name = :processor

-- name: ensure_processor
INSERT INTO processors (name) VALUES (:processor) ON CONFLICT (name) DO NOTHING

-- name: remember_processor
UPDATE processors SET remembers = 1 WHERE name = :processor

-- name: remember_existing
SELECT i.id, i.organization, i.key, d.payload, d.file::json ->> 'sha256', b.explicit_keys
FROM items i JOIN batches b ON b.no = i.batch_no JOIN item_data d ON d.item_id = i.id
WHERE b.processor = :processor AND i.id > :after
ORDER BY i.id LIMIT :limit

-- name: last_item_id
SELECT max(id) FROM items

-- name: insert_seen
INSERT INTO seen (processor, organization, fingerprint, item_id)
SELECT * FROM unnest(?::text[], ?::text[], ?::bytea[], ?::bigint[])
ON CONFLICT (processor, organization, fingerprint, item_id) DO NOTHING

-- name: forget_gone
DELETE FROM seen
WHERE processor = ? AND organization = ? AND fingerprint = ? AND item_id <> ? AND completed = 0
  AND NOT EXISTS (SELECT 1 FROM items i WHERE i.id = seen.item_id)

-- name: is_known
SELECT 1
FROM seen s LEFT JOIN items i ON i.id = s.item_id LEFT JOIN batches b ON b.no = i.batch_no
WHERE s.processor = :processor AND s.organization = :organization AND s.fingerprint = :fingerprint
  AND CASE WHEN i.id IS NULL THEN s.completed = 1
           WHEN b.status = 'loading' THEN b.loader = :loader
           WHEN b.status = 'deleting' THEN i.state = 'completed'
           ELSE i.state NOT IN ('failed', 'cancelled') END
LIMIT 1

-- name: newest_event
SELECT max(id) FROM events

-- name: published_since
SELECT 1 FROM events e JOIN batches b ON b.no = e.batch_no
WHERE e.id > :since AND e.event = 'enqueued' AND b.processor = :processor AND b.organization = :organization
LIMIT 1

-- name: loaded_items
SELECT i.id, i.organization, i.key, d.payload, d.file::json ->> 'sha256', b.explicit_keys
FROM batches b JOIN items i ON i.batch_no = b.no JOIN item_data d ON d.item_id = i.id
WHERE b.no = :no

-- name: batch_by_idempotency_key
SELECT no, id, request_hash, group_name FROM batches
WHERE organization = :organization AND idempotency_key = :idempotency_key AND status NOT IN ('loading', 'deleting')

-- name: nth_newest_batch
-- When the nth (from 0) of the batches that came after `since` was made; loads that were given up have no items.
SELECT created_at FROM batches
WHERE organization = :organization AND created_at > :since AND total_items > 0
  AND (:processor::text IS NULL OR processor = :processor::text) AND (:submitter::text IS NULL OR submitter = :submitter::text)
ORDER BY created_at DESC LIMIT 1 OFFSET :nth

-- name: count_batches
SELECT count(*) FROM batches
WHERE organization = :organization AND created_at > :since AND total_items > 0
  AND (:processor::text IS NULL OR processor = :processor::text) AND (:submitter::text IS NULL OR submitter = :submitter::text)

-- name: unfinished_twin
-- no + 0: the first by number is looked for among those of this content, not this content among all by number.
SELECT id FROM batches
WHERE no = (SELECT min(no + 0) FROM batches
            WHERE content_hash = :content_hash AND processor = :processor AND organization = :organization
              AND status IN ('pending', 'processing'))

-- name: batches_of_load
SELECT no FROM batches
WHERE group_name = :group_name AND organization = :organization AND processor = :processor
  AND content_hash = :content_hash AND no >= :no AND status NOT IN ('loading', 'deleting')
ORDER BY no

-- name: publish_batch
UPDATE batches
SET status = 'pending', loader = NULL, total_items = :total, explicit_keys = :explicit_keys,
    content_hash = :content_hash, request_hash = :request_hash, idempotency_key = :idempotency_key,
    failure_limit = :failure_limit, folder = :folder
WHERE no = :no AND status = 'loading' AND loader = :loader

-- name: delete_batch_row
DELETE FROM batches WHERE no = :no

-- name: begin_delete
UPDATE batches SET status = 'deleting', completed_at = coalesce(completed_at, :now)
WHERE no = :no AND status IN ('loading', 'deleting')

-- name: delete_item
DELETE FROM items WHERE id = ?

-- name: delete_item_content
DELETE FROM item_files WHERE item_id = ?

-- name: delete_item_data
DELETE FROM item_data WHERE item_id = ?

-- name: abandoned_loads
SELECT no, loader FROM batches
WHERE status IN ('loading', 'deleting') AND (:org::text IS NULL OR organization = :org)
