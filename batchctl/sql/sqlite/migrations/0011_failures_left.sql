-- How near to its limit of failures a batch is that may be claimed from.
CREATE INDEX batches_failures_left ON batches (processor, (failure_limit - run_failures))
WHERE failure_limit IS NOT NULL AND paused = 0 AND status IN ('pending', 'processing');
