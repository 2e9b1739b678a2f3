-- In the trash since then; NULL is live.
ALTER TABLE runs ADD COLUMN deleted_at_us BIGINT;
ALTER TABLE projects ADD COLUMN deleted_at_us BIGINT;

-- Points with an older timestamp than so many microseconds are deleted; NULL keeps all.
ALTER TABLE projects ADD COLUMN retention_us BIGINT;
