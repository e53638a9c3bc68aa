-- Items that are named by their ids are looked up by the primary key: `state || ''` keeps the planner from the small
-- indexes of one state, which it takes for cheaper and which then are gone through again for every item.

-- name: due_retries
SELECT id, batch_no, lane_no FROM items
WHERE state = 'waiting' AND waiting_for = 'retry' AND next_attempt_at <= :now
ORDER BY next_attempt_at LIMIT :limit
FOR NO KEY UPDATE SKIP LOCKED

-- name: next_retry
SELECT min(next_attempt_at) FROM items WHERE state = 'waiting' AND waiting_for = 'retry'

-- name: make_due
UPDATE items SET state = 'pending', waiting_for = NULL, next_attempt_at = NULL
WHERE id = ? AND state || '' = 'waiting' AND waiting_for = 'retry'

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
-- Groups and turns are changed by one transaction at a time, in whatever order; batches are never waited for after it.
SELECT pg_advisory_xact_lock(1650553955, 2)

-- name: ready_turns
SELECT priority, turn, organization FROM turns
WHERE processor = :processor AND ready = 1 ORDER BY priority, turn, organization LIMIT :limit

-- name: ready_turns_of
SELECT priority, turn, organization FROM turns
WHERE processor = :processor AND organization = :organization AND ready = 1 ORDER BY priority, turn, organization LIMIT :limit

-- name: oldest_groups
SELECT h.n - 1, g.batch_no, g.started
FROM json_array_elements(:heads::json) WITH ORDINALITY AS h (value, n)
CROSS JOIN LATERAL (
    SELECT o.batch_no, o.started FROM ready_groups o
    WHERE o.processor = h.value ->> 0 AND o.priority = (h.value ->> 1)::integer AND o.organization = h.value ->> 2
      AND o.gate IS NULL AND o.empty = 0
      AND o.batch_no <> ALL (ARRAY(SELECT value::bigint FROM json_array_elements_text(:passed::json)))
    ORDER BY o.batch_no LIMIT 1) g

-- name: named_groups
SELECT g.processor, g.priority, t.turn, g.organization, g.batch_no, g.started
FROM ready_groups g
JOIN turns t ON t.processor = g.processor AND t.priority = g.priority AND t.organization = g.organization
WHERE g.batch_no = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:batch_nos::json))) AND g.gate IS NULL AND g.empty = 0
ORDER BY g.priority, t.turn, g.batch_no

-- name: close_turn
UPDATE turns t SET ready = 0
WHERE t.processor = :processor AND t.priority = :priority AND t.organization = :organization
  AND NOT EXISTS (SELECT 1 FROM ready_groups g
                  WHERE g.processor = t.processor AND g.priority = t.priority AND g.organization = t.organization
                    AND g.gate IS NULL AND g.empty = 0)

-- name: advance_turn
UPDATE turns
SET turn = greatest(turn, (SELECT max(o.turn) FROM turns o WHERE o.priority = :priority AND o.ready = 1) - :grace) + :count
WHERE priority = :priority AND organization = :organization

-- name: claim_items
-- Of each group, a pair (batch, item), at most :limit, of those that come after the item. What another transaction
-- holds at this moment is left to it: nobody waits for items. The pair is compared as a whole so that only items_ready
-- has the order: the primary key would lead past everything that has ended.
UPDATE items
SET state = 'processing', claim_no = claim_no + 1, worker_id = :worker_id, started_at = :now, progress = NULL
WHERE id = ANY (ARRAY(
    SELECT f.id FROM json_array_elements(:groups::json) AS j (value)
    CROSS JOIN LATERAL (
        SELECT i.id FROM items i
        WHERE (i.batch_no, i.id) > ((j.value ->> 0)::bigint, (j.value ->> 1)::bigint)
          AND i.batch_no <= (j.value ->> 0)::bigint AND i.state = 'pending' AND i.suspect = 0
        ORDER BY i.batch_no, i.id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED) f))
RETURNING id, batch_no, position, key, claim_no, attempts_used, suspect, lane_no, lane

-- name: claim_item
UPDATE items
SET state = 'processing', claim_no = claim_no + 1, worker_id = :worker_id, started_at = :now, progress = NULL
WHERE id = ANY (ARRAY(SELECT id FROM items WHERE id = :id AND state || '' = 'pending' FOR NO KEY UPDATE SKIP LOCKED))
RETURNING id, batch_no, position, key, claim_no, attempts_used, suspect, lane_no, lane

-- name: open_suspects
SELECT i.id, g.processor, g.organization, g.batch_no, g.started
FROM items i JOIN ready_groups g ON g.batch_no = i.batch_no
WHERE i.state = 'pending' AND i.suspect = 1 AND g.gate IS NULL
ORDER BY g.priority, g.batch_no, i.id

-- name: group_is_empty
-- Not while an item is pending that another transaction is about to claim: its end is not known yet.
UPDATE ready_groups SET empty = 1
WHERE batch_no = :batch_no
  AND NOT EXISTS (SELECT 1 FROM items WHERE batch_no = :batch_no AND state = 'pending' AND suspect = 0)

-- name: groups_started
-- Not where the batch's row could not be marked: the next claim tries again.
UPDATE ready_groups g SET started = 1
FROM batches b
WHERE g.batch_no = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:batch_nos::json))) AND b.no = g.batch_no AND b.status = 'processing'

-- name: batches_started
-- Who holds such a row makes it so itself, or had it so already.
UPDATE batches SET status = 'processing', started_at = coalesce(started_at, :now)
WHERE no = ANY (ARRAY(
    SELECT no FROM batches WHERE no = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:batch_nos::json))) ORDER BY no FOR NO KEY UPDATE SKIP LOCKED))

-- name: claimed_data
SELECT item_id, payload, file, idempotency_key
FROM item_data WHERE item_id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json)))

-- name: batch_refs
SELECT id, name, organization, submitter, kind, created_at, total_items, processor, definition, no, host, folder
FROM batches WHERE no = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:nos::json)))

-- name: pending_files
SELECT i.id, d.file FROM items i JOIN item_data d ON d.item_id = i.id
WHERE (i.batch_no, i.id) > (:no, :after) AND i.batch_no <= :no AND i.state = 'pending' AND i.suspect = 0
ORDER BY i.batch_no, i.id LIMIT :limit

-- name: count_pending
SELECT count(*) FROM items WHERE batch_no = :no AND state = 'pending' AND suspect = 0

-- name: held_of_processor
SELECT count(*) FROM items i JOIN batches b ON b.no = i.batch_no
WHERE i.state = 'processing' AND b.processor = :processor

-- name: outlook_unfinished
SELECT b.no, b.processor, b.bulk, g.gate, g.opens_at, b.total_items - b.completed_items - b.failed_items - b.cancelled_items,
       EXISTS (SELECT 1 FROM items i WHERE i.batch_no = b.no AND i.state = 'processing'), b.organization
FROM batches b LEFT JOIN ready_groups g ON g.batch_no = b.no
WHERE b.status IN ('pending', 'processing')
