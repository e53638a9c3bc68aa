-- Read-only questions. `:org` is NULL where every organization is asked for.
-- Batches that are still loading, or being deleted, do not exist for anybody who asks.

-- name: view_batch
SELECT b.*,
       (SELECT count(*) FROM items WHERE batch_no = b.no AND state = 'processing') AS processing_items,
       (SELECT count(*) FROM items WHERE batch_no = b.no AND state IN ('waiting', 'submitted')
           AND waiting_for IS NOT NULL) AS waiting_items,
       (SELECT count(*) FROM items WHERE batch_no = b.no AND state IN ('waiting', 'submitted')
           AND waiting_for IS NULL) AS submitted_items,
       r.at AS reopened_at, r.items AS reopened_items
FROM batches b
LEFT JOIN (SELECT min(at) AS at, sum(count) AS items FROM events
           WHERE batch_no = :no AND event = 'retry'
             AND id > coalesce((SELECT max(id) FROM events WHERE batch_no = :no
                 AND event IN ('completed', 'completed_with_errors', 'failed', 'cancelled')), 0)
          ) r ON b.run_no > 1 AND b.completed_at IS NULL
WHERE b.no = :no AND b.status NOT IN ('loading', 'deleting');

-- name: view_batch_nos
SELECT b.no FROM batches b
WHERE b.status NOT IN ('loading', 'deleting')
  AND (:org IS NULL OR b.organization = :org)
  AND (:statuses IS NULL OR b.status IN (SELECT value FROM json_each(:statuses)))
  AND (:processor IS NULL OR b.processor = :processor)
  AND (:since IS NULL OR b.created_at >= :since)
ORDER BY b.no DESC LIMIT :limit OFFSET :offset;

-- name: view_batch_total
SELECT count(*) FROM batches b
WHERE b.status NOT IN ('loading', 'deleting')
  AND (:org IS NULL OR b.organization = :org)
  AND (:statuses IS NULL OR b.status IN (SELECT value FROM json_each(:statuses)))
  AND (:processor IS NULL OR b.processor = :processor)
  AND (:since IS NULL OR b.created_at >= :since);

-- name: view_unfinished_batch_nos
SELECT no FROM batches
WHERE status IN ('pending', 'processing') AND (:org IS NULL OR organization = :org)
ORDER BY priority, no;

-- name: view_batch_label
SELECT id, name FROM batches WHERE no = :no;

-- name: view_latest_batch
SELECT no FROM batches
WHERE status NOT IN ('loading', 'deleting') AND (:org IS NULL OR organization = :org) AND :text IS NOT NULL
ORDER BY no DESC LIMIT 1;

-- name: view_batch_by_id
SELECT no FROM batches
WHERE id = :text AND status NOT IN ('loading', 'deleting') AND (:org IS NULL OR organization = :org);

-- name: view_batch_by_name
SELECT no FROM batches
WHERE name = :text AND status NOT IN ('loading', 'deleting') AND (:org IS NULL OR organization = :org)
ORDER BY no DESC LIMIT 1;

-- name: view_batches_by_group
SELECT no FROM batches
WHERE group_name = :text AND status NOT IN ('loading', 'deleting') AND (:org IS NULL OR organization = :org)
ORDER BY no;

-- name: view_batches_by_prefix
SELECT no, id, name FROM batches
WHERE id >= :low AND id < :high AND status NOT IN ('loading', 'deleting') AND (:org IS NULL OR organization = :org)
UNION ALL
SELECT no, group_name, NULL FROM batches
WHERE group_name >= :low AND group_name < :high
  AND status NOT IN ('loading', 'deleting') AND (:org IS NULL OR organization = :org)
ORDER BY 1;

-- name: view_processors
-- Those that are paused, broken, or shut by an outage.
SELECT p.*, o.origin AS outage_origin, o.out_since, o.expires_at, o.probe_at,
       o.error_type AS outage_type, o.error_message AS outage_message
FROM processors p
LEFT JOIN outages o ON o.processor = p.name AND o.troubled = 1 AND o.gates = 1 AND o.out_since IS NOT NULL
WHERE p.paused = 1 OR p.broken_since IS NOT NULL OR o.origin IS NOT NULL;

