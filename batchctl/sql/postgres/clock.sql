-- name: latest_try_of_retries
-- When the last try of those retries ended that are due last: after a clock was set back these lie in the future.
SELECT max(a.ended_at)
FROM (SELECT id, claim_no FROM items WHERE state = 'waiting' AND waiting_for = 'retry'
      ORDER BY next_attempt_at DESC LIMIT 10) w
JOIN attempts a ON a.item_id = w.id AND a.claim_no = w.claim_no;

-- name: retries_of_future_tries
SELECT i.id, i.claim_no, a.ended_at
FROM items i JOIN attempts a ON a.item_id = i.id AND a.claim_no = i.claim_no
WHERE i.state = 'waiting' AND i.waiting_for = 'retry' AND i.id > :after
  AND a.ended_at > :ahead
ORDER BY i.id LIMIT :limit;

-- name: move_retry
UPDATE items SET next_attempt_at = next_attempt_at - ? WHERE id = ? AND state || '' = 'waiting' AND waiting_for = 'retry';

-- name: move_try
UPDATE attempts SET started_at = started_at - ?, ended_at = ended_at - ? WHERE item_id = ? AND claim_no = ?;
