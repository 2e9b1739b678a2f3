-- Where artifacts of the project's runs are, if not in the server's own store; when it was last made, named, deleted or restored
-- (NULL: when it was made).
ALTER TABLE projects ADD COLUMN artifact_location TEXT;
ALTER TABLE projects ADD COLUMN updated_at_us BIGINT;

CREATE TABLE project_tags (
    project_id INTEGER NOT NULL REFERENCES projects (project_id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (project_id, key)
);

-- Who started a run.
ALTER TABLE runs ADD COLUMN user_name TEXT;
-- 1 while a run has not begun; its status is 'running' then, for the constraint on that column knows no other word.
ALTER TABLE runs ADD COLUMN scheduled INTEGER;
