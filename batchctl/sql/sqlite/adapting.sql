-- name: lock_adaptive
SELECT adaptive FROM processors WHERE name = :processor

-- name: set_adaptive
UPDATE processors SET adaptive = :state, adaptive_limit = :limit WHERE name = :processor

-- name: adaptive_limits
SELECT name, adaptive_limit FROM processors WHERE adaptive_limit IS NOT NULL
