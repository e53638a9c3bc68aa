-- What a worker takes beside its processors' names, as JSON {batches, organization}; NULL: all of theirs.
ALTER TABLE workers ADD COLUMN scope TEXT;
