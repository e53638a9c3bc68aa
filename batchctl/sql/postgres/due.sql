-- What `check` asks before it does anything. Each answer is found in an index that holds only what is unfinished, so it
-- costs the same however much has ended.

-- name: due_work
-- Whether a claim may find something: retries and gates whose time has come, open groups, suspects.
SELECT EXISTS (SELECT 1 FROM items WHERE state = 'waiting' AND waiting_for = 'retry' AND next_attempt_at <= :now)
    OR EXISTS (SELECT 1 FROM items WHERE state = 'waiting' AND waiting_for = 'rate' AND next_attempt_at <= :now + 10000)
    OR EXISTS (SELECT 1 FROM ready_groups WHERE relane IS NOT NULL)
    OR EXISTS (SELECT 1 FROM lanes WHERE dirty = 1)
    OR EXISTS (SELECT 1 FROM ready_groups WHERE opens_at <= :now)
    OR EXISTS (SELECT 1 FROM processors WHERE paused = 1 AND paused_until <= :now)
    OR EXISTS (SELECT 1 FROM outages
               WHERE troubled = 1 AND (refund = 1 OR resuming = 1
                   OR out_since IS NOT NULL AND (probe_at IS NULL OR probe_at <= :now OR expires_at <= :now)))
    OR NOT EXISTS (SELECT 1 FROM processors WHERE name = '*' AND paused = 1)
       AND (EXISTS (SELECT 1 FROM ready_groups g JOIN processors p ON p.name = g.processor
                    WHERE g.gate IS NULL AND g.empty = 0 AND p.paused = 0 AND p.broken_since IS NULL)
            OR EXISTS (SELECT 1 FROM items i
                       JOIN ready_groups g ON g.batch_no = i.batch_no JOIN processors p ON p.name = g.processor
                       WHERE i.state = 'pending' AND i.suspect = 1 AND g.gate IS NULL
                         AND p.paused = 0 AND p.broken_since IS NULL));

-- name: due_repair
-- Whether something was left half done: loads, bulk acts, items whose worker has no row, batches that should have ended.
SELECT EXISTS (SELECT 1 FROM batches
               WHERE status IN ('loading', 'deleting', 'pending', 'processing')
                 AND (status IN ('loading', 'deleting')
                      OR completed_items + failed_items + cancelled_items >= total_items))
    OR EXISTS (SELECT 1 FROM batches WHERE bulk IS NOT NULL)
    OR EXISTS (SELECT 1 FROM items
               WHERE state = 'processing' AND worker_id NOT IN (SELECT id FROM workers));

-- name: due_alert
-- Whether an alert is open, a receiver is down, or work waits for a broken processor: all are looked at until they are over.
SELECT EXISTS (SELECT 1 FROM alerts WHERE cleared_at IS NULL)
    OR EXISTS (SELECT 1 FROM outages WHERE troubled = 1 AND out_since IS NOT NULL)
    OR EXISTS (SELECT 1 FROM processors p JOIN ready_groups g ON g.processor = p.name WHERE p.broken_since IS NOT NULL);

-- name: due_file_act
-- Whether a file of an item that has ended is to be moved or deleted. On one host; others ask by name.
SELECT EXISTS (SELECT 1 FROM file_acts WHERE host = '' AND next_attempt_at <= :now);

-- name: any_unfinished
SELECT EXISTS (SELECT 1 FROM batches WHERE status IN ('loading', 'deleting', 'pending', 'processing'));

-- name: ended_since
-- Whether an attempt was recorded in or after that minute.
SELECT EXISTS (SELECT 1 FROM attempt_minutes WHERE minute >= :minute);

-- name: batches_to_end
SELECT no FROM batches
WHERE status IN ('loading', 'deleting', 'pending', 'processing')
  AND status IN ('pending', 'processing') AND bulk IS NULL
  AND completed_items + failed_items + cancelled_items >= total_items AND (:org::text IS NULL OR organization = :org);

-- name: unfinished_batches
SELECT no FROM batches
WHERE status IN ('loading', 'deleting', 'pending', 'processing')
  AND status IN ('pending', 'processing') AND (CAST(:org AS TEXT) IS NULL OR organization = :org);

-- name: running_processors
SELECT DISTINCT b.processor, b.definition FROM items i JOIN batches b ON b.no = i.batch_no
WHERE i.state = 'processing';

-- name: worker_signs
SELECT id, boot_id, seen_monotonic, lease_ms FROM workers;

-- name: due_notice
-- Whether a message may be sent, is given up, or is in the hands of a sender who may have died.
SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 'due' AND (next_attempt_at <= :now OR expires_at <= :now))
    OR EXISTS (SELECT 1 FROM outbox WHERE state = 'sending');
