-- name: register_sink
INSERT INTO sinks (path, size) VALUES (:path, :size)
ON CONFLICT (path) DO NOTHING

-- name: sink_size
SELECT size FROM sinks WHERE path = :path

-- name: set_sink_size
UPDATE sinks SET size = :size WHERE path = :path
