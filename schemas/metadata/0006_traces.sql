-- What a program did in answer to one request, as its tracer tells it; the spans are an artifact.
CREATE TABLE traces (
    trace_id TEXT NOT NULL PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES projects (project_id),
    started_at_us BIGINT NOT NULL,
    duration_us BIGINT, -- NULL while it goes on
    state TEXT NOT NULL,
    client_request_id TEXT,
    request_preview TEXT,
    response_preview TEXT,
    metadata TEXT NOT NULL, -- JSON, text by text
    tags TEXT NOT NULL, -- JSON, text by text
    assessments TEXT NOT NULL, -- JSON, a list
    linked_runs TEXT NOT NULL -- JSON, a list of run ids
);
CREATE INDEX traces_of_project ON traces (project_id, started_at_us, trace_id);