-- name: view_item_exists
SELECT 1 FROM items i JOIN batches b ON b.no = i.batch_no
WHERE i.id = :id AND b.status NOT IN ('loading', 'deleting') AND (:org IS NULL OR b.organization = :org);

-- name: view_item_by_key
SELECT id FROM items WHERE batch_no = :batch_no AND key = :key;

-- name: view_item_batch
SELECT batch_no FROM items WHERE id = :id;

-- name: view_item_range
-- The numbers of a batch's items rise in input order; other batches' items may lie between them.
SELECT min(id), max(id) FROM items WHERE batch_no = :batch_no;

-- name: view_items
SELECT i.*, b.id AS batch_id, b.created_at, d.payload, d.file,
       r.result, r.error_type, r.error_message, r.permanent, r.usage, r.artifacts,
       a.error_type AS last_error_type, a.error_message AS last_error_message
FROM json_each(:ids) wanted
JOIN items i ON i.id = wanted.value
JOIN batches b ON b.no = i.batch_no
JOIN item_data d ON d.item_id = i.id
LEFT JOIN item_results r ON r.item_id = i.id
LEFT JOIN attempts a ON a.item_id = i.id AND a.claim_no =
    (SELECT max(claim_no) FROM attempts WHERE item_id = i.id AND error_message IS NOT NULL)
ORDER BY wanted.key;

-- name: view_item_ids_all
SELECT id FROM items
WHERE +batch_no = :batch_no AND id BETWEEN :first AND :last
ORDER BY id LIMIT :limit OFFSET :offset;

-- name: view_item_ids_completed
SELECT id FROM items
WHERE +batch_no = :batch_no AND id BETWEEN :first AND :last AND state = 'completed'
ORDER BY id LIMIT :limit OFFSET :offset;

-- name: view_item_ids_pending
SELECT id FROM items WHERE batch_no = :batch_no AND state = 'pending' AND suspect = 0
UNION ALL
SELECT id FROM items WHERE batch_no = :batch_no AND state = 'pending' AND suspect = 1
ORDER BY id LIMIT :limit OFFSET :offset;

-- name: view_item_ids_waiting
SELECT id FROM items
WHERE batch_no = :batch_no AND state IN ('waiting', 'submitted') AND waiting_for IS NOT NULL
ORDER BY id LIMIT :limit OFFSET :offset;

-- name: view_item_ids_not_started
SELECT id FROM items WHERE batch_no = :batch_no AND state = 'pending' AND suspect = 0
UNION ALL
SELECT id FROM items WHERE batch_no = :batch_no AND state = 'pending' AND suspect = 1
UNION ALL
SELECT id FROM items
WHERE batch_no = :batch_no AND state IN ('waiting', 'submitted') AND waiting_for IS NOT NULL
ORDER BY id LIMIT :limit OFFSET :offset;

-- name: view_item_ids_submitted
SELECT id FROM items
WHERE batch_no = :batch_no AND state IN ('waiting', 'submitted') AND waiting_for IS NULL
ORDER BY id LIMIT :limit OFFSET :offset;

-- name: view_item_ids_processing
SELECT id FROM items WHERE batch_no = :batch_no AND state = 'processing'
ORDER BY id LIMIT :limit OFFSET :offset;

-- name: view_item_ids_failed
SELECT id FROM items INDEXED BY items_unsuccessful
WHERE batch_no = :batch_no AND state IN ('failed', 'cancelled') AND state = 'failed'
ORDER BY id LIMIT :limit OFFSET :offset;

-- name: view_item_ids_cancelled
SELECT id FROM items INDEXED BY items_unsuccessful
WHERE batch_no = :batch_no AND state IN ('failed', 'cancelled') AND state = 'cancelled'
ORDER BY id LIMIT :limit OFFSET :offset;

-- name: view_attempts
SELECT * FROM attempts WHERE item_id = :id ORDER BY claim_no;

