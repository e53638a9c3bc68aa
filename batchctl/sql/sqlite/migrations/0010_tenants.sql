-- How many batches an organization, or a user of it, has brought in of late.
CREATE INDEX batches_submitted ON batches (organization, created_at);

-- Whose item it was that found the processor broken; NULL where the config says so, which concerns everybody.
ALTER TABLE processors ADD COLUMN broken_organization TEXT;
