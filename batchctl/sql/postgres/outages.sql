-- name: know_origin
INSERT INTO outages (processor, origin, answered) VALUES (?, ?, ?) ON CONFLICT (processor, origin) DO NOTHING

-- name: lock_origins
-- The named ones, and all of these processors with which something is wrong.
SELECT o.processor, o.origin, o.answered, o.failures, o.throttled_since, o.out_since, o.expires_at, o.gates, o.probe_at,
       o.pause_ms, o.probe_item, o.probe_claim, o.refund, o.resuming, o.error_type, o.error_message
FROM outages o
WHERE (o.processor, o.origin) IN (
    SELECT value ->> 0, value ->> 1 FROM json_array_elements(:origins::json) AS j (value)
    UNION
    SELECT t.processor, t.origin FROM json_array_elements(:origins::json) AS j (value)
    JOIN outages t ON t.processor = j.value ->> 0
    WHERE t.troubled = 1)
ORDER BY o.processor, o.origin
FOR UPDATE OF o

-- name: troubled_origins
SELECT processor, origin, answered, failures, throttled_since, out_since, expires_at, gates, probe_at, pause_ms,
       probe_item, probe_claim, refund, resuming, error_type, error_message
FROM outages WHERE troubled = 1 ORDER BY processor, origin

-- name: store_origin
UPDATE outages
SET answered = :answered, troubled = :troubled, failures = :failures, throttled_since = :throttled_since,
    out_since = :out_since, expires_at = :expires_at, gates = :gates, probe_at = :probe_at, pause_ms = :pause_ms,
    probe_item = :probe_item, probe_claim = :probe_claim, refund = :refund, resuming = :resuming,
    error_type = :error_type, error_message = :error_message
WHERE processor = :processor AND origin = :origin

-- name: failed_on_origin
SELECT DISTINCT item_id FROM outage_items WHERE processor = :processor AND origin = :origin LIMIT 10

-- name: note_outage_item
INSERT INTO outage_items (item_id, claim_no, processor, origin, waits) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (item_id, claim_no) DO NOTHING

-- name: forget_failures
DELETE FROM outage_items WHERE processor = :processor AND origin = :origin AND waits = 0

-- name: refundable
-- Tries that counted before the guard tripped, with what has become of their items.
-- What another transaction is about to change comes next time.
SELECT o.item_id, o.claim_no, i.batch_no, (i.state = 'failed' AND i.claim_no = o.claim_no
           AND b.status IN ('pending', 'processing') AND b.limit_reached = 0 AND b.cancelled_at IS NULL)::integer
FROM outage_items o JOIN items i ON i.id = o.item_id JOIN batches b ON b.no = i.batch_no
WHERE o.processor = :processor AND o.origin = :origin AND o.waits = 0
ORDER BY o.item_id LIMIT :limit
FOR NO KEY UPDATE OF o, i SKIP LOCKED

-- name: failures_left
SELECT 1 FROM outage_items WHERE processor = :processor AND origin = :origin AND waits = 0 LIMIT 1

-- name: refund_attempt
UPDATE attempts SET counted = 0, outcome = 'outage'
WHERE item_id = :item_id AND claim_no = :claim_no AND counted = 1 AND outcome IN ('retry', 'failed')

-- name: refund_item
UPDATE items SET attempts_used = attempts_used - 1
WHERE id = :item_id AND attempts_used > 0

-- name: await_outage
-- What was to be tried again waits for the outage's end instead.
UPDATE items SET waiting_for = 'outage', next_attempt_at = NULL
WHERE id = :item_id AND state = 'waiting' AND waiting_for = 'retry'

-- name: reopen_failed
UPDATE items SET state = 'waiting', waiting_for = 'outage', completed_at = NULL
WHERE id = :item_id AND state = 'failed' AND claim_no = :claim_no

-- name: now_awaits
UPDATE outage_items SET waits = 1 WHERE item_id = :item_id AND claim_no = :claim_no

-- name: forget_failure
DELETE FROM outage_items WHERE item_id = :item_id AND claim_no = :claim_no

