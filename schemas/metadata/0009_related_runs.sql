-- Runs that name another: without these a purge reads all runs for each that goes, and so do the foreign keys of its row.
CREATE INDEX runs_of_parent ON runs (parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX runs_of_fork ON runs (fork_run_id) WHERE fork_run_id IS NOT NULL;
