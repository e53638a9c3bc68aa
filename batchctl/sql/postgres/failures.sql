-- Failures by the pattern of their error.
-- name: view_failure_patterns
-- Only what failed has a pattern.
SELECT r.pattern, count(*)
FROM item_results r
     JOIN items i ON i.id = r.item_id JOIN batches b ON b.no = i.batch_no
WHERE r.pattern IS NOT NULL AND r.item_id BETWEEN :first AND :last AND (:no::bigint IS NULL OR i.batch_no = :no)
  AND b.status NOT IN ('loading', 'deleting') AND (:org::text IS NULL OR b.organization = :org)
GROUP BY r.pattern ORDER BY 2 DESC, min(r.item_id) LIMIT nullif(:limit::bigint, -1)

-- name: view_first_failures
SELECT i.id, i.key, b.id, r.error_type, r.error_message, r.permanent
FROM item_results r
     JOIN items i ON i.id = r.item_id JOIN batches b ON b.no = i.batch_no
WHERE r.pattern = :pattern AND r.item_id BETWEEN :first AND :last AND i.batch_no = :no
  AND b.status NOT IN ('loading', 'deleting') AND (:org::text IS NULL OR b.organization = :org)
ORDER BY r.item_id LIMIT nullif(:limit::bigint, -1)

-- name: view_newest_failure
SELECT i.batch_no
FROM item_results r
     JOIN items i ON i.id = r.item_id JOIN batches b ON b.no = i.batch_no
WHERE r.pattern = :pattern AND r.item_id BETWEEN :first AND :last
  AND b.status NOT IN ('loading', 'deleting') AND (:org::text IS NULL OR b.organization = :org)
ORDER BY r.item_id DESC LIMIT 1
