-- name: insert_group
INSERT INTO ready_groups (batch_no, processor, organization, priority, started, gate, opens_at, relane)
SELECT no, processor, organization, priority, started_at IS NOT NULL,
       CASE WHEN bulk = 'cancel' THEN 'cancel' WHEN paused THEN 'paused' WHEN not_before > :now THEN 'schedule' END,
       CASE WHEN bulk = 'cancel' THEN NULL WHEN paused THEN paused_until WHEN not_before > :now THEN not_before END,
       CASE WHEN EXISTS (SELECT 1 FROM lane_batches l WHERE l.batch_no = batches.no) THEN 0 END
FROM batches WHERE no = :no AND status IN ('pending', 'processing')
ON CONFLICT (batch_no) DO UPDATE SET empty = 0, gate = excluded.gate, opens_at = excluded.opens_at,
                                     priority = excluded.priority, relane = excluded.relane

-- name: delete_group
DELETE FROM ready_groups WHERE batch_no = :no

-- name: wake_group
UPDATE ready_groups SET empty = 0 WHERE batch_no = :no AND empty = 1

-- name: wake_turn
INSERT INTO turns (processor, priority, organization, turn, ready)
SELECT g.processor, g.priority, g.organization, coalesce(
           (SELECT max(o.turn) FROM turns o WHERE o.priority = g.priority AND o.organization = g.organization), 0), 0
FROM ready_groups g WHERE g.batch_no = :no
ON CONFLICT (processor, priority, organization) DO NOTHING

-- name: open_turn
UPDATE turns SET ready = 1,
    turn = max(turn,
        coalesce((SELECT min(o.turn) FROM turns o WHERE o.priority = turns.priority AND o.ready = 1), 0),
        (SELECT max(o.turn) FROM turns o WHERE o.priority = turns.priority AND o.organization = turns.organization))
WHERE ready = 0 AND (processor, priority, organization) =
      (SELECT processor, priority, organization FROM ready_groups WHERE batch_no = :no)

-- name: gates_opening
SELECT batch_no FROM ready_groups WHERE opens_at <= :now ORDER BY opens_at LIMIT :limit

-- name: next_gate
SELECT min(opens_at) FROM ready_groups WHERE opens_at IS NOT NULL

-- name: unpause_expired
UPDATE batches SET paused = 0, paused_until = NULL WHERE no = :no AND paused = 1 AND paused_until <= :now

-- name: raise_control
UPDATE control SET number = number + 1 WHERE id = 1

-- name: control_number
SELECT number FROM control WHERE id = 1

-- name: insert_event
INSERT INTO events (at, organization, batch_no, item_id, actor, event, count, detail)
VALUES (:at, :organization, :batch_no, :item_id, :actor, :event, :count, :detail)