-- name: view_steps
SELECT item_id, step, result, path, finished, completed_at, error_type, error_message FROM item_steps
WHERE item_id IN (SELECT value FROM json_each(:ids)) ORDER BY item_id, position, step;

-- name: view_logs
SELECT claim_no, text FROM attempt_logs
WHERE item_id = :id AND (:claim_no IS NULL OR claim_no = :claim_no) ORDER BY claim_no;

-- name: view_item_state
SELECT state, claim_no FROM items WHERE id = :id;

-- name: view_find_keys
SELECT i.id FROM batches b JOIN items i ON i.batch_no = b.no AND i.key = :text
WHERE b.status NOT IN ('loading', 'deleting') AND (:org IS NULL OR b.organization = :org)
  AND (:since IS NULL OR b.created_at >= :since)
ORDER BY i.id DESC LIMIT :limit;

-- name: view_find_payloads
-- A payload is taken apart only where a part of the text stands in it as it is (`:hint`), or where the text may be
-- written otherwise (`:escapes`) and something is. GLOB takes half of the time of instr; [ would begin a class.
SELECT d.item_id FROM item_data d CROSS JOIN items i ON i.id = d.item_id CROSS JOIN batches b ON b.no = i.batch_no
WHERE (d.payload GLOB '*' || replace(:hint, '[', '?') || '*' OR d.file GLOB '*' || replace(:hint, '[', '?') || '*'
       OR :escapes AND (d.payload GLOB '*\*' OR d.file GLOB '*\*'))
  AND (EXISTS (SELECT 1 FROM json_each(d.payload)
               WHERE (:field IS NULL OR key = :field)
                 AND CASE WHEN type IN ('true', 'false') THEN type ELSE CAST(atom AS TEXT) END = :text)
       OR d.file IS NOT NULL AND EXISTS (SELECT 1 FROM json_each(d.file)
               WHERE (:field IS NULL OR key = :field) AND key <> 'raw' AND CAST(atom AS TEXT) = :text))
  AND b.status NOT IN ('loading', 'deleting') AND (:org IS NULL OR b.organization = :org)
  AND (:since IS NULL OR b.created_at >= :since)
ORDER BY d.item_id DESC LIMIT :limit;

-- name: view_batch_gate
SELECT processor, definition, paused, paused_until, not_before, host, folder FROM batches
WHERE no = :no AND status NOT IN ('loading', 'deleting');

-- name: view_batches_with_failures
SELECT no FROM batches
WHERE failed_items > 0 AND status NOT IN ('loading', 'deleting') AND (:org IS NULL OR organization = :org)
ORDER BY no DESC;

-- name: view_results
SELECT i.*, b.id AS batch_id, b.created_at, d.payload, d.file,
       r.result, r.error_type, r.error_message, r.permanent, r.usage,
       NULL AS last_error_type, NULL AS last_error_message
FROM items i
JOIN batches b ON b.no = i.batch_no
JOIN item_data d ON d.item_id = i.id
LEFT JOIN item_results r ON r.item_id = i.id
WHERE +i.batch_no = :batch_no AND i.id > :after AND i.id <= :last
  AND i.state IN (SELECT value FROM json_each(:states))
ORDER BY i.id LIMIT :limit;

-- name: view_history_of_batch
-- The newest attempts, and all that was done to the batch. In one millisecond: enqueued, then attempts, then what
-- followed from them. Attempts come newest first from the inside, so that the sort throws the rest away at once. Where
-- no other batch's items lie between, the items need not be asked.
SELECT at, event, actor, item_id, count, detail,
       NULL AS claim_no, NULL AS worker_id, NULL AS error_type, NULL AS error_message, 0 AS permanent,
       CASE event WHEN 'enqueued' THEN 0 ELSE 2 END AS rank, id AS number
FROM events WHERE batch_no = :no
UNION ALL
SELECT a.ended_at, a.outcome, NULL, a.item_id, NULL, NULL,
       a.claim_no, a.worker_id, a.error_type, a.error_message, a.permanent, 1, a.item_id
FROM (SELECT item_id, claim_no
      FROM (SELECT item_id, claim_no, ended_at FROM attempts
            WHERE item_id BETWEEN :first AND :last
              AND (:last - :first + 1 = (SELECT total_items FROM batches WHERE no = :no)
                   OR EXISTS (SELECT 1 FROM items i WHERE i.id = item_id AND i.batch_no = :no))
            ORDER BY item_id DESC LIMIT -1)
      ORDER BY ended_at DESC, item_id DESC LIMIT :limit) newest
CROSS JOIN attempts a ON a.item_id = newest.item_id AND a.claim_no = newest.claim_no
ORDER BY at, rank, number;

-- name: view_history_of_item
-- Acts on the whole batch are part of an item's story too, its siblings' are not.
SELECT at, event, actor, item_id, count, detail,
       NULL AS claim_no, NULL AS worker_id, NULL AS error_type, NULL AS error_message, 0 AS permanent,
       CASE event WHEN 'enqueued' THEN 0 ELSE 2 END AS rank, id AS number
FROM events WHERE batch_no = :no AND (item_id IS NULL OR item_id = :id)
UNION ALL
SELECT ended_at, outcome, NULL, item_id, NULL, NULL,
       claim_no, worker_id, error_type, error_message, permanent, 1, claim_no
FROM attempts WHERE item_id = :id
UNION ALL
SELECT completed_at, 'step', NULL, item_id, NULL, json_object('step', step, 'path', path, 'finished', finished),
       NULL, NULL, error_type, error_message, 0, 0, position
FROM item_steps WHERE item_id = :id
ORDER BY at, rank, number;

-- name: view_workers
SELECT * FROM workers ORDER BY started_at, id;

-- name: view_held
SELECT i.worker_id, i.id, i.key, i.started_at, i.progress, b.id AS batch_id, b.processor
FROM items i JOIN batches b ON b.no = i.batch_no
WHERE i.state = 'processing' AND (:org IS NULL OR b.organization = :org)
ORDER BY i.started_at, i.id;

-- name: view_next_retry
SELECT min(next_attempt_at) FROM items INDEXED BY items_waiting
WHERE batch_no = :no AND state IN ('waiting', 'submitted') AND waiting_for = 'retry';

-- name: view_ahead_in_batch
-- Items of the same batch that go first.
SELECT count(*) FROM items WHERE batch_no = :no AND state = 'pending' AND suspect = 0 AND id < :id;

-- name: view_ahead_batches
-- Unfinished batches that are served first: higher priority, or older in the same organization; not those whose gate
-- is closed, which are passed over.
SELECT count(*), coalesce(sum(b.total_items - b.completed_items - b.failed_items - b.cancelled_items), 0)
FROM batches b, batches me
WHERE me.no = :no AND b.no <> me.no AND b.status IN ('pending', 'processing')
  AND (:org IS NULL OR b.organization = :org)
  AND (b.priority < me.priority
       OR b.priority = me.priority AND b.organization = me.organization AND b.no < me.no)
  AND NOT (b.paused = 1 AND coalesce(b.paused_until > :now, 1)) AND coalesce(b.not_before <= :now, 1)
  AND NOT EXISTS (SELECT 1 FROM processors p WHERE p.name = b.processor
                  AND (p.broken_since IS NOT NULL OR p.paused = 1 AND coalesce(p.paused_until > :now, 1)));

-- name: view_last_pause
SELECT actor, at FROM events WHERE batch_no = :no AND event = 'paused' ORDER BY id DESC LIMIT 1;

-- name: view_processor_names
SELECT name FROM processors WHERE name <> '*'
UNION SELECT processor FROM batches;

-- name: view_unsuccessful_files
SELECT i.id, d.file FROM items i INDEXED BY items_unsuccessful JOIN item_data d ON d.item_id = i.id
WHERE i.batch_no = :no AND i.state IN ('failed', 'cancelled') AND d.file IS NOT NULL
  AND i.state IN (SELECT value FROM json_each(:states))
  AND (:ids IS NULL OR i.id IN (SELECT value FROM json_each(:ids)))
ORDER BY i.id;

-- name: view_item_facts
SELECT batch_no, started_at, next_attempt_at, suspect, cancel_requested FROM items WHERE id = :id;

-- name: view_item_holder
SELECT worker_id FROM items WHERE id = :id;

-- name: view_running
SELECT key, progress FROM items
WHERE batch_no = :no AND state = 'processing' AND progress IS NOT NULL ORDER BY id LIMIT :limit;

-- name: view_lanes
-- What has become of a batch's items, by lane, in the order of their first items.
SELECT l.value AS lane, l.held_by, g.total_items, g.completed_items, g.failed_items, g.cancelled_items, g.processing_items,
       n.id AS next_id, n.key AS next_key, n.state AS next_state, n.waiting_for AS next_waiting_for, n.next_attempt_at
FROM (SELECT lane_no, min(id) AS first_id, count(*) AS total_items, sum(state = 'completed') AS completed_items,
             sum(state = 'failed') AS failed_items, sum(state = 'cancelled') AS cancelled_items,
             sum(state = 'processing') AS processing_items,
             min(CASE WHEN state IN ('pending', 'waiting') THEN id END) AS next_id
      FROM items WHERE +batch_no = :batch_no AND id BETWEEN :first AND :last AND lane_no IS NOT NULL
      GROUP BY lane_no) g
JOIN lanes l ON l.no = g.lane_no LEFT JOIN items n ON n.id = g.next_id
ORDER BY g.first_id LIMIT :limit OFFSET :offset;

-- name: view_lane_total
SELECT count(*) FROM lane_batches WHERE batch_no = :no;

-- name: view_lane_of_item
SELECT l.no, l.value, l.held_by, coalesce(p.lane_limit, 1) AS lane_limit
FROM items i JOIN lanes l ON l.no = i.lane_no LEFT JOIN paces p ON p.processor = l.processor
WHERE i.id = :id;

-- name: view_lane_heads
SELECT id, state, waiting_for, next_attempt_at FROM items INDEXED BY items_lane_heads
WHERE lane_no = :no AND lane_no IS NOT NULL AND completed_at IS NULL AND waiting_for IS NOT 'lane'
ORDER BY id;

-- name: view_lane_ahead
-- How many that wait for the lane under an open gate go before this one, counted up to :most.
SELECT count(*) FROM (
    SELECT 1 FROM items me JOIN batches mine ON mine.no = me.batch_no
    JOIN lane_batches b ON b.lane_no = me.lane_no AND b.open = 1 JOIN ready_groups g ON g.batch_no = b.batch_no
    JOIN items i ON i.lane_no = b.lane_no AND i.batch_no = b.batch_no AND i.waiting_for = 'lane'
    WHERE me.id = :id AND g.gate IS NULL
      AND (g.priority < mine.priority OR g.priority = mine.priority AND (i.batch_no < me.batch_no
           OR i.batch_no = me.batch_no AND i.id < me.id))
    LIMIT :most);

-- name: view_held_lanes
SELECT l.value, l.held_by FROM lanes l
WHERE l.held_by IS NOT NULL AND EXISTS (SELECT 1 FROM lane_batches b WHERE b.batch_no = :no AND b.lane_no = l.no)
ORDER BY l.value LIMIT :most;

-- name: view_first_in_lanes
-- Lanes for which items of a batch wait behind other batches, each with the one that goes first.
SELECT DISTINCT l.value, f.id
FROM lane_batches b CROSS JOIN lanes l ON l.no = b.lane_no
CROSS JOIN items h INDEXED BY items_lane_heads
  ON h.lane_no = b.lane_no AND h.lane_no IS NOT NULL AND h.completed_at IS NULL AND h.waiting_for IS NOT 'lane'
CROSS JOIN batches f ON f.no = h.batch_no
WHERE b.batch_no = :no AND b.open = 1 AND l.held_by IS NULL AND h.batch_no <> :no
  AND EXISTS (SELECT 1 FROM items i INDEXED BY items_lane_waiting
              WHERE i.lane_no = b.lane_no AND i.batch_no = b.batch_no AND i.waiting_for = 'lane')
LIMIT :most;

-- name: view_pace
SELECT interval_ms, tat FROM paces WHERE processor = :processor AND interval_ms IS NOT NULL;
