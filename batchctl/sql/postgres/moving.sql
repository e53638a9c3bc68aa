-- name: activity
-- What may not go on while a store is carried over to another one.
SELECT (SELECT count(*) FROM items WHERE state = 'processing'),
       (SELECT count(*) FROM batches WHERE status IN ('loading', 'deleting')),
       (SELECT count(*) FROM batches WHERE bulk IS NOT NULL),
       (SELECT count(*) FROM outbox WHERE state = 'sending')

-- name: unfinished_items
SELECT coalesce(sum(total_items - completed_items - failed_items - cancelled_items), 0)::bigint
FROM batches WHERE status IN ('pending', 'processing')
