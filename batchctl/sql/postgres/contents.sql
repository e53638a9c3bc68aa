-- name: files_of
SELECT i.id, d.file FROM items i JOIN item_data d ON d.item_id = i.id
WHERE i.batch_no = :no AND i.id > :after AND i.id <= :last AND d.file IS NOT NULL
ORDER BY i.id LIMIT :limit

-- name: insert_content
INSERT INTO item_files (item_id, content) VALUES (?, ?)

-- name: content_of
SELECT content FROM item_files WHERE item_id = :id

-- name: contents_of_batch
SELECT f.item_id, octet_length(f.content)
FROM item_files f JOIN items i ON i.id = f.item_id
WHERE f.item_id > :after AND f.item_id <= :last AND i.batch_no = :no
ORDER BY f.item_id LIMIT :limit

-- name: delete_contents_of
DELETE FROM item_files WHERE item_id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text(:ids::json)))
