-- name: count_attempts
INSERT INTO attempt_minutes (minute, processor, organization, submitter, outcome, bucket, attempts, took_ms)
SELECT (j.value ->> 1)::bigint, b.processor, b.organization, coalesce(b.submitter, ''), j.value ->> 2,
       (j.value ->> 3)::integer, sum((j.value ->> 4)::bigint), sum((j.value ->> 5)::bigint)
FROM json_array_elements(:rows::json) AS j (value) JOIN batches b ON b.no = (j.value ->> 0)::bigint
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY 1, 2, 3, 4, 5, 6
ON CONFLICT (minute, processor, organization, submitter, outcome, bucket)
DO UPDATE SET attempts = attempt_minutes.attempts + excluded.attempts,
              took_ms = attempt_minutes.took_ms + excluded.took_ms
