-- Times are microseconds since the Unix epoch, UTC.
CREATE TABLE projects (
    project_id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    created_at_us BIGINT NOT NULL
);

CREATE TABLE runs (
    run_id TEXT NOT NULL PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES projects (project_id),
    name TEXT,
    status TEXT NOT NULL CHECK (status IN ('running', 'finished', 'failed', 'killed')),
    started_at_us BIGINT NOT NULL,
    ended_at_us BIGINT,
    created_at_us BIGINT NOT NULL,
    notes TEXT,
    git_commit TEXT,
    dataset_version TEXT,
    environment TEXT, -- JSON
    parent_run_id TEXT REFERENCES runs (run_id),
    fork_run_id TEXT REFERENCES runs (run_id),
    fork_step BIGINT,
    CHECK ((fork_run_id IS NULL) = (fork_step IS NULL))
);
CREATE INDEX runs_of_project ON runs (project_id, created_at_us, run_id);

-- `value` is text for every kind: a float as its shortest exact decimal, JSON as JSON.
CREATE TABLE params (
    run_id TEXT NOT NULL REFERENCES runs (run_id),
    key TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('bool', 'int', 'float', 'string', 'json')),
    value TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
);

CREATE TABLE tags (
    run_id TEXT NOT NULL REFERENCES runs (run_id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
);

-- One row per change, written in its transaction.
CREATE TABLE audit (
    audit_id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_us BIGINT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL -- JSON
);
