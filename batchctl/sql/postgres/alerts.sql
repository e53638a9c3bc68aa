-- name: open_alerts
SELECT id, name, subject, processor, organization, message, hint, raised_at FROM alerts WHERE cleared_at IS NULL ORDER BY id;

-- name: raise_alert
INSERT INTO alerts (name, subject, processor, organization, message, hint, raised_at)
VALUES (:name, :subject, :processor, :organization, :message, :hint, :now)
ON CONFLICT DO NOTHING;

-- name: clear_alert
UPDATE alerts SET cleared_at = :now WHERE id = :id AND cleared_at IS NULL;

-- name: watched
SELECT subject, mark, since FROM watches WHERE name = :name;

-- name: set_watch
INSERT INTO watches (name, subject, mark, since) VALUES (:name, :subject, :mark, :now)
ON CONFLICT (name, subject) DO UPDATE SET mark = excluded.mark, since = excluded.since;

-- name: drop_watch
DELETE FROM watches WHERE name = :name AND subject = :subject;

-- name: batches_on_watch
-- Every unfinished batch: what is left, what has ended, whether anything may run or runs, since when it waits.
SELECT b.no, b.id, b.name, b.processor, b.definition, b.organization,
       b.total_items - b.completed_items - b.failed_items - b.cancelled_items AS left_items,
       b.completed_items + b.failed_items + b.cancelled_items AS processed_items,
       EXISTS (SELECT 1 FROM items i WHERE i.batch_no = b.no AND i.state = 'processing')
       OR EXISTS (SELECT 1 FROM items i WHERE i.batch_no = b.no AND i.state = 'pending' AND i.suspect = 0)
       OR EXISTS (SELECT 1 FROM items i WHERE i.batch_no = b.no AND i.state = 'pending' AND i.suspect = 1) AS claimable,
       b.started_at IS NOT NULL AS started,
       g.gate IS NOT NULL OR b.bulk IS NOT NULL AS held,
       coalesce(CASE WHEN b.run_no > 1 THEN (SELECT max(e.at) FROM events e
                                             WHERE e.batch_no = b.no AND e.event = 'retry') END,
                greatest(b.created_at, coalesce(b.not_before, 0))) AS since
FROM batches b LEFT JOIN ready_groups g ON g.batch_no = b.no
WHERE b.status IN ('loading', 'deleting', 'pending', 'processing')
  AND b.status IN ('pending', 'processing');

-- name: shut_processors
SELECT name, paused, broken_since, broken_type, broken_message FROM processors
WHERE paused = 1 OR broken_since IS NOT NULL;

-- name: known_to_workers
SELECT id, processors FROM workers;

-- name: ended_in_window
SELECT coalesce(sum(attempts), 0), coalesce(sum(CASE WHEN outcome = 'failed' THEN attempts ELSE 0 END), 0)
FROM attempt_minutes WHERE minute >= :since AND outcome IN ('completed', 'failed');