-- name: items_of_outage
SELECT o.item_id, i.batch_no, i.claim_no, b.processor, b.organization
FROM outage_items o JOIN items i ON i.id = o.item_id JOIN batches b ON b.no = i.batch_no
WHERE o.processor = :processor AND o.origin = :origin AND o.waits = 1
  AND i.state = 'waiting' AND i.waiting_for = 'outage'
ORDER BY o.item_id LIMIT :limit
FOR NO KEY UPDATE OF i SKIP LOCKED

-- name: end_outage_wait
-- It is due to be tried again, in its lane's order where it has one.
UPDATE items SET waiting_for = 'retry', next_attempt_at = ? WHERE id = ? AND state = 'waiting' AND waiting_for = 'outage'

-- name: forget_outage_item
DELETE FROM outage_items WHERE item_id = ? AND waits = 1

-- name: forget_stale_outage_items
-- Items that were cancelled, deleted or retried by hand meanwhile.
DELETE FROM outage_items
WHERE processor = :processor AND origin = :origin AND waits = 1
  AND NOT EXISTS (SELECT 1 FROM items i
                  WHERE i.id = outage_items.item_id AND i.state = 'waiting' AND i.waiting_for = 'outage')

-- name: outage_items_left
SELECT 1 FROM outage_items WHERE processor = :processor AND origin = :origin AND waits = 1 LIMIT 1

-- name: probe_lives
-- Whether the item that probes is on its way, or runs.
SELECT 1 FROM items i LEFT JOIN ready_groups g ON g.batch_no = i.batch_no
WHERE i.id = :item AND (i.state = 'processing' AND i.claim_no = :claim
                        OR i.state IN ('pending', 'waiting') AND i.claim_no = :claim - 1 AND g.gate IS NULL)

-- name: lock_origin
-- Not where somebody else is at it.
SELECT 1 FROM outages WHERE processor = :processor AND origin = :origin AND troubled = 1
FOR UPDATE SKIP LOCKED

-- name: lock_probe
SELECT 1 FROM outages WHERE processor = :processor AND origin = :origin AND out_since IS NOT NULL AND probe_at <= :now
FOR UPDATE SKIP LOCKED

-- name: begin_probe
UPDATE outages SET probe_at = NULL, probe_item = :item, probe_claim = :claim
WHERE processor = :processor AND origin = :origin AND out_since IS NOT NULL

-- name: probe_again
UPDATE outages SET probe_at = :now, probe_item = NULL, probe_claim = NULL
WHERE processor = :processor AND origin = :origin AND out_since IS NOT NULL AND probe_at IS NULL

-- name: refunds_done
UPDATE outages SET refund = 0, troubled = (failures > 0 OR throttled_since IS NOT NULL OR out_since IS NOT NULL OR resuming = 1)::integer
WHERE processor = :processor AND origin = :origin

-- name: resuming_done
UPDATE outages SET resuming = 0, troubled = (failures > 0 OR throttled_since IS NOT NULL OR out_since IS NOT NULL OR refund = 1)::integer
WHERE processor = :processor AND origin = :origin

-- name: next_probe
SELECT min(CASE WHEN refund = 1 OR resuming = 1 THEN :now::bigint ELSE probe_at END) FROM outages
WHERE troubled = 1 AND (refund = 1 OR resuming = 1 OR probe_at > :now)

-- name: end_outages
-- A person knows better.
UPDATE outages SET out_since = NULL, expires_at = NULL, gates = 0, failures = 0, probe_at = NULL, probe_item = NULL,
    probe_claim = NULL, resuming = 1
WHERE processor = :processor AND out_since IS NOT NULL

-- name: view_outages
-- Receivers that are down; `:processor` is NULL for those of all; with `:org` only what some item of it waits for, or all.
SELECT processor, origin, out_since, expires_at, gates, probe_at, error_type, error_message
FROM outages WHERE troubled = 1 AND out_since IS NOT NULL AND (CAST(:processor AS TEXT) IS NULL OR processor = :processor)
  AND (:org::text IS NULL OR gates = 1
       OR EXISTS (SELECT 1 FROM outage_items w JOIN items i ON i.id = w.item_id
                  WHERE w.processor = outages.processor AND w.origin = outages.origin AND w.waits = 1
                    AND i.organization = :org))
ORDER BY out_since, processor, origin
