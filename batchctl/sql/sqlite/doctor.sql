-- What `doctor` asks.

-- name: doctor_waiting
-- Unfinished batches that need a processor of some config, by processor, with their items.
SELECT processor, count(*), CAST(sum(total_items - completed_items - failed_items - cancelled_items) AS BIGINT)
FROM batches WHERE status IN ('pending', 'processing') AND definition IS NULL AND (:org IS NULL OR organization = :org)
GROUP BY processor ORDER BY processor;

-- name: doctor_broken
SELECT name, broken_since, broken_type, broken_message, broken_organization FROM processors WHERE broken_since IS NOT NULL ORDER BY name;

-- name: doctor_newest_event
SELECT at FROM events ORDER BY id DESC LIMIT 1;
