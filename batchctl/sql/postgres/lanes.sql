-- name: lock_lanes
-- Lanes and paces are changed by one transaction at a time, in whatever order. It is taken after the worker's own items,
-- before batches, groups and turns; items are never waited for under it.
SELECT pg_advisory_xact_lock(1650553955, 4)

-- name: insert_lanes
INSERT INTO lanes (processor, organization, value)
SELECT :processor, :organization, j.value FROM json_array_elements_text(:names::json) j (value) ORDER BY j.value
ON CONFLICT (processor, organization, value) DO NOTHING

-- name: lane_numbers
SELECT l.value, l.no FROM json_array_elements_text(:names::json) j (value)
JOIN lanes l ON l.processor = :processor AND l.organization = :organization AND l.value = j.value

-- name: insert_lane_items
INSERT INTO items (id, batch_no, position, key, organization, lane, lane_no, state, waiting_for)
SELECT * FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::text[], ?::text[], ?::text[], ?::bigint[], ?::text[], ?::text[])
ON CONFLICT DO NOTHING

-- name: insert_lane_batches
INSERT INTO lane_batches (batch_no, lane_no, priority)
SELECT * FROM unnest(?::bigint[], ?::bigint[], ?::integer[])
ON CONFLICT (batch_no, lane_no) DO NOTHING

-- name: change_lane
UPDATE items SET lane = ?, lane_no = ? WHERE id = ?

-- name: lanes_of
SELECT l.no, coalesce(p.lane_limit, 1), (l.held_by IS NOT NULL)::integer, l.tat, p.lane_interval_ms
FROM lanes l LEFT JOIN paces p ON p.processor = l.processor
WHERE l.no = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:nos::json)))

-- name: lane_heads
-- What of these lanes runs, may run, or waits for something else than its lane.
SELECT i.lane_no, i.id, i.state, i.waiting_for, i.next_attempt_at, i.batch_no, g.priority,
       (g.gate IS NULL AND g.batch_no IS NOT NULL)::integer
FROM items i LEFT JOIN ready_groups g ON g.batch_no = i.batch_no
WHERE i.lane_no = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:nos::json))) AND i.lane_no IS NOT NULL AND i.completed_at IS NULL AND i.waiting_for IS DISTINCT FROM 'lane'

-- name: lane_candidates
-- Of each lane the first :most that wait for it under an open gate.
SELECT j.value::bigint, c.id, c.batch_no, c.priority
FROM json_array_elements_text(:nos::json) j (value)
CROSS JOIN LATERAL (
    SELECT i.id, i.batch_no, g.priority
    FROM lane_batches b JOIN ready_groups g ON g.batch_no = b.batch_no
    CROSS JOIN LATERAL (
        SELECT w.id, w.batch_no FROM items w
        WHERE w.lane_no = j.value::bigint AND w.batch_no = b.batch_no AND w.waiting_for = 'lane'
        ORDER BY w.lane_no, w.batch_no, w.id LIMIT :most) i
    WHERE b.lane_no = j.value::bigint AND b.open = 1 AND g.gate IS NULL
    ORDER BY b.priority, b.batch_no, i.id LIMIT :most) c

-- name: lane_demote
-- Not what somebody is claiming at this moment.
UPDATE items SET state = 'waiting', waiting_for = 'lane', next_attempt_at = NULL
WHERE id = ANY (ARRAY(
    SELECT id FROM items
    WHERE id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json))) AND (state || '' = 'pending' OR state || '' = 'waiting' AND waiting_for = 'rate')
    FOR NO KEY UPDATE SKIP LOCKED))
RETURNING id

-- name: lane_ready
UPDATE items SET state = 'pending', waiting_for = NULL, next_attempt_at = NULL
WHERE id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json))) AND state || '' = 'waiting' AND waiting_for || '' IN ('lane', 'rate')

-- name: lane_put_off
UPDATE items SET state = 'waiting', waiting_for = 'rate', next_attempt_at = ?
WHERE id = ? AND (state = 'pending' OR state = 'waiting' AND waiting_for IN ('lane', 'rate'))

-- name: lane_due
UPDATE items SET state = 'waiting', waiting_for = 'lane', next_attempt_at = NULL
WHERE id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json))) AND state || '' = 'waiting' AND waiting_for || '' IN ('retry', 'rate')

-- name: lane_unclaim
-- Of our own transaction: claimed a moment ago, and its lane may not go on yet.
UPDATE items SET state = 'waiting', waiting_for = 'lane', worker_id = NULL, claim_no = claim_no - 1
WHERE id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json))) AND state || '' = 'processing' AND worker_id = :worker_id

-- name: open_lane_batches
UPDATE lane_batches SET open = 1
FROM (SELECT (value ->> 0)::bigint AS batch_no, (value ->> 1)::bigint AS lane_no FROM json_array_elements(:pairs::json)) j
WHERE lane_batches.batch_no = j.batch_no AND lane_batches.lane_no = j.lane_no AND lane_batches.open = 0

