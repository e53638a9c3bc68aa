-- name: count_attempts
INSERT INTO attempt_minutes (minute, processor, organization, submitter, outcome, bucket, attempts, took_ms)
SELECT j.value ->> 1, b.processor, b.organization, coalesce(b.submitter, ''), j.value ->> 2, j.value ->> 3,
       sum(j.value ->> 4), sum(j.value ->> 5)
FROM json_each(:rows) j CROSS JOIN batches b ON b.no = j.value ->> 0
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY 1, 2, 3, 4, 5, 6
ON CONFLICT (minute, processor, organization, submitter, outcome, bucket)
DO UPDATE SET attempts = attempts + excluded.attempts, took_ms = took_ms + excluded.took_ms

