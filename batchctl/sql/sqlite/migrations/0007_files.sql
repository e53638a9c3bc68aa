-- Files on several hosts. `host`: where a batch was enqueued; `folder`: what all its files lie in, NULL where its items
-- can be done anywhere (orders, stored content).
ALTER TABLE batches ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE batches ADD COLUMN folder TEXT;

-- The folders that the worker takes files from, as a JSON array; empty: it looks whether a file is there.
ALTER TABLE workers ADD COLUMN roots TEXT NOT NULL DEFAULT '[]';

-- The content of files that were enqueued with --store-content.
CREATE TABLE item_files (
    item_id         INTEGER PRIMARY KEY REFERENCES items (id),
    content         BLOB NOT NULL
);