-- name: close_lane_batches
UPDATE lane_batches SET open = 0
FROM (SELECT (value ->> 0)::bigint AS batch_no, (value ->> 1)::bigint AS lane_no FROM json_array_elements(:pairs::json)) j
WHERE lane_batches.batch_no = j.batch_no AND lane_batches.lane_no = j.lane_no AND lane_batches.open = 1
  AND NOT EXISTS (SELECT 1 FROM items i
                  WHERE i.lane_no = lane_batches.lane_no AND i.batch_no = lane_batches.batch_no AND i.waiting_for = 'lane')

-- name: lanes_clean
UPDATE lanes SET dirty = 0 WHERE no = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:nos::json))) AND dirty = 1

-- name: lanes_dirty
UPDATE lanes SET dirty = 1 WHERE no = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:nos::json))) AND dirty = 0

-- name: lane_work
-- Whether anything was left to be worked out.
SELECT EXISTS (SELECT 1 FROM lanes WHERE dirty = 1) OR EXISTS (SELECT 1 FROM ready_groups WHERE relane IS NOT NULL)
    OR EXISTS (SELECT 1 FROM paces WHERE relane IS NOT NULL)

-- name: dirty_lanes
SELECT no FROM lanes WHERE dirty = 1 ORDER BY no LIMIT :limit

-- name: group_to_relane
SELECT batch_no, relane, priority FROM ready_groups WHERE relane IS NOT NULL ORDER BY batch_no LIMIT 1

-- name: lanes_of_batch
SELECT lane_no FROM lane_batches WHERE batch_no = :no AND lane_no > :after ORDER BY lane_no LIMIT :limit

-- name: prioritise_lanes
UPDATE lane_batches SET priority = :priority
WHERE batch_no = :no AND lane_no > :after AND lane_no <= :last AND priority <> :priority

-- name: group_relaned
UPDATE ready_groups SET relane = :after WHERE batch_no = :no

-- name: pace_to_relane
SELECT processor, relane FROM paces WHERE relane IS NOT NULL ORDER BY processor LIMIT 1

-- name: lanes_of_processor
SELECT no FROM lanes WHERE processor = :processor AND no > :after ORDER BY no LIMIT :limit

-- name: pace_relaned
UPDATE paces SET relane = :after WHERE processor = :processor

-- name: stuck_lanes
-- Lanes past :after in which something waits under an open gate though nothing runs and nothing is to run: there should
-- be none. Each is looked at by itself: planned as a join, all that waits would be read.
SELECT DISTINCT b.lane_no FROM lane_batches b
JOIN lanes l ON l.no = b.lane_no JOIN ready_groups g ON g.batch_no = b.batch_no
WHERE b.open = 1 AND b.lane_no > :after AND l.held_by IS NULL AND g.gate IS NULL
  AND (SELECT i.id FROM items i
       WHERE i.lane_no = b.lane_no AND i.lane_no IS NOT NULL AND i.completed_at IS NULL
         AND i.waiting_for IS DISTINCT FROM 'lane' LIMIT 1) IS NULL
  AND (SELECT i.id FROM items i
       WHERE i.lane_no = b.lane_no AND i.batch_no = b.batch_no AND i.waiting_for = 'lane' LIMIT 1) IS NOT NULL
ORDER BY b.lane_no LIMIT :limit

-- name: hold_lane
UPDATE lanes SET held_by = ?
WHERE no = ? AND held_by IS NULL AND EXISTS (SELECT 1 FROM paces p WHERE p.processor = lanes.processor AND p.lane_hold = 1)

-- name: let_lanes_go
UPDATE lanes SET held_by = NULL, dirty = 1 WHERE no = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:nos::json))) AND held_by IS NOT NULL
RETURNING pg_notify('batchctl', '')

-- name: let_lanes_of_batch_go
UPDATE lanes SET held_by = NULL, dirty = 1
WHERE held_by IS NOT NULL AND EXISTS (SELECT 1 FROM lane_batches b WHERE b.batch_no = :no AND b.lane_no = lanes.no)
RETURNING pg_notify('batchctl', '')

-- name: let_lanes_of_processor_go
UPDATE lanes SET held_by = NULL, dirty = 1 WHERE held_by IS NOT NULL AND (:processor::text = '*' OR processor = :processor)
RETURNING pg_notify('batchctl', '')

-- name: delete_lanes_of
DELETE FROM lane_batches WHERE batch_no = :no AND lane_no IN (
    SELECT lane_no FROM lane_batches WHERE batch_no = :no ORDER BY lane_no LIMIT :limit)

-- name: all_paces
SELECT processor, interval_ms, tat, lane_limit, lane_interval_ms, lane_hold FROM paces ORDER BY processor

