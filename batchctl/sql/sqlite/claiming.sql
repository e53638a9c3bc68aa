-- name: due_retries
SELECT id, batch_no, lane_no FROM items
WHERE state = 'waiting' AND waiting_for = 'retry' AND next_attempt_at <= :now
ORDER BY next_attempt_at LIMIT :limit

-- name: next_retry
SELECT min(next_attempt_at) FROM items WHERE state = 'waiting' AND waiting_for = 'retry'

-- name: make_due
UPDATE items SET state = 'pending', waiting_for = NULL, next_attempt_at = NULL
WHERE id = ? AND state = 'waiting' AND waiting_for = 'retry'

-- name: processor_gates
-- The last: how many more failures the batch nearest to its limit may have, where one has a limit.
SELECT name, paused, paused_until, broken_since, broken_config,
    (SELECT min(b.failure_limit - b.run_failures) FROM batches b
     WHERE b.processor = processors.name AND b.failure_limit IS NOT NULL AND b.paused = 0
         AND b.status IN ('pending', 'processing'))
FROM processors ORDER BY name

-- name: unpause_processors
UPDATE processors SET paused = 0, paused_until = NULL WHERE paused = 1 AND paused_until <= :now

-- name: lock_turns
-- Nothing to do: the whole transaction has the write lock.
SELECT 1

-- name: ready_turns
SELECT priority, turn, organization FROM turns
WHERE processor = :processor AND ready = 1 ORDER BY priority, turn, organization LIMIT :limit

-- name: ready_turns_of
SELECT priority, turn, organization FROM turns
WHERE processor = :processor AND organization = :organization AND ready = 1 ORDER BY priority, turn, organization LIMIT :limit

-- name: oldest_groups
SELECT h.key, g.batch_no, g.started
FROM json_each(:heads) h
CROSS JOIN ready_groups g ON g.batch_no = (
    SELECT min(o.batch_no) FROM ready_groups o
    WHERE o.processor = h.value ->> 0 AND o.priority = h.value ->> 1 AND o.organization = h.value ->> 2
      AND o.gate IS NULL AND o.empty = 0 AND o.batch_no NOT IN (SELECT value FROM json_each(:passed)))

-- name: named_groups
SELECT g.processor, g.priority, t.turn, g.organization, g.batch_no, g.started
FROM json_each(:batch_nos) n
CROSS JOIN ready_groups g ON g.batch_no = n.value
CROSS JOIN turns t ON t.processor = g.processor AND t.priority = g.priority AND t.organization = g.organization
WHERE g.gate IS NULL AND g.empty = 0
ORDER BY g.priority, t.turn, g.batch_no

-- name: close_turn
-- A group may be open whose files are on other hosts.
UPDATE turns SET ready = 0
WHERE processor = :processor AND priority = :priority AND organization = :organization
  AND NOT EXISTS (SELECT 1 FROM ready_groups g
                  WHERE g.processor = :processor AND g.priority = :priority AND g.organization = :organization
                    AND g.gate IS NULL AND g.empty = 0)

-- name: advance_turn
UPDATE turns
SET turn = max(turn, (SELECT max(o.turn) FROM turns o WHERE o.priority = :priority AND o.ready = 1) - :grace) + :count
WHERE priority = :priority AND organization = :organization

-- name: claim_items
-- Of each group, a pair (batch, item), at most :limit, of those that come after the item.
WITH wanted (batch_no, after, last) AS MATERIALIZED (
    SELECT j.value ->> 0, j.value ->> 1, coalesce(
        (SELECT i.id FROM items i
         WHERE i.batch_no = j.value ->> 0 AND i.state = 'pending' AND i.suspect = 0 AND i.id > j.value ->> 1
         ORDER BY i.id LIMIT 1 OFFSET :limit - 1), 9223372036854775807)
    FROM json_each(:groups) j)
UPDATE items
SET state = 'processing', claim_no = claim_no + 1, worker_id = :worker_id, started_at = :now, progress = NULL
WHERE id IN (
    SELECT i.id FROM wanted g CROSS JOIN items i ON i.batch_no = g.batch_no
    WHERE i.state = 'pending' AND i.suspect = 0 AND i.id > g.after AND i.id <= g.last)
RETURNING id, batch_no, position, key, claim_no, attempts_used, suspect, lane_no, lane

-- name: claim_item
UPDATE items
SET state = 'processing', claim_no = claim_no + 1, worker_id = :worker_id, started_at = :now, progress = NULL
WHERE id = :id AND state = 'pending'
RETURNING id, batch_no, position, key, claim_no, attempts_used, suspect, lane_no, lane

-- name: open_suspects
SELECT i.id, g.processor, g.organization, g.batch_no, g.started
FROM items i INDEXED BY items_suspect CROSS JOIN ready_groups g ON g.batch_no = i.batch_no
WHERE i.state = 'pending' AND i.suspect = 1 AND g.gate IS NULL
ORDER BY g.priority, g.batch_no, i.id

-- name: group_is_empty
UPDATE ready_groups SET empty = 1 WHERE batch_no = :batch_no

-- name: groups_started
UPDATE ready_groups SET started = 1 WHERE batch_no IN (SELECT value FROM json_each(:batch_nos))

-- name: batches_started
UPDATE batches SET status = 'processing', started_at = coalesce(started_at, :now)
WHERE no IN (SELECT value FROM json_each(:batch_nos))

-- name: claimed_data
SELECT item_id, payload, file, idempotency_key
FROM item_data WHERE item_id IN (SELECT value FROM json_each(:ids))

-- name: batch_refs
SELECT id, name, organization, submitter, kind, created_at, total_items, processor, definition, no, host, folder
FROM batches WHERE no IN (SELECT value FROM json_each(:nos))

-- name: pending_files
SELECT i.id, d.file FROM items i CROSS JOIN item_data d ON d.item_id = i.id
WHERE i.batch_no = :no AND i.state = 'pending' AND i.suspect = 0 AND i.id > :after
ORDER BY i.id LIMIT :limit

-- name: count_pending
SELECT count(*) FROM items WHERE batch_no = :no AND state = 'pending' AND suspect = 0

-- name: held_of_processor
SELECT count(*) FROM items i INDEXED BY items_held CROSS JOIN batches b ON b.no = i.batch_no
WHERE i.state = 'processing' AND b.processor = :processor

-- name: outlook_unfinished
SELECT b.no, b.processor, b.bulk, g.gate, g.opens_at, b.total_items - b.completed_items - b.failed_items - b.cancelled_items,
       EXISTS (SELECT 1 FROM items i WHERE i.batch_no = b.no AND i.state = 'processing'), b.organization
FROM batches b LEFT JOIN ready_groups g ON g.batch_no = b.no
WHERE b.status IN ('loading', 'deleting', 'pending', 'processing')  -- these words are the index's
  AND b.status IN ('pending', 'processing')
