-- name: count_attempts
INSERT INTO attempt_minutes (minute, processor, organization, submitter, outcome, bucket, attempts, took_ms)
SELECT j.value ->> 1, b.processor, b.organization, coalesce(b.submitter, ''), j.value ->> 2, j.value ->> 3,
       sum(j.value ->> 4), sum(j.value ->> 5)
FROM json_each(:rows) j CROSS JOIN batches b ON b.no = j.value ->> 0
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY 1, 2, 3, 4, 5, 6
ON CONFLICT (minute, processor, organization, submitter, outcome, bucket)
DO UPDATE SET attempts = attempts + excluded.attempts, took_ms = took_ms + excluded.took_ms

-- name: view_attempts_since
SELECT processor, organization, submitter, outcome, bucket, sum(attempts), sum(took_ms)
FROM attempt_minutes
WHERE minute >= :since AND (:org IS NULL OR organization = :org)
GROUP BY 1, 2, 3, 4, 5

-- name: view_attempts_by_time
SELECT (minute - :since) / :step, outcome, sum(attempts)
FROM attempt_minutes
WHERE minute >= :since AND (:org IS NULL OR organization = :org)
GROUP BY 1, 2

-- name: view_first_minute
SELECT min(minute) FROM attempt_minutes WHERE minute >= :since AND (:org IS NULL OR organization = :org)

-- name: view_queue
-- Unfinished batches with what is left of each; the index of unfinished batches has these words.
SELECT b.no, b.processor, b.organization, b.submitter, b.created_at, b.paused, b.paused_until, b.not_before,
       b.total_items - b.completed_items - b.failed_items - b.cancelled_items AS left_items,
       (SELECT count(*) FROM items WHERE batch_no = b.no AND state = 'processing') AS processing_items,
       (SELECT count(*) FROM items WHERE batch_no = b.no AND state IN ('waiting', 'submitted')
           AND waiting_for IS NOT NULL) AS waiting_items,
       (SELECT count(*) FROM items WHERE batch_no = b.no AND state IN ('waiting', 'submitted')
           AND waiting_for IS NULL) AS submitted_items
FROM batches b
WHERE b.status IN ('loading', 'deleting', 'pending', 'processing') AND b.status IN ('pending', 'processing')
  AND (:org IS NULL OR b.organization = :org)

-- name: oldest_fine_minute
SELECT min(minute) FROM attempt_minutes WHERE minute < :before AND minute % :step <> 0

-- name: add_up_minutes
INSERT INTO attempt_minutes (minute, processor, organization, submitter, outcome, bucket, attempts, took_ms)
SELECT :start, processor, organization, submitter, outcome, bucket, sum(attempts), sum(took_ms)
FROM attempt_minutes WHERE minute > :start AND minute < :start + :step
GROUP BY processor, organization, submitter, outcome, bucket
ON CONFLICT (minute, processor, organization, submitter, outcome, bucket)
DO UPDATE SET attempts = attempts + excluded.attempts, took_ms = took_ms + excluded.took_ms

-- name: drop_minutes
DELETE FROM attempt_minutes WHERE minute > :start AND minute < :start + :step