-- name: adopt_pace
-- Also where nothing was known: its lanes may have been worked out as if they took one at a time.
INSERT INTO paces (processor, interval_ms, lane_limit, lane_interval_ms, lane_hold, relane)
VALUES (:processor, :interval_ms, :lane_limit, :lane_interval_ms, :lane_hold, 0)
ON CONFLICT (processor) DO UPDATE SET interval_ms = excluded.interval_ms, lane_limit = excluded.lane_limit,
    lane_interval_ms = excluded.lane_interval_ms, lane_hold = excluded.lane_hold, relane = 0
RETURNING pg_notify('batchctl', '')

-- name: reserve_processor
UPDATE paces SET tat = greatest(tat, :tat) WHERE processor = :processor

-- name: lane_tats
SELECT no, tat FROM lanes WHERE no = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:nos::json)))

-- name: reserve_lane
UPDATE lanes SET tat = greatest(tat, ?) WHERE no = ?

-- name: late_lane
UPDATE lanes SET tat = greatest(tat, :started::double precision + (SELECT p.lane_interval_ms FROM paces p WHERE p.processor = lanes.processor))
WHERE no = :no AND EXISTS (SELECT 1 FROM paces p WHERE p.processor = lanes.processor AND p.lane_interval_ms IS NOT NULL)

-- name: late_processor
UPDATE paces SET tat = greatest(tat, :started::double precision + interval_ms) WHERE processor = :processor AND interval_ms IS NOT NULL

-- name: due_rates
SELECT id, batch_no, lane_no FROM items
WHERE state = 'waiting' AND waiting_for = 'rate' AND next_attempt_at <= :now
ORDER BY next_attempt_at LIMIT :limit
FOR NO KEY UPDATE SKIP LOCKED

-- name: next_rate
SELECT min(next_attempt_at) FROM items WHERE state = 'waiting' AND waiting_for = 'rate'

-- name: make_rated_due
UPDATE items SET state = 'pending', waiting_for = NULL, next_attempt_at = NULL
WHERE id = ? AND state || '' = 'waiting' AND waiting_for = 'rate'

-- name: next_pace
-- When the next start of a processor may be that has something to start. Where it has a limit for items at once, that
-- may be too early.
SELECT min(p.tat) FROM paces p
WHERE p.interval_ms IS NOT NULL
  AND EXISTS (SELECT 1 FROM ready_groups g WHERE g.processor = p.processor AND g.gate IS NULL AND g.empty = 0)

-- name: batch_is_held
-- Whether all that is left of a batch waits in lanes that are held.
SELECT NOT EXISTS (SELECT 1 FROM items i WHERE i.batch_no = :no AND i.state = 'pending' AND i.suspect = 0)
   AND NOT EXISTS (SELECT 1 FROM items i WHERE i.batch_no = :no AND i.state = 'pending' AND i.suspect = 1)
   AND NOT EXISTS (SELECT 1 FROM items i WHERE i.batch_no = :no AND i.state IN ('waiting', 'submitted')
                   AND i.waiting_for IS DISTINCT FROM 'lane')
   AND NOT EXISTS (SELECT 1 FROM lane_batches b JOIN lanes l ON l.no = b.lane_no
                   JOIN items i ON i.lane_no = b.lane_no AND i.batch_no = b.batch_no
                   WHERE b.batch_no = :no AND b.open = 1 AND l.held_by IS NULL AND i.waiting_for = 'lane')

-- name: held_batches
SELECT DISTINCT b.batch_no FROM lanes l JOIN lane_batches b ON b.lane_no = l.no
WHERE l.held_by IS NOT NULL AND b.open = 1

-- name: batch_waits_for_lanes
-- Whether all that is left of a batch waits for lanes.
SELECT NOT EXISTS (SELECT 1 FROM items i WHERE i.batch_no = :no AND i.state = 'pending' AND i.suspect = 0)
   AND NOT EXISTS (SELECT 1 FROM items i WHERE i.batch_no = :no AND i.state = 'pending' AND i.suspect = 1)
   AND NOT EXISTS (SELECT 1 FROM items i WHERE i.batch_no = :no AND i.state IN ('waiting', 'submitted')
                   AND i.waiting_for IS DISTINCT FROM 'lane')

-- name: first_in_lanes
-- The batches whose items go first in the lanes for which items of a batch wait, NULL where there is none. Each lane is
-- looked at by itself: planned as a join, all that waits would be read.
SELECT DISTINCT h.batch_no
FROM lane_batches b JOIN lanes l ON l.no = b.lane_no
LEFT JOIN LATERAL (
    SELECT i.batch_no FROM items i
    WHERE i.lane_no = b.lane_no AND i.lane_no IS NOT NULL AND i.completed_at IS NULL AND i.waiting_for IS DISTINCT FROM 'lane'
    OFFSET 0) h ON true
WHERE b.batch_no = :no AND b.open = 1 AND l.held_by IS NULL
  AND (SELECT i.id FROM items i
       WHERE i.lane_no = b.lane_no AND i.batch_no = b.batch_no AND i.waiting_for = 'lane' LIMIT 1) IS NOT NULL
