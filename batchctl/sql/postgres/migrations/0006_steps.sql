-- What an item's steps leave behind. A step that is finished is not done again while its definition stays the same.
-- finished = 0: the step itself has given up (error_type, error_message say why), its fallback is to be tried.
-- attempts_before: what the item had used by then; tries of what comes next are counted from there.
ALTER TABLE item_steps ADD COLUMN position INTEGER NOT NULL DEFAULT 0;
ALTER TABLE item_steps ADD COLUMN finished INTEGER NOT NULL DEFAULT 1;
ALTER TABLE item_steps ADD COLUMN attempts_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE item_steps ADD COLUMN error_type TEXT COLLATE "C";
ALTER TABLE item_steps ADD COLUMN error_message TEXT COLLATE "C";
ALTER TABLE item_steps ADD COLUMN usage TEXT;
ALTER TABLE item_steps ADD COLUMN artifacts TEXT;
