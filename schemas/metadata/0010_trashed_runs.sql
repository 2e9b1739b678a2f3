-- Runs in the trash: without it each change of the trash, which reads what is in it then, reads all runs.
CREATE INDEX runs_in_trash ON runs (deleted_at_us DESC, run_id) WHERE deleted_at_us IS NOT NULL;
